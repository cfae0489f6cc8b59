//! The other side: real and fault-injecting parts for tests, the demo and benchmarks.
//!
//! Nothing in here knows the sidecar. Every part runs on 127.0.0.1 only, keeps its files in a directory it
//! is given or a temporary one, and ends the processes it started, by their id, when it is dropped.

pub mod certificates;
pub mod ports;

pub mod binaries;
pub mod child;

pub mod client;
pub mod framing;
// Receivers.
pub mod collector;
pub mod misbehave;
pub mod rsyslog;
// Apps that write logs, and the recount.
pub mod gunicorn;
pub mod http;
pub mod lines;
pub mod load;
pub mod nginx;
pub mod writer;

// What every package's own tests ask of its sources.
pub mod house;
