//! Streams, their generations, and how far each destination has confirmed them.
//!
//! A *stream* is one log path. Its *generations* are the files that have carried that path, numbered from 1.
//! A *position* is a byte counted from its generation's birth; compressing a file does not change positions.

pub mod feed;
pub mod identity;
pub mod ledger;
pub mod marks;
pub mod open;
pub mod place;
pub mod recover;
pub mod store;
pub mod turn;
pub mod volume;
