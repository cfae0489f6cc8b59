//! What operator, pod and sidecar tell each other beside the file: hashes of files, mounted volumes, and what a sidecar
//! that ends leaves behind.
//!
//! In comes text of annotations, environment variables and termination messages, out come values, and back. What
//! always holds: what is written reads back equal; text of a later version that has more fields is still read.

mod hash;
mod termination;
mod volume;

pub use hash::{ConfigHash, ConfigHashes};
pub use termination::{TerminationMessage, Unconfirmed};
pub use volume::{Volume, VolumeKind};
