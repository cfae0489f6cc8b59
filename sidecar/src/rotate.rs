//! Rotation: give a log path a new file, prove that the old one has no writer left, keep what it held.
//!
//! In the order in which a rotation passes them. Deciding is pure (P), acting and looking are thin (E), and
//! whoever drives them observes again after every step.

pub mod attributes;
pub mod directory; // E  files by name inside one opened directory
pub mod exchange; // E  a new file in the log's place, the old one under its archive name
pub mod naming; // P  what an archive is called // E  owner, mode, lists and user attributes of a new file
