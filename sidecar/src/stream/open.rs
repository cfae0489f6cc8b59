//! Opens a volume's log files and says which file each is. Nothing outside the volume is ever reached, and what is
//! not a plain file with one name is refused: see [`crate::files`].

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::time::UNIX_EPOCH;

use super::identity::{FINGERPRINT_BYTES, FileId, Fingerprint};
use super::volume::Volume;
use crate::files::directory::Directory;
use crate::files::{FileError, errno_of};

/// A file that was opened and looked at.
#[derive(Debug)]
pub struct Opened {
    /// Open for reading only: a writable descriptor of our own would make the lease probe say "held".
    pub file: File,
    /// Which file.
    pub id: FileId,
    /// Its size in bytes.
    pub size: u64,
}

impl Volume {
    /// The directory that holds `path`, which is relative to the volume's base.
    ///
    /// # Errors
    ///
    /// See [`Directory::open_beneath`].
    pub fn directory_of(&self, path: &Path) -> Result<Directory, FileError> {
        match path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            Some(parent) => self.directory.open_beneath(parent),
            None => self.directory.again(),
        }
    }

    /// Opens the log file `path`, relative to the volume's base, for reading.
    ///
    /// # Errors
    ///
    /// See [`Directory::open_file`].
    pub fn open_log(&self, path: &str) -> Result<Opened, FileError> {
        let (path, shown) = (Path::new(path), self.absolute(path));
        let name = path.file_name().unwrap_or_default();
        let file = self.directory_of(path)?.open_file(name)?;
        let failed =
            |error: io::Error| FileError::Io { action: "look at", path: shown, errno: errno_of(&error) };
        let seen = || Ok((identify(&file)?, file.metadata()?.len()));
        let (id, size) = seen().map_err(failed)?;
        Ok(Opened { file, id, size })
    }
}

/// Which file is open here.
pub fn identify(file: &File) -> io::Result<FileId> {
    let metadata = file.metadata()?;
    let born = metadata.created().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    Ok(FileId {
        dev: metadata.dev(),
        ino: metadata.ino(),
        born: born.and_then(|since| i64::try_from(since.as_nanos()).ok()),
        handle: crate::sys::file_handle(file).map(hex),
    })
}

fn hex(bytes: Vec<u8>) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a String cannot fail.
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}

/// Fingerprint of the bytes before `position`, or None if the file does not reach that far.
pub fn fingerprint_before(file: &File, position: u64) -> io::Result<Option<Fingerprint>> {
    let length = position.min(FINGERPRINT_BYTES as u64);
    let mut bytes = vec![0; length as usize];
    match file.read_exact_at(&mut bytes, position - length) {
        Ok(()) => Ok(Some(Fingerprint::of(&bytes))),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_recreated_with_the_same_inode_has_another_identity() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut seen = Vec::new();
        for _ in 0..20 {
            std::fs::write(&path, b"same first kilobyte").unwrap();
            let id = identify(&File::open(&path).unwrap()).unwrap();
            assert!(seen.iter().all(|old: &FileId| !old.is_same_file(&id)));
            seen.push(id);
            std::fs::remove_file(&path).unwrap();
        }
    }
}
