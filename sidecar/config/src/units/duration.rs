//! Lengths of time, written as `28d` or `1m30s`.

use std::time::Duration;

use super::ValueError;

/// Units from the largest down, in milliseconds.
const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// The longest time, a hundred years: what is longer is a mistake, and overflows somebody's clock.
const LONGEST_DAYS: u64 = 36_525;

/// Reads a length of time: whole numbers with the units `d`, `h`, `m`, `s` and `ms`, the larger ones first.
///
/// # Errors
/// If the text is anything else, or longer than 36525 days.
pub fn parse_duration(text: &str) -> Result<Duration, ValueError> {
    let mut rest = text;
    let mut units = UNITS.iter();
    let mut milliseconds: u64 = 0;
    while !rest.is_empty() {
        let (number, unit, behind) = first_part(rest).ok_or_else(|| malformed(text))?;
        // Going on in the same iterator refuses a unit that comes twice or out of order.
        let (_, factor) = units.find(|(name, _)| *name == unit).ok_or_else(|| malformed(text))?;
        let part = number.checked_mul(*factor).ok_or_else(|| too_long(text))?;
        milliseconds = milliseconds.checked_add(part).ok_or_else(|| too_long(text))?;
        rest = behind;
    }
    if text.is_empty() {
        return Err(malformed(text));
    }
    if milliseconds > LONGEST_DAYS * UNITS[0].1 {
        return Err(too_long(text));
    }
    Ok(Duration::from_millis(milliseconds))
}

/// Writes a length of time so that [`parse_duration`] reads it; what is shorter than a millisecond is left out.
pub fn format_duration(duration: Duration) -> String {
    let mut rest = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut text = String::new();
    for (unit, factor) in UNITS {
        let number = rest / factor;
        if number > 0 {
            text.push_str(&format!("{number}{unit}"));
        }
        rest %= factor;
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

/// Splits off the first number and its unit. A number that does not fit counts as the largest, which is then refused
/// as too long.
fn first_part(text: &str) -> Option<(u64, &str, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).filter(|end| *end > 0)?;
    let (number, rest) = text.split_at(digits);
    let letters = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
    let (unit, behind) = rest.split_at(letters);
    Some((number.parse().unwrap_or(u64::MAX), unit, behind))
}

fn malformed(text: &str) -> ValueError {
    ValueError::new(format!(
        "{text:?} is not a length of time; write whole numbers with the units d, h, m, s and ms, the larger ones \
         first, such as \"30s\", \"1m30s\" or \"28d\""
    ))
}

fn too_long(text: &str) -> ValueError {
    ValueError::new(format!("{text:?} is too long; the most is \"{LONGEST_DAYS}d\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, milliseconds: u64) {
        assert_eq!(parse_duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
    }

    #[test]
    fn reads_units_from_the_largest_down() {
        check("0s", 0);
        check("30s", 30_000);
        check("1m30s", 90_000);
        check("500ms", 500);
        check("28d", 28 * 86_400_000);
        check("1d2h3m4s5ms", 93_784_005);
        check("90m", 5_400_000);
        check("36525d", 36_525 * 86_400_000);
    }

    #[test]
    fn refuses_what_is_no_length_of_time() {
        for text in
            ["", "0", "30", "s", "1.5s", "1s1m", "1s1s", "-1s", " 1s", "1 s", "1w", "1M", "5µs", "1m30"]
        {
            let error = parse_duration(text).unwrap_err().to_string();
            assert!(error.contains("is not a length of time"), "{text}: {error}");
        }
        for text in ["36526d", "99999999999999999999d", "213503982335d1d", "18446744073709551615ms"] {
            parse_duration(text).unwrap_err();
        }
        assert_eq!(
            parse_duration("36526d").unwrap_err().to_string(),
            "\"36526d\" is too long; the most is \"36525d\""
        );
    }

    #[test]
    fn writes_what_it_reads() {
        for text in ["0s", "30s", "1m30s", "500ms", "28d", "1d2h3m4s5ms"] {
            assert_eq!(format_duration(parse_duration(text).unwrap()), text);
        }
        assert_eq!(format_duration(Duration::from_secs(5400)), "1h30m");
    }
}
