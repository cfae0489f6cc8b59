//! What becomes of what was sent: confirmed, to be sent again, or gone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use super::Queue;
use crate::hub::FeedKey;
use crate::stream::deliver::Confirmed;
use crate::stream::feed::Source;
use crate::stream::open::fingerprint_before;
use crate::stream::volume::Volume;

impl Queue {
    /// Everything sent so far is confirmed: cursors move, and are on disk when this returns.
    pub fn confirm(&mut self, now: Instant) {
        let moved = self.flight.confirm(now, self.margin);
        let mut by_volume: BTreeMap<usize, (Arc<Volume>, Vec<Confirmed>)> = BTreeMap::new();
        for ((index, key), position) in moved {
            let Some(track) = self.tracks.get_mut(&(index, key.clone())) else { continue };
            track.prove(position);
            let fingerprint = match track.feed.source() {
                Source::Open(file) => fingerprint_before(&file, position).ok().flatten().unwrap_or_default(),
                // A sealed file is recognised by its name and length.
                _ => Default::default(),
            };
            let volume = track.volume.clone();
            by_volume.entry(index).or_insert_with(|| (volume, Vec::new())).1.push(Confirmed {
                key,
                position,
                fingerprint,
            });
        }
        for (volume, confirmed) in by_volume.values() {
            volume.confirm(&self.destination, confirmed);
        }
        for (log, lines, bytes) in std::mem::take(&mut self.unproven).into_values() {
            self.metrics.confirmed(&log, &self.destination, lines, bytes);
        }
        // Retention and compression may have waited for this.
        self.hub.rotator.wake();
    }

    /// The connection broke: goes back to what is confirmed, less the margin. Returns the bytes to send again.
    pub fn rewind(&mut self, now: Instant) -> u64 {
        self.unproven.clear();
        let mut bytes = 0;
        for (key, from, to) in self.flight.rewind(now, self.margin) {
            bytes += from - to;
            if let Some(track) = self.tracks.get_mut(&key) {
                track.rewind(to);
            }
        }
        self.stale = true;
        bytes
    }

    /// The rest of a sealed file is gone: somebody else deleted or truncated it. Counted, told, and passed over.
    pub(super) fn lose(&mut self, key: &FeedKey, now: Instant) {
        let Some(track) = self.tracks.get_mut(key) else { return };
        let bytes = track.feed.size().saturating_sub(self.flight.sent(key));
        self.metrics.lost(&track.log, &self.destination, bytes);
        tracing::error!(
            stream = &*key.1.stream,
            generation = key.1.number,
            destination = self.destination,
            bytes,
            "an archive was deleted or truncated by somebody else before it was confirmed"
        );
        track.give_up();
        self.flight.send(key, track.feed.size(), now);
        self.stale = true;
    }
}
