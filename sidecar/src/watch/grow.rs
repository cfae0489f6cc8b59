//! Sees files grow, go quiet, and be left.

use std::fs::File;
use std::time::Instant;

use super::inotify::Inotify;
use super::report_truncated;
use super::watcher::{Watched, Watcher};
use crate::hub::FeedKey;
use crate::settings::LogSettings;
use crate::sys::ask_read_lease;

/// So many looks without growth, and a file is quiet.
const QUIET_TICKS: u32 = 4;

impl Watcher {
    /// A file was written, or looks as if.
    pub(super) fn wake(&mut self, key: FeedKey) {
        if let Some(watched) = self.watched.get_mut(&key) {
            watched.idle_ticks = 0;
            self.active.insert(key);
        }
    }

    /// Quiet files are looked at too, for inotify may have missed something.
    pub(super) fn poll_quiet(&mut self) {
        let changed = |watched: &Watched| {
            watched.file.metadata().is_ok_and(|metadata| metadata.len() != watched.feed.size())
        };
        let keys: Vec<FeedKey> =
            self.watched.iter().filter(|(_, watched)| changed(watched)).map(|(key, _)| key.clone()).collect();
        for key in keys {
            self.wake(key);
        }
    }

    /// Looks at the files that grow.
    pub(super) fn tick(&mut self) {
        let (mut grown, mut truncated, mut quiet) = (Vec::new(), Vec::new(), Vec::new());
        for key in &self.active {
            let Some(watched) = self.watched.get_mut(key) else { continue };
            // In this order: the rotator may note a newer size in between.
            let before = watched.feed.size();
            let Ok(size) = watched.file.metadata().map(|metadata| metadata.len()) else { continue };
            if size < before {
                truncated.push((watched.volume.clone(), watched.feed.clone()));
            } else if watched.volume.grew(&watched.feed, size) {
                grown.push(key.clone());
                self.departures.written(key);
                watched.idle_ticks = 0;
                if reaches_limit(&watched.feed.log(), before, size) {
                    self.hub.rotator.wake();
                }
            } else if watched.idle_ticks < QUIET_TICKS {
                watched.idle_ticks += 1;
            } else {
                match arm(self.inotify.as_mut(), &watched.file, key, size) {
                    Armed::GrewMeanwhile => watched.idle_ticks = 0,
                    Armed::Yes => quiet.push(key.clone()),
                    Armed::Cannot => {
                        self.blind = true;
                        quiet.push(key.clone());
                    }
                }
            }
        }
        let now = Instant::now();
        for key in quiet {
            self.active.remove(&key);
            if let Some(watched) = self.watched.get(&key) {
                self.departures.quiet(&key, ask_read_lease(&watched.file), now);
            }
        }
        if self.departures.take(now) {
            self.hub.hurry_forwarders();
        }
        for (volume, feed) in truncated {
            report_truncated(&volume, &feed, &self.metrics);
            self.hub.wake_forwarders();
        }
        if !grown.is_empty() {
            self.hub.grew(&grown);
        }
    }
}

enum Armed {
    Yes,
    /// It is not quiet after all: the event for this growth would never come.
    GrewMeanwhile,
    /// No inotify, or no watch to be had.
    Cannot,
}

fn arm(inotify: Option<&mut Inotify<FeedKey>>, file: &File, key: &FeedKey, size: u64) -> Armed {
    match inotify.map(|inotify| inotify.arm(file, key.clone())) {
        Some(Ok(())) => {
            let same = file.metadata().is_ok_and(|metadata| metadata.len() == size);
            if same { Armed::Yes } else { Armed::GrewMeanwhile }
        }
        _ => Armed::Cannot,
    }
}

/// Whether a file has grown to the size at which it is rotated.
fn reaches_limit(log: &LogSettings, before: u64, now: u64) -> bool {
    let limit = log.log.rotate.as_ref().and_then(|rotate| rotate.when.size);
    limit.is_some_and(|limit| before < limit.bytes() && now >= limit.bytes())
}
