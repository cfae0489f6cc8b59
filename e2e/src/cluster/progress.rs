//! What is told while it works: in, the beginnings and ends of steps; out, lines on standard error with seconds.
//! Standard output stays free for what other programs read.

use std::time::Instant;

/// A clock that began with the command.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    since: Instant,
}

impl Progress {
    /// Begins now.
    #[allow(clippy::new_without_default, reason = "a default clock would hide that it starts")]
    pub fn new() -> Progress {
        Progress { since: Instant::now() }
    }

    /// Says what is true from now on, and how long it took from the beginning.
    pub fn reached(&self, what: &str) {
        eprintln!("{:>7.1} s  {what}", self.since.elapsed().as_secs_f64());
    }
}

/// Says what is being done, or anything else that a person should read.
pub fn say(what: &str) {
    eprintln!("           {what}");
}
