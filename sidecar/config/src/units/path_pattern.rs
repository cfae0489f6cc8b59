//! Patterns of paths.

use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use globset::GlobBuilder;
use regex::bytes::{Regex, RegexBuilder};

use super::ValueError;
use super::path::check_components;

/// The longest pattern, in bytes.
const LONGEST: usize = 1024;

/// The largest compiled pattern, in bytes.
const LARGEST_COMPILED: usize = 1 << 20;

/// Characters that make a part of a path a pattern.
const SPECIAL: [char; 5] = ['*', '?', '[', '{', '\\'];

/// Directories of the kernel: nothing below them is a log, and walking them has effects.
const KERNEL: [&str; 3] = ["/proc", "/sys", "/dev"];

/// A pattern of paths: `*` and `?` stay within a directory, `**` between slashes stands for any number of
/// directories, `[a-z]`, `{a,b}` and `\` as in a shell. A pattern with a slash is absolute and is matched against the
/// whole path, one without against the file name.
#[derive(Clone)]
pub struct PathPattern {
    text: String,
    base: PathBuf,
    regex: Regex,
}

impl PathPattern {
    /// The pattern as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The directory to look in: the longest prefix of whole parts that hold no pattern, without the last part. Empty
    /// for a pattern of file names.
    pub fn base(&self) -> &Path {
        &self.base
    }

    /// Whether the pattern is a plain path, so that no directory needs to be read.
    pub fn is_literal(&self) -> bool {
        !self.text.contains(SPECIAL)
    }

    /// Whether it is a pattern of file names, without a slash.
    pub fn is_file_name(&self) -> bool {
        !self.text.contains('/')
    }

    /// Whether `path`, which should be absolute, matches.
    pub fn matches(&self, path: &Path) -> bool {
        let subject =
            if self.is_file_name() { path.file_name().unwrap_or_default() } else { path.as_os_str() };
        self.regex.is_match(subject.as_bytes())
    }
}

/// By text: the rest is made of it.
impl PartialEq for PathPattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for PathPattern {}

impl fmt::Debug for PathPattern {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_tuple("PathPattern").field(&self.text).finish()
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text)
    }
}

impl FromStr for PathPattern {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        check_form(text)?;
        let regex = compile(text)?;
        let base = base(text);
        if base == Path::new("/") && text.contains("**") {
            return Err(ValueError::new(format!(
                "{text:?} searches the whole machine; name a directory in front"
            )));
        }
        if KERNEL.iter().any(|directory| base.starts_with(directory)) {
            return Err(ValueError::new(format!(
                "{text:?} is below a directory of the kernel, which holds no logs"
            )));
        }
        Ok(Self { text: text.to_owned(), base, regex })
    }
}

/// Checks length, slashes and stars.
fn check_form(text: &str) -> Result<(), ValueError> {
    if text.len() > LONGEST {
        return Err(ValueError::new(format!("has {} bytes; a pattern has at most {LONGEST}", text.len())));
    }
    let components = match text.strip_prefix('/') {
        Some(below) => below,
        None if text.contains('/') => {
            return Err(ValueError::new(format!(
                "{text:?} has a slash but is not absolute; write the path from the root, or a file name alone"
            )));
        }
        None => text,
    };
    check_components(text, components)?;
    if components.split('/').any(|part| part.contains("**") && part != "**") {
        return Err(ValueError::new(format!(
            "{text:?} has `**` beside other characters; write `**` alone between two slashes, or `*`"
        )));
    }
    Ok(())
}

/// Compiles the pattern. Its regular expression is compiled here and not by globset, whose matcher panics where this
/// returns an error.
fn compile(text: &str) -> Result<Regex, ValueError> {
    let glob = GlobBuilder::new(text)
        .literal_separator(true)
        .backslash_escape(true)
        .build()
        .map_err(|error| ValueError::new(format!("{text:?} is not a pattern: {}", error.kind())))?;
    RegexBuilder::new(glob.regex())
        .unicode(false)
        .dot_matches_new_line(true)
        .size_limit(LARGEST_COMPILED)
        .build()
        .map_err(|_| {
            ValueError::new(format!("{text:?} is not a pattern that can be compiled; write a simpler one"))
        })
}

