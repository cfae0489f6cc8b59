//! Hops through a compressed archive on disk, header by header.
//!
//! In: the open file. Out: where members begin and what they hold. Always: nothing is read that a header does not
//! announce within its bounds, and what is no member of ours is an error that names the place.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::fs::FileExt;

use rustix::io::Errno;
use thiserror::Error;

use super::members::{Boundary, HEADER_BYTES, Member, MemberError, parse_header};
use crate::files::directory::Directory;
use crate::files::{FileError, errno_of};

/// Why compressing or reading an archive did not go on.
#[derive(Debug, Error)]
pub enum ArchiveError {
    /// The system refused. A full disk is among them; what was written stays, and the next try goes on from there.
    #[error(transparent)]
    File(#[from] FileError),
    /// The compressed file exists already; measure it.
    #[error("{path}: exists already")]
    Exists {
        /// The compressed file.
        path: std::path::PathBuf,
    },
    /// The compressed file is not, or no longer, what this program wrote.
    #[error("{path}: {error} (at byte {at})")]
    Member {
        /// The compressed file.
        path: std::path::PathBuf,
        /// What is wrong.
        error: MemberError,
        /// Where its member begins.
        at: u64,
    },
}

/// How many bytes come out of a finished compressed archive, by hopping from header to header.
///
/// # Errors
///
/// [`ArchiveError::Member`] if it is not one of ours, or damaged; else what the system said.
pub fn measure(directory: &Directory, gzip: &OsStr) -> Result<Boundary, ArchiveError> {
    let failed = |error: std::io::Error| directory.io("read", gzip, errno_of(&error));
    let file = directory.open_file(gzip)?;
    let length = file.metadata().map_err(failed)?.len();
    let mut at = Boundary::default();
    while at.compressed < length {
        let member = read_header(&file, at, length).map_err(failed)?.map_err(|error| {
            ArchiveError::Member { path: directory.path().join(gzip), error, at: at.compressed }
        })?;
        at = at.after(member);
    }
    Ok(at)
}

/// Reads the header at `at` of a file of `length` bytes.
pub(super) fn read_header(
    file: &File,
    at: Boundary,
    length: u64,
) -> std::io::Result<Result<Member, MemberError>> {
    let mut header = [0; HEADER_BYTES];
    let read = read_full_at(file, &mut header, at.compressed)?;
    let remaining = length.saturating_sub(at.compressed);
    Ok(parse_header(header.get(..read).unwrap_or_default(), remaining))
}

/// Reads the whole member at `at` into `bytes`.
pub(super) fn read_member(
    file: &File,
    at: Boundary,
    length: u64,
    bytes: &mut Vec<u8>,
) -> std::io::Result<Result<Member, MemberError>> {
    let header = read_header(file, at, length)?;
    let size = header.map_or(0, |member| member.compressed as usize);
    bytes.resize(size, 0);
    let read = read_full_at(file, bytes, at.compressed)?;
    Ok(if read < size { Err(MemberError::Torn) } else { header })
}

/// Reads until the buffer is full or the file ends.
pub(super) fn read_full_at(file: &File, buffer: &mut [u8], offset: u64) -> std::io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if errno_of(&error) == Errno::INTR => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
