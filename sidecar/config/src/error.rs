//! Why a configuration was refused.

use std::fmt;

/// One field that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {message}")]
pub struct FieldError {
    /// The field's path in the file, such as `logs[0].rotate.when.size`.
    pub path: String,
    /// What is wrong, and what to write instead.
    pub message: String,
}

/// Why a file was refused. None of these goes away by reading the same bytes again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// The file holds nothing but white space.
    #[error("the file is empty")]
    Empty,
    /// The file is larger than [`MAX_FILE_BYTES`](crate::names::MAX_FILE_BYTES).
    #[error("the file has {bytes} bytes, more than the {limit} that are read")]
    TooLarge {
        /// The length of the file, in bytes.
        bytes: usize,
        /// The largest length that is read, in bytes.
        limit: usize,
    },
    /// The text ends before the JSON does: a file that is still being written, or was cut off.
    #[error("the file ends in the middle, at line {line} column {column}")]
    Torn {
        /// The last line, counted from 1.
        line: usize,
        /// The last column, in bytes, counted from 1.
        column: usize,
    },
    /// The text is no JSON.
    #[error("the file is not JSON: {message}")]
    NotJson {
        /// What the JSON parser says, with line and column.
        message: String,
    },
    /// The file is of a version this package does not know. The last good configuration should go on.
    #[error("version: {found} is not known to this sidecar, which reads version {known}")]
    UnsupportedVersion {
        /// The version in the file, as JSON.
        found: String,
        /// The version that is read.
        known: u64,
    },
    /// Fields are wrong.
    #[error("{}", Lines(fields))]
    Invalid {
        /// Every field at fault, in the order they were found. Never empty.
        fields: Vec<FieldError>,
    },
}

/// Writes one field per line.
struct Lines<'a>(&'a [FieldError]);

impl fmt::Display for Lines<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, field) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(out, "{separator}{field}")?;
        }
        Ok(())
    }
}
