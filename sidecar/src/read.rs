//! From a file's bytes to lines with their places. Splitting is pure (P), reading has effects (E).

pub mod source; // E  bytes at a position, wherever they are now
pub mod lines; // P  bytes -> lines with absolute spans
