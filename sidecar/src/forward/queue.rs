//! What one destination has to send, and what of it is on its way: the files are the queue.
//!
//! Generations take turns, a chunk each, so that a busy log does not hold up a quiet one; of one stream the
//! sealed generations come first and in order.

mod outcome;

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::heads::Heads;
use super::in_flight::InFlight;
use super::track::{Buffers, Filled, Next, Track, Wire};
use crate::hub::{FeedKey, Hub, Inbox};
use crate::metrics::Metrics;
use crate::read::source::ReadError;
use crate::rotate::naming::Form;
use crate::settings::LogSettings;
use crate::stream::feed::{Feed, GenerationKey};
use crate::stream::volume::Volume;

/// How soon an archive whose name is changing is looked for again.
const MOVED_PAUSE: Duration = Duration::from_millis(100);
/// How soon a file that could not be read is tried again.
const FAILED_PAUSE: Duration = Duration::from_secs(1);

/// The queue of one destination.
pub struct Queue {
    destination: String,
    hub: Arc<Hub>,
    metrics: Arc<Metrics>,
    heads: Heads,
    wire: Wire,
    margin: Duration,
    version: u64,
    tracks: BTreeMap<FeedKey, Track>,
    flight: InFlight<FeedKey>,
    buffers: Buffers,
    /// What has something to send, in turn.
    ready: VecDeque<FeedKey>,
    /// Whether `ready` must be made anew.
    stale: bool,
    /// When to try again what could not be read.
    retry_at: Option<Instant>,
    inbox: Arc<Inbox>,
    proof_awaited: bool,
    last_sent: Option<Instant>,
    /// Lines and bytes sent since the last confirmation and never confirmed before, by log.
    unproven: BTreeMap<String, (Arc<LogSettings>, u64, u64)>,
}

impl Queue {
    /// The queue of `destination`.
    pub fn new(
        destination: String,
        (hub, inbox): (Arc<Hub>, Arc<Inbox>),
        metrics: Arc<Metrics>,
        heads: Heads,
        wire: Wire,
        margin: Duration,
    ) -> Queue {
        Queue {
            destination,
            hub,
            metrics,
            heads,
            wire,
            margin,
            version: 0,
            tracks: BTreeMap::new(),
            flight: InFlight::default(),
            buffers: Buffers::default(),
            ready: VecDeque::new(),
            stale: true,
            retry_at: None,
            inbox,
            proof_awaited: false,
            last_sent: None,
            unproven: BTreeMap::new(),
        }
    }

    /// Takes notice of generations that came and went, and of files that grew.
    pub fn refresh(&mut self, now: Instant) {
        let version = self.hub.version();
        if self.retry_at.is_some_and(|at| now >= at) {
            self.retry_at = None;
            self.stale = true;
        }
        if version != self.version || self.stale {
            if version != self.version {
                self.version = version;
                self.follow_generations(now);
            }
            // What grew is found by looking at everything.
            self.inbox.take();
            self.stale = false;
            self.find_ready();
            return;
        }
        for key in self.inbox.take() {
            self.line_up(&key);
        }
    }

    /// Lines up one that grew, unless it stands in line already or an earlier generation is to come first.
    fn line_up(&mut self, key: &FeedKey) {
        let first = (key.0, GenerationKey { stream: key.1.stream.clone(), number: 0 });
        let behind_sealed = self
            .tracks
            .range(first..key.clone())
            .any(|(_, earlier)| earlier.feed.is_sealed() && earlier.has_more());
        let Some(track) = self.tracks.get_mut(key) else { return };
        if !behind_sealed && !track.is_in_line && track.has_more() {
            track.is_in_line = true;
            self.ready.push_back(key.clone());
        }
    }

    fn follow_generations(&mut self, now: Instant) {
        let mut current: BTreeMap<FeedKey, (Arc<Volume>, Arc<Feed>, u64)> = BTreeMap::new();
        for (index, volume) in self.hub.volumes().into_iter().enumerate() {
            for item in volume.subscriptions(&self.destination) {
                let key = (index, item.feed.key.clone());
                current.insert(key, (volume.clone(), item.feed, item.cursor.confirmed));
            }
        }
        let (flight, margin, destination) = (&self.flight, self.margin, &*self.destination);
        // What was confirmed just now may have to be sent again, if the receiver dies of what it has read; and what
        // has to be sent again is kept until it was.
        let keep = |key: &FeedKey, track: &Track| match current.get(key) {
            Some((_, feed, _)) => Arc::ptr_eq(feed, &track.feed),
            None if !track.feed.goes_to(destination) => false,
            None => !track.is_finished() || flight.is_recent(key, now, margin),
        };
        let gone: Vec<FeedKey> =
            self.tracks.iter().filter(|(key, track)| !keep(key, track)).map(|(key, _)| key.clone()).collect();
        for key in gone {
            self.tracks.remove(&key);
            self.flight.end(&key);
        }
        for (key, (volume, feed, confirmed)) in current {
            self.tracks.entry(key.clone()).or_insert_with(|| {
                self.flight.begin(key, confirmed);
                let log = feed.log();
                let header = self.heads.head(&feed, &log);
                Track::new(feed, volume, (log, header), confirmed)
            });
        }
        for track in self.tracks.values_mut() {
            let log = track.feed.log();
            if !Arc::ptr_eq(&log, &track.log) {
                let header = self.heads.head(&track.feed, &log);
                track.set_log(log, header);
            }
        }
    }

