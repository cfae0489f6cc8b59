//! Single values as the file spells them: each type can only hold what was checked, reads itself from text
//! (`FromStr`) and writes itself back (`Display`) so that reading again gives an equal value.

mod byte_size;
mod duration;
mod file_mode;
mod fingerprint;
mod name;
mod path;
mod path_pattern;
mod pattern;
mod schedule;
mod signal;

pub use byte_size::ByteSize;
pub use duration::{format_duration, parse_duration};
pub use file_mode::FileMode;
pub use fingerprint::{Fingerprint, FingerprintAlgorithm};
pub use name::{ContainerName, DestinationName, LogName, PolicyName};
pub use path::{AbsolutePath, RelativePath};
pub use path_pattern::PathPattern;
pub use pattern::Pattern;
pub use schedule::Schedule;
pub use signal::Signal;

/// A value that cannot be used. The text says why and what to write instead; it follows the field's path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ValueError(String);

impl ValueError {
    /// An error with this text: lower case, no final dot.
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}
