//! What sidecars say: `/status` of those that run.

pub mod bounded; // P
pub mod report; // P
pub mod schedule; // P
pub mod read; // E
