//! Paths of files and directories, without patterns.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use super::ValueError;

/// The longest path, in bytes: PATH_MAX of Linux less the final NUL.
pub(super) const LONGEST_PATH: usize = 4095;

/// The longest part between slashes, in bytes: NAME_MAX of Linux.
const LONGEST_COMPONENT: usize = 255;

/// An absolute path in its shortest spelling: no `.`, no `..`, no doubled or final slash.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AbsolutePath(String);

/// A path below some directory, in its shortest spelling: no `.`, no `..`, no doubled, first or final slash.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RelativePath(String);

impl AbsolutePath {
    /// The path.
    pub fn as_path(&self) -> &Path {
        Path::new(&self.0)
    }
}

impl RelativePath {
    /// The path.
    pub fn as_path(&self) -> &Path {
        Path::new(&self.0)
    }
}

impl fmt::Display for AbsolutePath {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl fmt::Display for RelativePath {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl FromStr for AbsolutePath {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let below = text.strip_prefix('/').ok_or_else(|| {
            ValueError::new(format!(
                "{text:?} is not absolute; write the path from the root, with a leading slash"
            ))
        })?;
        check_components(text, below).map(|()| Self(text.to_owned()))
    }
}

impl FromStr for RelativePath {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        if text.starts_with('/') {
            return Err(ValueError::new(format!(
                "{text:?} is absolute; write a directory below that of the log, such as \"archive\""
            )));
        }
        check_components(text, text).map(|()| Self(text.to_owned()))
    }
}

/// Checks the parts between slashes. `text` is the whole, for the message.
pub(super) fn check_components(text: &str, relative: &str) -> Result<(), ValueError> {
    if text.len() > LONGEST_PATH {
        return Err(ValueError::new(format!("has {} bytes; a path has at most {LONGEST_PATH}", text.len())));
    }
    if text.contains(char::is_control) {
        return Err(ValueError::new(format!("{text:?} contains a control character; leave it out")));
    }
    for component in relative.split('/') {
        match component {
            "" => {
                let problem = "has a part without a name; write the path without doubled or final slash";
                return Err(ValueError::new(format!("{text:?} {problem}")));
            }
            "." | ".." => {
                let problem = "contains `.` or `..`; write the path without";
                return Err(ValueError::new(format!("{text:?} {problem}")));
            }
            _ if component.len() > LONGEST_COMPONENT => {
                let problem = format!("contains a name of {} bytes; a name has at most 255", component.len());
                return Err(ValueError::new(problem));
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn absolute(text: &str) -> Result<String, String> {
        text.parse::<AbsolutePath>().map(|path| path.to_string()).map_err(|error| error.to_string())
    }

    fn relative(text: &str) -> Result<String, String> {
        text.parse::<RelativePath>().map(|path| path.to_string()).map_err(|error| error.to_string())
    }

    #[test]
    fn absolute_paths_start_at_the_root() {
        assert_eq!(absolute("/run/gunicorn.pid"), Ok("/run/gunicorn.pid".into()));
        assert!(absolute("run/x").unwrap_err().contains("is not absolute"));
        assert!(absolute("").unwrap_err().contains("is not absolute"));
    }

    #[test]
    fn relative_paths_stay_below() {
        assert_eq!(relative("archive/old"), Ok("archive/old".into()));
        assert!(relative("/archive").unwrap_err().contains("is absolute"));
        assert!(relative("../x").unwrap_err().contains("`..`"));
        assert!(relative("a/../../x").unwrap_err().contains("`..`"));
        assert!(relative("").unwrap_err().contains("without a name"));
    }

    #[test]
    fn there_is_one_spelling_for_each_path() {
        for text in ["/", "//a", "/a/", "/a//b", "/a/./b", "/a/..", "/a\0b", "/a\nb"] {
            absolute(text).unwrap_err();
        }
        assert!(absolute(&format!("/{}", "x".repeat(256))).is_err());
        assert!(absolute(&"/x".repeat(2048)).is_err());
        assert!(absolute(&"/x".repeat(2000)).is_ok());
    }
}
