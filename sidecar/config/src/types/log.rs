//! A log: the files of one kind, and what is done with them.

use super::choice::choice;
use super::{Forward, Rotate};
use crate::units::{ByteSize, ContainerName, LogName, PathPattern};

/// Files of one kind, and what is done with them. At least one of `rotate` and `forward` is there.
#[derive(Debug, Clone, PartialEq)]
pub struct Log {
    /// Unique in the file; the MSGID of its messages and a label of its metrics.
    pub name: LogName,
    /// Which files belong to it.
    pub files: Files,
    /// The container whose processes write the files; `None` is the one that the pod means by default.
    pub container: Option<ContainerName>,
    /// Where to begin in files that are found at the very first start.
    pub read_from: ReadFrom,
    /// A longer line is cut, marked and counted. At least 1.
    pub max_line: ByteSize,
    /// When and how to rotate, if at all.
    pub rotate: Option<Rotate>,
    /// Where to send the lines, if anywhere.
    pub forward: Option<Forward>,
}

/// Which files belong to a log. Archives and the state directory never do, whatever the patterns say.
#[derive(Debug, Clone, PartialEq)]
pub struct Files {
    /// Absolute patterns, at least one.
    pub include: Vec<PathPattern>,
    /// Patterns of files to leave out: without a slash matched against the file name, otherwise absolute.
    pub exclude: Vec<PathPattern>,
}

choice! {
    /// Where to begin in files that are found at the very first start. Files that appear later are always read from
    /// their beginning.
    ReadFrom {
        /// With the first byte.
        Beginning = "Beginning",
        /// With the next line that is written.
        End = "End",
    }
    later []
}
