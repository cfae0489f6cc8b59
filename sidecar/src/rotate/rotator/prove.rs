//! Looks whether anybody still writes an old file, and takes the next step.

use std::time::{Duration, Instant};

use super::{LOOK, QUIET, Rotator, Waiting};
use crate::rotate::act::put_back;
use crate::rotate::campaign::Campaign;
use crate::rotate::plan::{Step, Waiting as Situation, next};
use crate::rotate::probe::{Leases, Visibility, probe_lease, probe_processes};
use crate::rotate::reopen::{Answer, Observation, Patience, judge};
use crate::settings::LogSettings;
use crate::stream::feed::{GenerationKey, Source};
use crate::stream::ledger::SealedBy;

/// How soon leases are tried again on a volume where no scratch file could be made.
const UNTRIED: Duration = Duration::from_secs(1);

impl Rotator {
    /// Looks at the old files whose time has come. Returns when the next is.
    pub(super) fn prove(&mut self) -> Duration {
        let mut pause = LOOK;
        let mut kept = Vec::new();
        for mut waiting in std::mem::take(&mut self.waiting) {
            let left = waiting.look_at.saturating_duration_since(Instant::now());
            let again = if left.is_zero() { self.look(&mut waiting) } else { Some(left) };
            if let Some(again) = again {
                pause = pause.min(again);
                kept.push(waiting);
            }
        }
        kept.append(&mut self.waiting);
        self.waiting = kept;
        pause
    }

    /// Looks at one old file and takes the next step. None: there is nothing more to wait for.
    fn look(&mut self, waiting: &mut Waiting) -> Option<Duration> {
        let Source::Open(file) = waiting.feed.source() else { return None };
        let Some(leases) = self.leases(&waiting.volume) else {
            waiting.look_at = Instant::now() + UNTRIED;
            return Some(UNTRIED);
        };
        let observation = observe(waiting, &file, leases, self.campaigns.get(&waiting.campaign));
        let patience = Patience { timeout: timeout_of(&waiting.feed.log()), quiet: QUIET };
        let verdict = judge(&observation, patience);
        let campaign = self.campaigns.get_mut(&waiting.campaign)?;
        let situation = Situation {
            verdict,
            signals: campaign.signals(),
            sent: campaign.sent,
            elapsed: observation.elapsed,
            timeout: patience.timeout,
            gave_up: waiting.gave_up,
        };
        let pause = match next(&situation) {
            Step::Seal(by) => {
                self.seal(waiting, by);
                return None;
            }
            Step::Signal => {
                campaign.signal(&self.hub.volumes(), &self.pod, &self.metrics);
                Duration::from_millis(10)
            }
            Step::GiveUp => {
                waiting.gave_up = true;
                if self.give_up(waiting, verdict.is_held()) {
                    return None;
                }
                Duration::from_secs(1)
            }
            Step::Wait(pause) => pause,
        };
        waiting.look_at = Instant::now() + pause;
        Some(pause)
    }

    fn seal(&mut self, waiting: &Waiting, by: SealedBy) {
        let Source::Open(file) = waiting.feed.source() else { return };
        // Looked at after the probe: what nobody holds cannot grow.
        let Ok(size) = file.metadata().map(|metadata| metadata.len()) else { return };
        waiting.volume.grew(&waiting.feed, size);
        waiting.volume.sealed(&waiting.feed.key, size, by);
        self.hub.wake_forwarders();
        let log = &waiting.feed.log();
        let seconds = waiting.since.elapsed().as_secs_f64();
        self.metrics.rotated(log, "rename", if by == SealedBy::Proof { "ok" } else { "presumed" });
        self.metrics.reopened(seconds);
        let path = waiting.volume.absolute(&waiting.feed.key.stream);
        self.retries.remove(&(waiting.volume.base.clone(), waiting.feed.key.stream.clone()));
        self.hub.set_rotation_problem(path.clone(), None);
        tracing::info!(path = %path.display(), generation = waiting.feed.key.number, bytes = size, seconds, proof = ?by, "sealed");
    }

