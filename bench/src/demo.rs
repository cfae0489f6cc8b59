//! The main job, once, with everything real: in, nothing; out, a recount and whether anything is missing.
//!
//! gunicorn writes, the sidecar rotates and forwards, a TLS receiver in a process of its own records. The
//! receiver is killed once, the sidecar is killed once. Then the numbers of the requests are compared:
//! sent by the client, in the files, at the receiver.

mod progress;
mod recount;
mod report;
mod script;
mod stage;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use progress::Progress;
use stage::Stage;

/// How the demo ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing is missing.
    Complete,
    /// Something is missing, or something did not do its part; the files are kept there.
    Incomplete(PathBuf),
    /// Stopped by SIGINT, SIGTERM or SIGHUP (the terminal is gone).
    Interrupted,
}

/// How many of the sidecar's own log lines are shown when something went wrong.
const LOG_LINES: usize = 15;

/// Runs the demo, printing progress and the final table.
pub fn run() -> Result<Outcome> {
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, interrupted.clone())?;
    }
    let mut progress = Progress::new();
    progress.event("starting gunicorn, the receiver and the sidecar");
    let mut stage = Stage::start().context("the demo cannot start")?;
    let played = script::play(&mut stage, &mut progress, &interrupted);
    progress.clear();
    let result = match played {
        Ok(Some(ending)) => report::print(&stage, &ending),
        Ok(None) => return Ok(Outcome::Interrupted),
        Err(error) => Err(error),
    };
    let complete = match result {
        Ok(complete) => complete,
        Err(error) => {
            progress.event(&format!("failed: {error:#}"));
            false
        }
    };
    if complete {
        return Ok(Outcome::Complete);
    }
    progress.event(&format!("the sidecar's last lines:\n{}", stage.sidecar.log_tail(LOG_LINES)));
    Ok(Outcome::Incomplete(stage.keep()))
}
