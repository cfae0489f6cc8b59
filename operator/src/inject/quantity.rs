//! Amounts as Kubernetes writes them: `100m`, `64Mi`, `1e3`.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// Suffixes and what they multiply by, in billionths.
const SUFFIXES: [(&str, i128); 16] = [
    ("n", 1),
    ("u", 1_000),
    ("m", 1_000_000),
    ("", ONE),
    ("k", 1_000 * ONE),
    ("M", 1_000_000 * ONE),
    ("G", 1_000_000_000 * ONE),
    ("T", 1_000_000_000_000 * ONE),
    ("P", 1_000_000_000_000_000 * ONE),
    ("E", 1_000_000_000_000_000_000 * ONE),
    ("Ki", (1 << 10) * ONE),
    ("Mi", (1 << 20) * ONE),
    ("Gi", (1 << 30) * ONE),
    ("Ti", (1 << 40) * ONE),
    ("Pi", (1 << 50) * ONE),
    ("Ei", (1 << 60) * ONE),
];

/// What is counted in: the smallest amount that Kubernetes tells apart is a billionth.
const ONE: i128 = 1_000_000_000;

/// The amount in billionths; None if it is none, or negative.
pub fn billionths(text: &str) -> Option<i128> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return None;
    }
    let unit = unit(suffix)?;
    let digits = format!("{whole}{fraction}").parse::<i128>().ok()?;
    // Kubernetes rounds up what is finer than a billionth.
    let divisor = 10_i128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    Some(divide_up(digits.checked_mul(unit)?, divisor))
}

fn unit(suffix: &str) -> Option<i128> {
    if let Some((_, unit)) = SUFFIXES.iter().find(|(known, _)| *known == suffix) {
        return Some(*unit);
    }
    let exponent = suffix.strip_prefix(['e', 'E'])?.parse::<i32>().ok()?;
    let power = 10_i128.checked_pow(exponent.unsigned_abs())?;
    if exponent < 0 { (power <= ONE).then(|| ONE / power) } else { ONE.checked_mul(power) }
}

/// The amount as a whole number, rounded down.
pub fn whole(quantity: &Quantity) -> Option<u64> {
    u64::try_from(billionths(&quantity.0)? / ONE).ok()
}

/// An amount divided by a number, rounded up: to thousandths below a mebi, such as processors are counted in, to kibis
/// above, such as bytes are. As the API server writes it, so that it finds nothing to write otherwise.
pub fn quotient(amount: &Quantity, divisor: &Quantity) -> Option<Quantity> {
    let dividend = billionths(&amount.0)?.checked_mul(ONE)?;
    let result = divide_up(dividend, billionths(&divisor.0).filter(|divisor| *divisor > 0)?);
    if result < (1 << 20) * ONE {
        let thousandths = divide_up(result, ONE / 1_000);
        let whole = thousandths % 1_000 == 0;
        return Some(Quantity(if whole {
            (thousandths / 1_000).to_string()
        } else {
            format!("{thousandths}m")
        }));
    }
    let mut number = divide_up(result, 1_024 * ONE);
    let mut units = ["Ki", "Mi", "Gi", "Ti"].into_iter();
    let mut unit = units.next()?;
    while number % 1_024 == 0 {
        let Some(larger) = units.next() else { break };
        (number, unit) = (number / 1_024, larger);
    }
    Some(Quantity(format!("{number}{unit}")))
}

fn divide_up(dividend: i128, divisor: i128) -> i128 {
    dividend / divisor + i128::from(dividend % divisor != 0)
}

/// Whether two amounts are the same, however they are written.
pub fn same_amount(one: &Quantity, other: &Quantity) -> bool {
    one == other || billionths(&one.0).is_some_and(|amount| billionths(&other.0) == Some(amount))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_compared_by_what_they_mean() {
        for (one, other) in [
            ("1", "1000m"),
            ("1Ki", "1024"),
            ("0.5", "500m"),
            ("1e3", "1k"),
            ("1.5Gi", "1536Mi"),
            ("5e-1", "500m"),
        ] {
            assert!(same_amount(&Quantity(one.into()), &Quantity(other.into())), "{one} {other}");
        }
        assert!(!same_amount(&Quantity("1".into()), &Quantity("1m".into())));
    }

    #[test]
    fn what_is_no_amount_is_none() {
        for text in ["", "m", ".", "1.2.3", "-1", "1 Mi", "1mi", "Mi1", "1e", "1e999", "ten"] {
            assert_eq!(billionths(text), None, "{text}");
        }
    }

    #[test]
    fn quotients_are_rounded_up_and_written_as_the_api_server_does() {
        for (amount, divisor, expected) in [
            ("1", "3", "334m"),
            ("2", "2", "1"),
            ("64Mi", "2", "32Mi"),
            ("64Mi", "3", "21846Ki"),
            ("4Gi", "4", "1Gi"),
        ] {
            let found = quotient(&Quantity(amount.into()), &Quantity(divisor.into()));
            assert_eq!(found, Some(Quantity(expected.into())), "{amount} / {divisor}");
        }
        assert_eq!(quotient(&Quantity("1".into()), &Quantity("0".into())), None);
    }

    #[test]
    fn the_largest_amounts_fit() {
        assert_eq!(billionths("15Ei"), Some(15 * (1 << 60) * ONE));
        assert_eq!(whole(&Quantity("1500m".into())), Some(1));
    }
}
