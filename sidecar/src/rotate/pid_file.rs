//! Reads a pid file.
//!
//! In: a directory and the file's name. Out: the number and when it was written. Always: at most a few bytes are
//! read, links are not followed, and anything but one decimal number is refused.

use std::ffi::OsStr;
use std::path::PathBuf;

use jiff::Timestamp;
use thiserror::Error;

use super::member_file::read_full_at;
use super::targets::PidFile;
use crate::files::directory::Directory;
use crate::files::{FileError, errno_of};

/// Longer than any number with line end and blanks around it.
const LONGEST_BYTES: usize = 64;

/// Why a pid file says nothing.
#[derive(Debug, Error)]
pub enum PidFileError {
    /// It is not there yet, or cannot be read; worth another try.
    #[error(transparent)]
    File(#[from] FileError),
    /// Its first line is no process number.
    #[error("{path}: does not begin with a process number")]
    NoNumber {
        /// The file.
        path: PathBuf,
    },
}

/// Reads the pid file called `name`.
///
/// # Errors
///
/// There is none, it may not be read, or it holds no number.
pub fn read_pid_file(directory: &Directory, name: &OsStr) -> Result<PidFile, PidFileError> {
    let file = directory.open_file(name)?;
    let failed = |error: std::io::Error| directory.io("read", name, errno_of(&error));
    let mut text = [0; LONGEST_BYTES];
    let read = read_full_at(&file, &mut text, 0).map_err(failed)?;
    let written = file.metadata().and_then(|metadata| metadata.modified()).map_err(failed)?;
    let no_number = || PidFileError::NoNumber { path: directory.path().join(name) };
    let pid = text.get(..read).and_then(parse_pid).ok_or_else(no_number)?;
    let written_at = Timestamp::try_from(written).map_err(|_| no_number())?;
    Ok(PidFile { pid, written_at })
}

/// The number in the first line; some programs (postmaster) write more lines after it.
fn parse_pid(text: &[u8]) -> Option<u32> {
    let line = text.split(|byte| *byte == b'\n').next()?;
    let line = std::str::from_utf8(line).ok()?.trim();
    line.bytes().all(|byte| byte.is_ascii_digit()).then(|| line.parse().ok())?
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_number_with_a_line_end_is_read_with_its_time() {
        let temporary = tempfile::tempdir().unwrap();
        let directory = Directory::open(temporary.path()).unwrap();
        fs::write(temporary.path().join("app.pid"), " 4242\n").unwrap();
        let read = read_pid_file(&directory, OsStr::new("app.pid")).unwrap();
        assert_eq!(read.pid, 4242);
        let written = fs::metadata(temporary.path().join("app.pid")).unwrap().modified().unwrap();
        assert_eq!(read.written_at, Timestamp::try_from(written).unwrap());
    }

    #[test]
    fn only_one_decimal_number_counts() {
        assert_eq!(parse_pid(b"17\n/var/lib/postgres\n"), Some(17));
        assert_eq!(parse_pid(b"17"), Some(17));
        for bad in ["", "\n17", "-1", "+1", "0x11", "1 2", "1.5", "99999999999", "\u{661}"] {
            assert_eq!(parse_pid(bad.as_bytes()), None, "{bad:?}");
        }
    }

    #[test]
    fn the_message_names_the_file() {
        let temporary = tempfile::tempdir().unwrap();
        let directory = Directory::open(temporary.path()).unwrap();
        assert!(matches!(
            read_pid_file(&directory, OsStr::new("none")),
            Err(PidFileError::File(error)) if error.is_absent()
        ));
        fs::write(temporary.path().join("app.pid"), "starting").unwrap();
        let message = read_pid_file(&directory, OsStr::new("app.pid")).unwrap_err().to_string();
        let path = temporary.path().join("app.pid");
        assert_eq!(message, format!("{}: does not begin with a process number", path.display()));
    }
}
