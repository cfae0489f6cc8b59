//! Regular expressions over bytes.

use std::fmt;
use std::str::FromStr;

use regex::bytes::{Regex, RegexBuilder};

use super::ValueError;

/// The longest expression, in bytes.
const LONGEST: usize = 1024;

/// The largest compiled expression, in bytes.
const LARGEST_COMPILED: usize = 1 << 20;

/// A regular expression over bytes. Classes such as `\w` and `\b` are ASCII, since Unicode ones are many times slower
/// on lines that hold a single other character; `(?u)` in front asks for Unicode.
#[derive(Debug, Clone)]
pub struct Pattern {
    regex: Regex,
}

impl Pattern {
    /// The expression as it was written.
    pub fn text(&self) -> &str {
        self.regex.as_str()
    }

    /// Compiled, with ASCII classes.
    pub fn regex(&self) -> &Regex {
        &self.regex
    }

    /// Whether it is found anywhere in these bytes.
    pub fn is_match(&self, bytes: &[u8]) -> bool {
        self.regex.is_match(bytes)
    }
}

/// By text: the rest is made of it.
impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}

impl Eq for Pattern {}

impl fmt::Display for Pattern {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.text())
    }
}

impl FromStr for Pattern {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        if text.is_empty() {
            return Err(ValueError::new("is empty and would match everything; write a regular expression"));
        }
        if text.len() > LONGEST {
            return Err(ValueError::new(format!(
                "has {} bytes; a pattern has at most {LONGEST}",
                text.len()
            )));
        }
        let built = RegexBuilder::new(text).unicode(false).size_limit(LARGEST_COMPILED).build();
        built.map(|regex| Self { regex }).map_err(|error| describe(text, &error))
    }
}

/// One sentence from an error of the regex crate, which draws a picture over several lines.
fn describe(text: &str, error: &regex::Error) -> ValueError {
    if let regex::Error::CompiledTooBig(limit) = error {
        return ValueError::new(format!(
            "{text:?} is larger than {limit} bytes when compiled; write a simpler one"
        ));
    }
    let message = error.to_string();
    let reason = message.lines().next_back().unwrap_or_default();
    let reason = reason.strip_prefix("error: ").unwrap_or(reason);
    ValueError::new(format!("{text:?} is not a regular expression: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        text.parse().unwrap()
    }

    #[test]
    fn matches_bytes_anywhere() {
        assert!(pattern("gunicorn: master").is_match(b"gunicorn: master [web]"));
        assert!(!pattern("^master").is_match(b"gunicorn: master"));
        assert!(pattern(r"a.b").is_match(b"a\xffb"));
    }

    #[test]
    fn classes_are_ascii_unless_asked_otherwise() {
        assert!(!pattern(r"^\w$").is_match("ä".as_bytes()));
        assert!(pattern(r"(?u)^\w$").is_match("ä".as_bytes()));
    }

    #[test]
    fn bad_expressions_are_refused_in_one_sentence() {
        let error = |text: &str| text.parse::<Pattern>().unwrap_err().to_string();
        assert_eq!(error("a("), "\"a(\" is not a regular expression: unclosed group");
        assert_eq!(error(""), "is empty and would match everything; write a regular expression");
        assert!(error(r"(\w{100}){100}{100}").contains("when compiled"));
        assert!(error(&"a".repeat(1025)).contains("at most 1024"));
    }
}
