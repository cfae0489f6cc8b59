//! Rotations that somebody asked for, by `rotate` on the command line.

use std::path::Path;
use std::sync::Arc;

use super::Rotator;
use crate::control::{RotateOutcome, RotateRequest, StreamOutcome};
use crate::hub::Asked;
use crate::rotate::due::Trigger;
use crate::stream::ledger::{SealedBy, Stage};
use crate::stream::volume::Volume;

/// Somebody who asked for rotations and waits for what becomes of them.
pub(super) struct Asker {
    asked: Asked,
    outcome: RotateOutcome,
    /// Campaigns that are not over.
    pub open: Vec<u64>,
}

impl Rotator {
    /// Begins what somebody asked for.
    pub(super) fn serve(&mut self, asked: Asked) {
        let mut asker = Asker { asked, outcome: RotateOutcome::default(), open: Vec::new() };
        let RotateRequest { log, force, dry_run } = asker.asked.request.clone();
        let mut ready = Vec::new();
        for (candidate, stream) in self.candidates() {
            let name = &candidate.log.log.name;
            if log
                .as_ref()
                .is_some_and(|wanted| *wanted != name.to_string() && *wanted != candidate.log.full_name())
            {
                continue;
            }
            let path = candidate.volume.absolute(&candidate.feed.key.stream).display().to_string();
            let trigger = self.due(&candidate, &stream).trigger.or(force.then_some(Trigger::Request));
            let outcome = match trigger {
                None => format!("not due ({} bytes)", candidate.feed.size()),
                Some(_) if dry_run => format!("would be rotated ({} bytes)", candidate.feed.size()),
                Some(_) => {
                    ready.push(candidate);
                    "rotated".to_owned()
                }
            };
            asker.outcome.streams.push(StreamOutcome { path, outcome, failed: false });
        }
        for waiting in self.waiting.iter().filter(|waiting| !waiting.gave_up) {
            let feed = &waiting.feed;
            let feed_log = feed.log();
            let name = &feed_log.log.name;
            let wanted =
                log.as_ref().is_none_or(|log| *log == name.to_string() || *log == feed_log.full_name());
            let path = waiting.volume.absolute(&feed.key.stream).display().to_string();
            if wanted && !asker.outcome.streams.iter().any(|known| known.path == path) {
                let outcome = "is being rotated already".to_owned();
                asker.outcome.streams.push(StreamOutcome { path, outcome, failed: false });
            }
        }
        asker.open = self.rotate_together(ready);
        self.askers.push(asker);
    }

    /// Answers those whose rotations have come to an end, or were given up.
    pub(super) fn answer_askers(&mut self) {
        let waiting = &self.waiting;
        let problems = self.hub.rotation_problems();
        let volumes = self.hub.volumes();
        self.askers.retain_mut(|asker| {
            let pending =
                |id: &u64| waiting.iter().any(|waiting| waiting.campaign == *id && !waiting.gave_up);
            if asker.open.iter().any(pending) {
                return true;
            }
            for stream in asker.outcome.streams.iter_mut().filter(|stream| stream.outcome == "rotated") {
                let prefix = format!("{}: ", stream.path);
                match problems.iter().find_map(|problem| problem.strip_prefix(&prefix)) {
                    Some(problem) => {
                        stream.outcome = problem.to_owned();
                        stream.failed = true;
                    }
                    None if is_presumed(&volumes, &stream.path) => {
                        stream.outcome = PRESUMED.to_owned();
                    }
                    None => stream.outcome = "rotated, and seen to be reopened".to_owned(),
                }
            }
            asker.asked.answer(std::mem::take(&mut asker.outcome));
            false
        });
    }
}

/// What is said where writers cannot be seen.
const PRESUMED: &str = "rotated; the old file has been quiet since, and is presumed to be left: who writes it cannot be seen here";

/// Whether it was not seen, but is presumed, that nobody writes the archive that was made last of the log at `path`.
fn is_presumed(volumes: &[Arc<Volume>], path: &str) -> bool {
    let newest = volumes.iter().find_map(|volume| {
        let relative = Path::new(path).strip_prefix(&volume.base).ok()?.to_str()?;
        let stream = volume.stream(relative)?;
        stream.generations.iter().rev().find(|known| known.ours).map(|known| known.stage)
    });
    matches!(newest, Some(Stage::Sealed(SealedBy::Quiet) | Stage::Compressed(SealedBy::Quiet)))
}
