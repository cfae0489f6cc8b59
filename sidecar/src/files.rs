//! Which file, whether it may be a log, and what went wrong with it.
//!
//! In: what stat(2) says, and the system's error numbers. Out: plain values. Always: only a regular file with exactly
//! one name may be a log.

pub mod directory; // E  files by name inside one opened directory

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use rustix::io::Errno;
use thiserror::Error;

/// Which file: equal as long as the file exists, reused by the file system afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId {
    /// Number of the device, as stat(2) gives it.
    pub device: u64,
    /// Number of the inode on it.
    pub inode: u64,
}

impl FileId {
    /// The identity of what `metadata` describes.
    pub fn of(metadata: &Metadata) -> Self {
        FileId { device: metadata.dev(), inode: metadata.ino() }
    }
}

/// Why a file is not one that a log may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfit {
    /// A symbolic link, or a path through one.
    SymbolicLink,
    /// A name or path that leaves its directory.
    Escapes,
    /// A directory.
    Directory,
    /// A FIFO, socket or device.
    Special,
    /// A file with several names: rotating one would leave the other behind.
    HardLinked,
}

impl std::fmt::Display for Unfit {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            Unfit::SymbolicLink => "a symbolic link, which is never followed",
            Unfit::Escapes => "outside its directory",
            Unfit::Directory => "a directory, no file",
            Unfit::Special => "a FIFO, socket or device, no file",
            Unfit::HardLinked => "a file with more than one name",
        })
    }
}

/// What went wrong with a file.
#[derive(Debug, Clone, Error)]
pub enum FileError {
    /// The file is none that may be touched; trying again does not help.
    #[error("{path}: is {unfit}")]
    Unfit {
        /// The file.
        path: PathBuf,
        /// What it is instead.
        unfit: Unfit,
    },
    /// The system refused; worth another try later.
    #[error("{path}: cannot {action}: {errno}")]
    Io {
        /// What was attempted.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        errno: Errno,
    },
}

impl FileError {
    /// What the system said, if it said something.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            FileError::Unfit { .. } => None,
            FileError::Io { errno, .. } => Some(*errno),
        }
    }

    /// What is wrong, without saying again with which file.
    pub fn reason(&self) -> String {
        match self {
            FileError::Unfit { unfit, .. } => format!("is {unfit}"),
            FileError::Io { action, errno, .. } => format!("cannot {action}: {errno}"),
        }
    }

    /// Whether there is no such file.
    pub fn is_absent(&self) -> bool {
        self.errno() == Some(Errno::NOENT)
    }

    /// Whether the name is taken already.
    pub fn is_taken(&self) -> bool {
        self.errno() == Some(Errno::EXIST)
    }

    /// Whether the same call may succeed later.
    pub fn retry(&self) -> bool {
        matches!(self, FileError::Io { .. })
    }
}

/// What keeps a file from being a log; `None` for a regular file with one name.
pub fn unfit(metadata: &Metadata) -> Option<Unfit> {
    let kind = metadata.file_type();
    if kind.is_symlink() {
        Some(Unfit::SymbolicLink)
    } else if kind.is_dir() {
        Some(Unfit::Directory)
    } else if !kind.is_file() {
        Some(Unfit::Special)
    } else if metadata.nlink() != 1 {
        // A file without any name is no longer a log either.
        Some(Unfit::HardLinked)
    } else {
        None
    }
}

/// The system's number for an error of the standard library.
pub(crate) fn errno_of(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}
