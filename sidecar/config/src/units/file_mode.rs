//! Permissions of a file, written in octal.

use std::fmt;
use std::str::FromStr;

use super::ValueError;

/// The permission bits of a file (chmod(2)): reading and writing for the owner, and no bits but those for reading and
/// writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileMode(u32);

impl FileMode {
    /// The bits, as open(2) and fchmod(2) take them.
    pub const fn bits(self) -> u32 {
        self.0
    }
}

impl fmt::Display for FileMode {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:04o}", self.0)
    }
}

impl FromStr for FileMode {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let octal = matches!(text.len(), 3 | 4) && text.bytes().all(|b| matches!(b, b'0'..=b'7'));
        let bits =
            octal.then(|| u32::from_str_radix(text, 8).ok()).flatten().ok_or_else(|| malformed(text))?;
        if bits & 0o600 != 0o600 {
            return Err(ValueError::new(format!(
                "{text:?} keeps the owner from reading or writing the file; write \"0600\" or more, such as \"0640\""
            )));
        }
        if bits & !0o666 != 0 {
            return Err(ValueError::new(format!(
                "{text:?} has bits that a log file does not need; use only those for reading and writing, such as \
                 \"0640\""
            )));
        }
        Ok(Self(bits))
    }
}

fn malformed(text: &str) -> ValueError {
    ValueError::new(format!("{text:?} is not a file mode; write it in octal as text, such as \"0640\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_octal() {
        assert_eq!("0640".parse::<FileMode>().map(FileMode::bits), Ok(0o640));
        assert_eq!("644".parse::<FileMode>().map(|mode| mode.to_string()), Ok("0644".to_owned()));
    }

    #[test]
    fn refuses_modes_that_no_log_file_has() {
        for (text, with) in [
            ("640640", "not a file mode"),
            ("+640", "not a file mode"),
            ("0689", "not a file mode"),
            ("", "not a file mode"),
            ("0440", "keeps the owner"),
            ("0066", "keeps the owner"),
            ("0755", "bits that a log file does not need"),
            ("4644", "bits that a log file does not need"),
        ] {
            let error = text.parse::<FileMode>().unwrap_err().to_string();
            assert!(error.contains(with), "{text}: {error}");
        }
    }
}