    /// Says that nobody reopened in time, and puts the names back where that is safe. Returns whether it did.
    fn give_up(&mut self, waiting: &Waiting, held: bool) -> bool {
        let feed = &waiting.feed;
        let path = waiting.volume.absolute(&feed.key.stream);
        let campaign = self.campaigns.get(&waiting.campaign);
        let sent = campaign.map_or(0, |campaign| campaign.sent);
        let refused = campaign.and_then(|campaign| campaign.refused.clone());
        let reason = match (&refused, held) {
            (Some(_), _) => "not_signalled",
            (None, true) => "held",
            (None, false) => "unknown",
        };
        self.metrics.reopen_failed(&feed.log(), reason);
        let put_back = held && self.try_put_back(waiting);
        let timeout = timeout_of(&feed.log());
        let mut problem = format!("nobody was seen to reopen within {} s", timeout.as_secs());
        match refused {
            Some(refused) => problem.push_str(&format!(", and nobody was signalled: {refused}")),
            None if sent > 0 => problem.push_str(&format!(" after {sent} signals")),
            None => {}
        }
        if held {
            problem.push_str("; somebody still writes the old file");
        }
        if put_back {
            problem.push_str("; the names were put back, tried again later");
            self.metrics.rotated(&feed.log(), "rename", "undone");
            self.put_off((waiting.volume.base.clone(), feed.key.stream.clone()));
        } else {
            problem.push_str("; both files are read on, the old one is neither compressed nor deleted");
        }
        tracing::error!(path = %path.display(), generation = feed.key.number, "{problem}");
        self.hub.set_rotation_problem(path, Some(problem));
        put_back
    }

    /// Only if nobody uses the new file: else some workers write to each, and the names stay.
    fn try_put_back(&mut self, waiting: &Waiting) -> bool {
        let stream = &waiting.feed.key.stream;
        let Some(record) = waiting.volume.stream(stream) else { return false };
        let Some(live) = record.live().filter(|live| live.number == waiting.feed.key.number + 1) else {
            return false;
        };
        let key = GenerationKey { stream: stream.clone(), number: live.number };
        let Some(new) = waiting.volume.feed(&key) else { return false };
        let Source::Open(new_file) = new.source() else { return false };
        let Some(leases) = self.leases(&waiting.volume) else { return false };
        let unused = new.size() == 0 && probe_lease(&new_file, leases) == Answer::Unheld;
        if !unused {
            return false;
        }
        match put_back(&waiting.volume, &waiting.feed.log(), &waiting.feed, &new) {
            Ok(done) => done,
            Err(error) => {
                tracing::warn!(stream = &**stream, %error, "the names could not be put back");
                false
            }
        }
    }
}

fn observe(
    waiting: &mut Waiting,
    file: &std::fs::File,
    leases: Leases,
    campaign: Option<&Campaign>,
) -> Observation {
    let lease = probe_lease(file, leases);
    // Other pods may mount the volume; only the lease sees them.
    let scan = matches!(lease, Answer::Unknown(_)).then(|| probe_processes(file, Visibility::Some));
    let bytes = file.metadata().map_or(waiting.bytes, |metadata| metadata.len());
    if bytes != waiting.bytes {
        waiting.bytes = bytes;
        waiting.quiet_since = Instant::now();
    }
    let successor = waiting.volume.stream(&waiting.feed.key.stream);
    let successor = successor.as_ref().and_then(|stream| stream.live()).map_or(0, |live| live.length);
    Observation {
        lease,
        scan,
        old_bytes_at_swap: waiting.bytes_at_exchange,
        old_bytes: bytes,
        old_quiet_for: waiting.quiet_since.elapsed(),
        new_bytes: successor,
        elapsed: campaign.map_or(waiting.since.elapsed(), |campaign| campaign.elapsed(waiting.since)),
    }
}

fn timeout_of(log: &LogSettings) -> Duration {
    log.log.rotate.as_ref().map_or(Duration::from_secs(30), |rotate| rotate.reopen.timeout)
}
