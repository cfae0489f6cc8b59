//! What the tests of forwarding share: a scene (a directory with logs and certificates), the real binary in it,
//! and the recount of what arrived.
#![allow(dead_code, unused_imports, reason = "each test program uses a part of it")]

pub mod config;
pub mod pod;
pub mod prometheus;
pub mod recount;
pub mod rfc5424;
pub mod scene;
pub mod sidecar;
pub mod writing;

use std::time::Duration;

pub use config::{Destination, forwarded, rotated};
pub use recount::{Tallied, assert_complete, assert_exact, count_of, tally_of};
pub use scene::Scene;
pub use sidecar::Sidecar;
pub use writing::{Load, Pen, line};

/// Long enough for a slow and busy machine; a test that waits this long fails.
pub const LONG: Duration = Duration::from_secs(60);

/// Waits until `done`; panics with what was waited for.
pub fn eventually(what: &str, done: impl FnMut() -> bool) {
    if let Err(error) = capstan_peers::ports::wait_until(LONG, what, done) {
        panic!("{error}");
    }
}
