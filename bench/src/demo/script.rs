//! What happens when: in, the stage; out, what is known at the end that the files do not tell.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use capstan_peers::load::Totals;
use capstan_peers::ports::wait_until;

use super::progress::Progress;
use super::stage::Stage;

/// How long requests are sent.
const LOAD: Duration = Duration::from_secs(20);
const TICK: Duration = Duration::from_millis(100);
/// For a last rotation to be seen through.
const REOPEN_LIMIT: Duration = Duration::from_secs(15);
/// For the sidecar to send what is left and close for proof.
const DRAIN_LIMIT: Duration = Duration::from_secs(60);

#[derive(Clone, Copy)]
enum Act {
    KillReceiver,
    RestartReceiver,
    KillSidecar,
    RestartSidecar,
}

/// When each act is due, in milliseconds after the start, in order.
const SCRIPT: [(u64, Act); 4] = [
    (6_000, Act::KillReceiver),
    (8_000, Act::RestartReceiver),
    (12_000, Act::KillSidecar),
    (13_000, Act::RestartSidecar),
];

/// What is known at the end that the files do not tell.
pub(super) struct Ending {
    pub(super) totals: Totals,
    /// Whether no process of gunicorn had an old file open when the load was over.
    pub(super) all_reopened: bool,
    /// Reopens that the sidecar says it has seen, over both lives; `None` if it says nothing.
    pub(super) reopens_seen: Option<u64>,
}

/// Plays the script; `None` if it was interrupted.
pub(super) fn play(
    stage: &mut Stage,
    progress: &mut Progress,
    interrupted: &AtomicBool,
) -> Result<Option<Ending>> {
    let start = Instant::now();
    let mut acts = SCRIPT.iter().peekable();
    let mut reopens = Reopens::default();
    while start.elapsed() < LOAD {
        if interrupted.load(Relaxed) {
            return Ok(None);
        }
        if let Some((_, act)) = acts.next_if(|(due, _)| start.elapsed() >= Duration::from_millis(*due)) {
            perform(*act, stage, progress, &mut reopens)?;
        }
        progress.update(start.elapsed(), stage);
        sleep(TICK);
    }
    progress.event("the load is over: gunicorn stops, then the sidecar drains");
    finish(stage, reopens).map(Some)
}

fn perform(act: Act, stage: &mut Stage, progress: &mut Progress, reopens: &mut Reopens) -> Result<()> {
    let what = match act {
        Act::KillReceiver => {
            stage.receiver.kill()?;
            "the receiver is killed (SIGKILL)"
        }
        Act::RestartReceiver => {
            stage.receiver.restart()?;
            "the receiver is back"
        }
        Act::KillSidecar => {
            let ended = stage.sidecar.ended()?;
            ensure!(ended.is_none(), "the sidecar ended by itself: {ended:?}");
            reopens.end_life(stage);
            stage.sidecar.kill()?;
            "the sidecar is killed (SIGKILL)"
        }
        Act::RestartSidecar => {
            stage.sidecar.restart()?;
            "the sidecar is back"
        }
    };
    progress.event(what);
    Ok(())
}

/// The app first, then the sidecar, as in a pod.
fn finish(stage: &mut Stage, mut reopens: Reopens) -> Result<Ending> {
    let load = stage.load.take().context("the load was stopped before")?;
    let totals = load.stop();
    let reopened = || stage.all_reopened().unwrap_or(false);
    let all_reopened = wait_until(REOPEN_LIMIT, "gunicorn to reopen", reopened).is_ok();
    reopens.end_life(stage);
    stage.gunicorn.terminate()?;
    let status = stage.sidecar.terminate(DRAIN_LIMIT)?;
    ensure!(status.success(), "the sidecar ended with {status}");
    stage.receiver.kill()?;
    Ok(Ending { totals, all_reopened, reopens_seen: reopens.seen })
}

/// Counters start anew with each life of the sidecar.
#[derive(Default)]
struct Reopens {
    seen: Option<u64>,
}

impl Reopens {
    fn end_life(&mut self, stage: &Stage) {
        let now = stage.sidecar.metric("capstan_sidecar_reopen_seconds_count").map(|count| count as u64);
        self.seen = match (self.seen, now) {
            (None, None) => None,
            (before, now) => Some(before.unwrap_or(0) + now.unwrap_or(0)),
        };
    }
}
