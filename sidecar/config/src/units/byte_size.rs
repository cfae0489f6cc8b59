//! Numbers of bytes, written as Kubernetes quantities.

use std::fmt;
use std::str::FromStr;

use super::ValueError;

/// A number of bytes, such as `100Mi`, `1.5Gi`, `500k`, `1e6` or `4096`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(pub u64);

/// Suffixes and what they multiply by.
const SUFFIXES: [(&str, u64); 13] = [
    ("", 1),
    ("k", 1_000),
    ("M", 1_000_000),
    ("G", 1_000_000_000),
    ("T", 1_000_000_000_000),
    ("P", 1_000_000_000_000_000),
    ("E", 1_000_000_000_000_000_000),
    ("Ki", 1 << 10),
    ("Mi", 1 << 20),
    ("Gi", 1 << 30),
    ("Ti", 1 << 40),
    ("Pi", 1 << 50),
    ("Ei", 1 << 60),
];

impl ByteSize {
    /// The number of bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl fmt::Display for ByteSize {
    /// Writes the shortest form; of equally short ones the binary.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let forms = SUFFIXES.iter().rev().filter(|(_, factor)| self.0.is_multiple_of(*factor));
        let texts = forms.map(|(suffix, factor)| format!("{}{suffix}", self.0 / factor));
        // Zero divides by everything: its shortest form is the one without suffix.
        out.write_str(&texts.min_by_key(String::len).unwrap_or_default())
    }
}

impl FromStr for ByteSize {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, suffix) = text.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return Err(malformed(text));
        }
        let factor = factor(text, suffix)?;
        let whole = whole_bytes(whole, factor).ok_or_else(|| too_large(text))?;
        let part = fraction_bytes(fraction, factor).ok_or_else(|| fractional(text))?;
        whole.checked_add(part).map(Self).ok_or_else(|| too_large(text))
    }
}

/// What the suffix multiplies by.
fn factor(text: &str, suffix: &str) -> Result<u64, ValueError> {
    if let Some((_, factor)) = SUFFIXES.iter().find(|(name, _)| *name == suffix) {
        return Ok(*factor);
    }
    if let Some(exponent) = suffix.strip_prefix(['e', 'E']).and_then(|digits| digits.parse::<u32>().ok()) {
        return 10_u64.checked_pow(exponent).ok_or_else(|| too_large(text));
    }
    Err(malformed(text))
}

/// `digits` times `factor`, or nothing if that is too large.
fn whole_bytes(digits: &str, factor: u64) -> Option<u64> {
    let number = if digits.is_empty() { 0 } else { digits.parse::<u64>().ok()? };
    number.checked_mul(factor)
}

/// `0.digits` times `factor`, or nothing if that is no whole number of bytes.
fn fraction_bytes(digits: &str, factor: u64) -> Option<u64> {
    let digits = digits.trim_end_matches('0');
    if digits.is_empty() {
        return Some(0);
    }
    let scale = 10_u128.checked_pow(u32::try_from(digits.len()).ok()?)?;
    let product = digits.parse::<u128>().ok()?.checked_mul(u128::from(factor))?;
    if !product.is_multiple_of(scale) {
        return None;
    }
    u64::try_from(product / scale).ok()
}

fn malformed(text: &str) -> ValueError {
    ValueError::new(format!(
        "{text:?} is not a size; write a number of bytes, or a number with a suffix: Ki, Mi, Gi, Ti (powers of 1024) \
         or k, M, G, T (powers of 1000), such as \"100Mi\""
    ))
}

fn fractional(text: &str) -> ValueError {
    ValueError::new(format!("{text:?} is not a whole number of bytes; write a smaller unit"))
}

fn too_large(text: &str) -> ValueError {
    ValueError::new(format!("{text:?} is too large; the most is 18446744073709551615 bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, bytes: u64) {
        assert_eq!(text.parse(), Ok(ByteSize(bytes)), "{text}");
    }

    fn refused(text: &str, with: &str) {
        let error = text.parse::<ByteSize>().unwrap_err().to_string();
        assert!(error.contains(with), "{text}: {error}");
    }

    #[test]
    fn reads_what_kubernetes_reads() {
        check("0", 0);
        check("4096", 4096);
        check("100Mi", 100 << 20);
        check("1Gi", 1 << 30);
        check("500k", 500_000);
        check("1.5Gi", 3 << 29);
        check(".5Ki", 512);
        check("1.", 1);
        check("1e3", 1000);
        check("12E6", 12_000_000);
        check("1E", 1_000_000_000_000_000_000);
        check("18446744073709551615", u64::MAX);
    }

    #[test]
    fn refuses_what_is_no_size() {
        for text in [
            "", ".", "Mi", "10MB", "10K", "10mi", "1 Gi", "-1", "+1", "1.2.3", "100m", "0x10", "1e", "1e-3",
            "١",
        ] {
            refused(text, "is not a size");
        }
        refused("0.3", "whole number of bytes");
        refused("1.0001Ki", "whole number of bytes");
        refused("16Ei", "too large");
        refused("18446744073709551616", "too large");
        refused("1e20", "too large");
    }

    #[test]
    fn writes_the_shortest_form() {
        for (bytes, text) in [
            (0, "0"),
            (1, "1"),
            (1000, "1k"),
            (1024, "1Ki"),
            (1536, "1536"),
            (100 << 20, "100Mi"),
            (3 << 29, "1536Mi"),
            (500_000, "500k"),
            (1_024_000, "1024k"),
            (u64::MAX, "18446744073709551615"),
        ] {
            assert_eq!(ByteSize(bytes).to_string(), text);
        }
    }
}
