//! From a file's bytes to lines with their places.

pub mod lines;
pub mod source;
