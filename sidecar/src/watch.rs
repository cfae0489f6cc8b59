//! Finds log files and sees them grow.
//!
//! One thread and one inotify instance. A permanent watch nearly doubles the cost of an app's small writes, so a
//! file is looked at with a short timer while it grows, and armed with a one-shot watch when it has gone quiet.
//! Where inotify is blind (network file systems, some sandboxes), a slow poll does.

pub mod discover; // E  walks the directories of the patterns
pub mod inotify; // E  one-shot watches on files, lasting ones on directories
pub mod departure; // P  has the app left its files?
pub mod grow; // E  files that grow, go quiet, are left
pub mod enter; // E  what is found, entered
pub mod watcher; // E  the thread

use std::sync::Arc;

use crate::metrics::Metrics;
use crate::stream::feed::Feed;
use crate::stream::volume::Volume;

/// Enters a truncation into the ledger, and counts and tells what was lost by it.
pub fn report_truncated(volume: &Volume, feed: &Arc<Feed>, metrics: &Metrics) {
    let Some(lost) = volume.truncated(feed) else { return };
    metrics.truncated(&feed.log());
    tracing::warn!(
        stream = &*feed.key.stream,
        generation = feed.key.number,
        "truncated by somebody else; read from its start as a new generation"
    );
    for (destination, bytes) in lost {
        metrics.lost(&feed.log(), &destination, bytes);
        tracing::error!(
            stream = &*feed.key.stream,
            destination,
            bytes,
            "lines were truncated away before they were confirmed"
        );
    }
}
