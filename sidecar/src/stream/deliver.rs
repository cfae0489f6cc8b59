//! A volume as forwarders see it: what there is to send, when its bytes were first seen, and what was confirmed.

use std::sync::Arc;

use super::feed::{Feed, GenerationKey};
use super::identity::Fingerprint;
use super::ledger::Cursor;
use super::volume::{Inner, Volume, now_micros};
use crate::settings::LogSettings;

/// Marks younger than this stay in any case (microseconds).
const RECENT_MICROS: i64 = 60_000_000;

/// Marks older than this are needed by no replay of confirmed lines (microseconds since the epoch).
fn not_needed_before(log: &LogSettings) -> i64 {
    let margin = i64::try_from(log.replay_margin.as_micros()).unwrap_or(i64::MAX / 2);
    now_micros() - margin - RECENT_MICROS
}

/// One generation for a forwarder: the feed, and how far this destination has confirmed it.
#[derive(Clone, Debug)]
pub struct Subscription {
    /// The generation.
    pub feed: Arc<Feed>,
    /// Where this destination stands.
    pub cursor: Cursor,
}

/// How far a destination has come on one generation.
#[derive(Clone, Debug)]
pub struct Confirmed {
    /// Which generation.
    pub key: GenerationKey,
    /// All bytes before this position are confirmed.
    pub position: u64,
    /// Of the bytes before it.
    pub fingerprint: Fingerprint,
}

impl Volume {
    /// What `destination` has to forward, in order of stream and generation: what is open, and what is sealed and
    /// not confirmed.
    pub fn subscriptions(&self, destination: &str) -> Vec<Subscription> {
        let inner = self.inner();
        let wanted = inner.feeds.values().filter(|feed| feed.goes_to(destination));
        wanted
            .filter_map(|feed| {
                let generation = inner.generation(&feed.key)?;
                let cursor = generation.cursors.get(destination).copied().unwrap_or_default();
                let pending = !feed.is_sealed() || cursor.confirmed < generation.length;
                pending.then(|| Subscription { feed: feed.clone(), cursor })
            })
            .collect()
    }

    /// The times of the bytes from `from` to `to`: pairs of time and the position up to which it holds. Whatever
    /// is returned has been stored, so it may be sent.
    pub fn times(&self, key: &GenerationKey, from: u64, to: u64) -> Vec<(i64, u64)> {
        let mut inner = self.inner();
        let mut times = Vec::new();
        let Some(generation) = inner.generation_mut(key) else { return vec![(now_micros(), to)] };
        let first = generation.marks.is_empty() && generation.marks.observe(from, now_micros());
        generation.marks.give(to);
        inner.marks_added |= first;
        if inner.marks_added {
            inner.write_marks();
        }
        let mut position = from;
        while let Some((time, next)) = inner.generation(key).and_then(|found| found.marks.at(position)) {
            times.push((time, next.min(to)));
            if next >= to {
                break;
            }
            position = next;
        }
        times
    }

    /// When the byte at `position` was first seen (microseconds since the epoch).
    pub fn first_seen(&self, stream: &str, number: u64, position: u64) -> Option<i64> {
        let inner = self.inner();
        Some(inner.ledger.streams.get(stream)?.generation(number)?.marks.at(position)?.0)
    }

    /// Stores what a destination has confirmed, synced.
    pub fn confirm(&self, destination: &str, confirmed: &[Confirmed]) {
        let mut inner = self.inner();
        let mut finished = false;
        for item in confirmed {
            inner.confirm(destination, item);
            finished |= inner.generation(&item.key).is_some_and(|generation| generation.stage.is_sealed());
        }
        inner.write();
        drop(inner);
        // An open generation is forwarded on; of a sealed one there is nothing left to do.
        if finished {
            self.bump();
        }
        self.sync();
    }

    /// Forgets marks that no replay needs any more.
    pub fn forget_marks(&self) {
        let mut inner = self.inner();
        let Inner { ledger, logs, .. } = &mut *inner;
        for (name, stream) in &mut ledger.streams {
            let Some(log) = logs.get(&**name) else { continue };
            let since = not_needed_before(log);
            for generation in &mut stream.generations {
                if generation.is_confirmed_by(log.destinations.iter().map(String::as_str)) {
                    generation.marks.forget_all_before(since);
                }
            }
        }
    }
}

impl Inner {
    fn confirm(&mut self, destination: &str, item: &Confirmed) {
        let log = self.logs.get(&item.key.stream).cloned();
        let Some(generation) = self.generation_mut(&item.key) else { return };
        let cursor = generation.cursors.entry(destination.to_owned()).or_default();
        if item.position < cursor.confirmed {
            return;
        }
        *cursor = Cursor { confirmed: item.position, fingerprint: item.fingerprint, ..*cursor };
        // Nobody may be waiting for it any more: a destination that ends confirms its last lines.
        let Some(log) = log else { return };
        let floor = log
            .destinations
            .iter()
            .map(|name| generation.cursors.get(name).map_or(0, |cursor| cursor.confirmed))
            .min()
            .unwrap_or(0);
        generation.marks.forget_before(floor, not_needed_before(&log));
    }
}
