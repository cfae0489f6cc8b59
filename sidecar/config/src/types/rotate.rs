//! When and how a log is rotated, and what becomes of its archives.

use std::time::Duration;

use super::choice::choice;
use crate::units::{AbsolutePath, ByteSize, FileMode, Pattern, RelativePath, Schedule, Signal};

/// When and how to rotate.
#[derive(Debug, Clone, PartialEq)]
pub struct Rotate {
    /// When a file is due.
    pub when: When,
    /// How the file is turned over.
    pub method: Method,
    /// How the app is told to reopen its file.
    pub reopen: Reopen,
    /// Where archives go, how they are named and compressed.
    pub archive: Archive,
    /// How much is kept.
    pub retention: Retention,
    /// The permissions of the new file; `None` is as the old one.
    pub mode: Option<FileMode>,
}

/// When a file is due: by `size`, by `schedule`, or whichever comes first. At least one is there.
#[derive(Debug, Clone, PartialEq)]
pub struct When {
    /// Due once the file has this many bytes that were not freed. At least 1, and at least `min_size`.
    pub size: Option<ByteSize>,
    /// Due at these times.
    pub schedule: Option<Schedule>,
    /// A scheduled rotation leaves a smaller file alone.
    pub min_size: ByteSize,
    /// Whether a scheduled rotation also rotates an empty file. If so, `min_size` is 0.
    pub if_empty: bool,
}

choice! {
    /// How the file is turned over.
    Method {
        /// The path gets a new file in one exchange, and the app is told to reopen.
        Rename = "Rename",
    }
    later ["InPlace"]
}

/// How the app is told to reopen its file.
#[derive(Debug, Clone, PartialEq)]
pub struct Reopen {
    /// What is done.
    pub action: ReopenAction,
    /// How long until an app that has not reopened is reported and `fallback` is used. At least 1 s.
    pub timeout: Duration,
    /// What to do about an app that does not reopen.
    pub fallback: Fallback,
}

/// What is done so that the app reopens its file.
#[derive(Debug, Clone, PartialEq)]
pub enum ReopenAction {
    /// A signal to one kind of process.
    Signal {
        /// The signal that makes the app reopen its files.
        signal: Signal,
        /// The process that gets it.
        process: Process,
    },
    /// Nothing: the app notices by itself, or opens its file for every line.
    None,
}

/// Which process gets the signal. At least one of the two is there; if both are, both must fit.
#[derive(Debug, Clone, PartialEq)]
pub struct Process {
    /// Searched in the command line, its arguments joined by spaces.
    pub command_pattern: Option<Pattern>,
    /// A file that holds the process id, as the app's container sees it.
    pub pid_file: Option<AbsolutePath>,
}

choice! {
    /// What to do about an app that has not reopened its file in time.
    Fallback {
        /// Leave the old file alone, follow it as long as it is written, and say so.
        Wait = "Wait",
    }
    later ["InPlace"]
}

/// Where archives go, how they are named and compressed.
#[derive(Debug, Clone, PartialEq)]
pub struct Archive {
    /// A directory below that of the log; `None` is beside the log.
    pub directory: Option<RelativePath>,
    /// How archives are named.
    pub naming: Naming,
    /// How archives are compressed.
    pub compression: Compression,
}

choice! {
    /// How archives are named.
    Naming {
        /// By time and number; no archive is ever renamed again.
        Timestamp = "Timestamp",
    }
    later ["Date", "Numeric"]
}

choice! {
    /// How archives are compressed.
    Compression {
        /// Not at all.
        None = "None",
        /// With gzip, in members of 1 MiB, which every gzip tool reads.
        Gzip = "Gzip",
    }
    later ["Zstd"]
}

/// How much is kept of each file's archives. An archive goes as soon as one of the limits is passed; at least one is
/// there.
#[derive(Debug, Clone, PartialEq)]
pub struct Retention {
    /// How many archives. 0 only for a log that is forwarded: an archive goes when it is confirmed.
    pub count: Option<u32>,
    /// How old an archive may become. At least 1 minute.
    pub age: Option<Duration>,
    /// How many bytes the archives may have together, compressed. At least 1.
    pub total_size: Option<ByteSize>,
    /// What to do when a limit is passed by an archive that a destination has not confirmed.
    pub when_unconfirmed: WhenUnconfirmed,
}

choice! {
    /// What to do when a limit is passed by an archive that a destination has not confirmed.
    WhenUnconfirmed {
        /// Keep it.
        Keep = "Keep",
        /// Delete it, count its lines as lost, and report them.
        Delete = "Delete",
    }
    later []
}
