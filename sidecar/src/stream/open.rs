//! Opens files below a directory and says which file each is.
//!
//! Nothing outside the directory is ever reached: no symlink is followed, no `..` leads out, and what is not a
//! plain file with one name is refused (openat2(2), `RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS`).

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Component, Path};
use std::time::UNIX_EPOCH;

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::identity::{FINGERPRINT_BYTES, FileId, Fingerprint};

/// Why a path is not a log file.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Nothing there.
    #[error("does not exist")]
    Missing,
    /// Never followed.
    #[error("is reached through a symlink, or leads out of its directory")]
    Escapes,
    /// FIFO, device, socket or directory.
    #[error("is not a regular file")]
    NotRegular,
    /// A second name may be anywhere.
    #[error("has {0} hard links")]
    HardLinked(u64),
    /// Anything else.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl From<Errno> for OpenError {
    fn from(error: Errno) -> Self {
        match error {
            Errno::NOENT | Errno::NOTDIR => OpenError::Missing,
            Errno::LOOP | Errno::XDEV => OpenError::Escapes,
            other => OpenError::Io(other.into()),
        }
    }
}

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

/// Opens `path`, relative to `directory`, for reading.
pub fn open_beneath(directory: impl AsFd, path: &Path) -> Result<Opened, OpenError> {
    let file = File::from(open_fd(directory, path)?);
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(OpenError::NotRegular);
    }
    if metadata.nlink() > 1 {
        return Err(OpenError::HardLinked(metadata.nlink()));
    }
    let id = identify(&file)?;
    Ok(Opened { file, id, size: metadata.len() })
}

fn open_fd(directory: impl AsFd, path: &Path) -> Result<OwnedFd, OpenError> {
    // NONBLOCK: opening a FIFO must not wait for its writer.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    match rustix::fs::openat2(&directory, path, flags, Mode::empty(), resolve) {
        // Old kernels, and seccomp profiles that do not know the call.
        Err(Errno::NOSYS | Errno::PERM) => step_by_step(directory, path, flags),
        other => Ok(other?),
    }
}

/// The same by hand: one component at a time, none of them a symlink.
fn step_by_step(directory: impl AsFd, path: &Path, flags: OFlags) -> Result<OwnedFd, OpenError> {
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => names.push(name),
            Component::CurDir => {}
            _ => return Err(OpenError::Escapes),
        }
    }
    let Some((last, parents)) = names.split_last() else { return Err(OpenError::NotRegular) };
    let mut here = directory.as_fd().try_clone_to_owned()?;
    for parent in parents {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        here = rustix::fs::openat(&here, *parent, flags, Mode::empty())?;
    }
    Ok(rustix::fs::openat(&here, *last, flags, Mode::empty())?)
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
    use std::os::unix::fs::symlink;

    fn open(directory: &Path, path: &str) -> Result<Opened, OpenError> {
        open_beneath(File::open(directory).unwrap(), Path::new(path))
    }

    #[test]
    fn what_is_not_a_plain_file_with_one_name_is_refused_with_the_reason() {
        let dir = tempfile::tempdir().unwrap();
        let inside = dir.path().join("logs");
        std::fs::create_dir(&inside).unwrap();
        std::fs::write(dir.path().join("secret"), b"x").unwrap();
        std::fs::write(inside.join("plain"), b"hello").unwrap();
        std::fs::write(inside.join("twice"), b"x").unwrap();
        std::fs::hard_link(inside.join("twice"), inside.join("again")).unwrap();
        symlink("../secret", inside.join("link")).unwrap();
        symlink("..", inside.join("up")).unwrap();
        std::fs::create_dir(inside.join("sub")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            inside.join("fifo"),
            rustix::fs::FileType::Fifo,
            Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        assert_eq!(open(&inside, "plain").unwrap().size, 5);
        assert!(matches!(open(&inside, "none"), Err(OpenError::Missing)));
        assert!(matches!(open(&inside, "link"), Err(OpenError::Escapes)));
        assert!(matches!(open(&inside, "../secret"), Err(OpenError::Escapes)));
        assert!(matches!(open(&inside, "up/secret"), Err(OpenError::Escapes)));
        assert!(matches!(open(&inside, "sub"), Err(OpenError::NotRegular)));
        assert!(matches!(open(&inside, "fifo"), Err(OpenError::NotRegular)));
        assert!(matches!(open(&inside, "again"), Err(OpenError::HardLinked(2))));
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW;
        let directory = File::open(&inside).unwrap();
        for escaping in ["../secret", "link", "up/secret"] {
            assert!(step_by_step(&directory, Path::new(escaping), flags).is_err(), "{escaping}");
        }
        assert!(step_by_step(&directory, Path::new("plain"), flags).is_ok());
    }

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