/// The longest prefix of whole parts that hold no pattern, without the last part.
fn base(text: &str) -> PathBuf {
    let end = text.find(SPECIAL).unwrap_or(text.len());
    match text[..end].rfind('/') {
        Some(0) => PathBuf::from("/"),
        Some(slash) => PathBuf::from(&text[..slash]),
        None => PathBuf::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> PathPattern {
        text.parse().unwrap()
    }

    fn check(text: &str, path: &str, expected: bool) {
        assert_eq!(pattern(text).matches(Path::new(path)), expected, "{text} on {path}");
    }

    #[test]
    fn stars_stay_within_a_directory() {
        check("/var/log/*.log", "/var/log/a.log", true);
        check("/var/log/*.log", "/var/log/a/b.log", false);
        check("/var/log/*.log", "/var/log/a.log.1", false);
        check("/var/log/?.log", "/var/log//.log", false);
        check("/var/log/{a,b}.log", "/var/log/b.log", true);
        check("/var/log/[!a].log", "/var/log/b.log", true);
        check("/var/log/a.log", "/var/log/aXlog", false);
    }

    #[test]
    fn two_stars_cross_directories() {
        check("/var/log/**/*.log", "/var/log/a.log", true);
        check("/var/log/**/*.log", "/var/log/a/b/c.log", true);
        check("/var/log/**/*.log", "/var/other/a.log", false);
        check("/var/log/**", "/var/log/a/b", true);
    }

    #[test]
    fn a_pattern_without_slash_is_matched_against_the_file_name() {
        check("*debug*", "/var/log/debug.log", true);
        check("*debug*", "/var/debug/app.log", false);
        check("*", "/", true);
    }

    #[test]
    fn paths_are_bytes() {
        use std::ffi::OsStr;
        let path = Path::new(OsStr::from_bytes(b"/var/log/\xff\n.log"));
        assert!(pattern("/var/log/*.log").matches(path));
        check("/var/log/ä*.log", "/var/log/äb.log", true);
    }

    #[test]
    fn the_base_is_the_directory_to_look_in() {
        for (text, base, literal) in [
            ("/var/log/gunicorn/*.log", "/var/log/gunicorn", false),
            ("/var/log/app.log", "/var/log", true),
            ("/var/log/a*/b.log", "/var/log", false),
            ("/var/{log/a,tmp/b}/x.log", "/var", false),
            ("/srv/**/x.log", "/srv", false),
            ("/*.log", "/", false),
            ("*.tmp", "", false),
        ] {
            assert_eq!(pattern(text).base(), Path::new(base), "{text}");
            assert_eq!(pattern(text).is_literal(), literal, "{text}");
        }
    }

    #[test]
    fn bad_patterns_are_refused_with_the_fix() {
        for (text, with) in [
            ("", "without a name"),
            ("var/log/*.log", "not absolute"),
            ("/var/../log/*.log", "`..`"),
            ("/var/log/", "final slash"),
            ("/var/log/a**.log", "`**` beside other characters"),
            ("/**/*.log", "whole machine"),
            ("/proc/*/fd", "kernel"),
            ("/dev/std*", "kernel"),
            ("/var/log/[a", "unclosed"),
            ("/var/log/{a", "not a pattern"),
            ("/var/log/[z-a]", "invalid range"),
            ("/var/log/a\\", "not a pattern"),
        ] {
            let error = text.parse::<PathPattern>().unwrap_err().to_string();
            assert!(error.contains(with), "{text}: {error}");
        }
        assert!(format!("/{}", "?".repeat(250)).parse::<PathPattern>().is_ok());
        assert!(format!("/var/{}", "a".repeat(1024)).parse::<PathPattern>().is_err());
    }
}