    /// Lines up what has something to send. Of one stream, a sealed generation that is not finished keeps the
    /// later ones waiting.
    fn find_ready(&mut self) {
        self.ready.clear();
        self.proof_awaited = false;
        let mut waiting: Option<(usize, &str)> = None;
        for (key, track) in &mut self.tracks {
            let stream = (key.0, &*key.1.stream);
            let sealed = track.feed.is_sealed();
            track.is_in_line = track.has_more() && waiting != Some(stream);
            if track.is_in_line {
                self.ready.push_back(key.clone());
                if sealed {
                    waiting = Some(stream);
                }
            }
            self.proof_awaited |=
                sealed && track.is_finished() && self.flight.sent(key) > self.flight.confirmed(key);
        }
    }

    /// Whether everything that can be read was sent.
    pub fn is_caught_up(&self) -> bool {
        self.ready.is_empty() && !self.stale
    }

    /// Whether proof is awaited: a sealed generation was sent to its end and not confirmed.
    pub fn is_proof_awaited(&self) -> bool {
        self.proof_awaited
    }

    /// Frames the next lines into `out`, of whoever's turn it is. Returns false if there is nothing to send.
    pub fn fill(&mut self, out: &mut Vec<u8>, now: Instant) -> bool {
        while let Some(key) = self.ready.pop_front() {
            let Some(track) = self.tracks.get_mut(&key) else { continue };
            track.is_in_line = false;
            match track.fill(self.wire, &mut self.buffers, out) {
                Next::Filled(filled) => {
                    if track.has_more() {
                        track.is_in_line = true;
                        self.ready.push_back(key.clone());
                    } else {
                        // A later generation may have waited for this one, or somebody for its proof.
                        self.stale |= track.feed.is_sealed();
                    }
                    self.sent(&key, &filled, now);
                    return true;
                }
                Next::Nothing => {}
                Next::Truncated => {
                    crate::watch::report_truncated(&track.volume, &track.feed, &self.metrics);
                }
                // It is being compressed: its feed will know the new place in a moment.
                Next::Failed(ReadError::Moved(path)) if is_there(&path) => {
                    self.retry_at = Some(now + MOVED_PAUSE)
                }
                Next::Failed(ReadError::Moved(_)) | Next::Short => self.lose(&key, now),
                Next::Failed(ReadError::Lost) => {
                    track.give_up();
                    // Later generations may have waited for it.
                    self.stale = true;
                }
                Next::Failed(error) => {
                    self.metrics.read_failed(&track.log);
                    self.retry_at = Some(now + FAILED_PAUSE);
                    tracing::error!(stream = &*key.1.stream, generation = key.1.number, %error, "cannot read; trying again");
                }
            }
        }
        self.buffers.shrink();
        false
    }

    /// A new connection begins: files with names may have changed since the last.
    pub fn renew_heads(&mut self) {
        if self.heads.renew() {
            for track in self.tracks.values_mut() {
                let log = track.feed.log();
                let header = self.heads.head(&track.feed, &log);
                track.set_log(log, header);
            }
        }
    }

    /// When to try again what could not be read.
    pub fn retry_at(&self) -> Option<Instant> {
        self.retry_at
    }

    fn sent(&mut self, key: &FeedKey, filled: &Filled, now: Instant) {
        self.flight.send(key, filled.to, now);
        self.last_sent = Some(now);
        let Some(track) = self.tracks.get(key) else { return };
        let log = &track.log;
        self.metrics.sent(log, &self.destination, filled);
        let entry = self.unproven.entry(log.full_name()).or_insert_with(|| (log.clone(), 0, 0));
        entry.1 += filled.unproved_lines;
        entry.2 += filled.unproved_bytes;
    }

    /// Bytes sent and not confirmed.
    pub fn unconfirmed_bytes(&self) -> u64 {
        self.flight.bytes()
    }

    /// When the oldest of them was sent.
    pub fn oldest(&self) -> Option<Instant> {
        self.flight.oldest()
    }

    /// When the last byte was sent.
    pub fn last_sent(&self) -> Option<Instant> {
        self.last_sent
    }
}

/// Whether an archive is still there, under its name or compressed.
fn is_there(path: &Path) -> bool {
    let mut compressed = path.as_os_str().to_owned();
    compressed.push(Form::Gzip.extension());
    path.exists() || Path::new(&compressed).exists()
}
