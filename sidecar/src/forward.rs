//! The way to a receiver: frames go in, and how far they got comes out.

pub mod backoff;
pub mod endpoint;
pub mod tls;

pub mod connection;
