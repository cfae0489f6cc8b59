//! One directory of logs: its state, its streams, and the only place where either changes.
//!
//! Everybody works on a volume through its methods: the watcher tells what it saw ([`place`](super::place)),
//! the rotator what it did ([`turn`](super::turn)), the forwarders what was confirmed. One mutex guards the
//! ledger; it is never held while a disk is synced.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

use super::feed::{Feed, GenerationKey};
use super::identity::Fingerprint;
use super::ledger::{Cursor, Generation, Ledger, Stream};
use super::store::{Lock, Store, StoreError};
use crate::settings::LogSettings;

/// The state directory's name.
pub const STATE_DIRECTORY: &str = capstan_config::names::STATE_DIRECTORY;

/// Marks younger than this stay, for the replay margin (microseconds).
const RECENT_MICROS: i64 = 60_000_000;

/// Why a volume cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    /// Another sidecar has the lock: it rotates and forwards, we don't.
    #[error(
        "{0}: another sidecar holds the lock (SharedVolume); it is neither rotated nor forwarded from here"
    )]
    Shared(PathBuf),
    /// The state cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The directory cannot be opened.
    #[error("{path}: {source}")]
    Io {
        /// The directory.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

/// One directory of logs.
#[derive(Debug)]
pub struct Volume {
    /// The directory; paths in the ledger are relative to it.
    pub base: PathBuf,
    /// The same, open.
    pub directory: File,
    inner: Mutex<Inner>,
    version: AtomicU64,
}

/// What the mutex guards.
#[derive(Debug)]
pub struct Inner {
    pub(super) ledger: Ledger,
    pub(super) feeds: BTreeMap<GenerationKey, Arc<Feed>>,
    pub(super) logs: HashMap<Arc<str>, Arc<LogSettings>>,
    /// Whether files found now are those of the very first start (`readFrom` speaks of them).
    pub(super) first_start: bool,
    /// Marks that were added since the ledger was last written.
    marks_added: bool,
    store: Option<Store>,
    _lock: Option<Lock>,
    /// Writes of the state that failed.
    failures: u64,
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

/// Microseconds since the epoch.
pub fn now_micros() -> i64 {
    Timestamp::now().as_microsecond()
}

impl Volume {
    /// Opens the state of `base`, taking its lock. To be called only when a log file is there: a state directory
    /// in an empty directory would keep programs such as initdb(1) from starting.
    pub fn open(base: &Path) -> Result<Volume, VolumeError> {
        let at = |source| VolumeError::Io { path: base.to_owned(), source };
        let directory = File::open(base).map_err(at)?;
        let state = base.join(STATE_DIRECTORY);
        let (lock, store, ledger, first_start) = match open_state(&state) {
            Ok((lock, opened)) => {
                if opened.torn {
                    tracing::error!(path = %state.display(), "state was torn: positions are lost, files are read from their start; a copy is kept beside it");
                }
                (Some(lock), Some(opened.store), opened.ledger, opened.first_start)
            }
            Err(StateError::Shared) => return Err(VolumeError::Shared(base.to_owned())),
            Err(StateError::NotWritable(error)) => {
                tracing::warn!(path = %state.display(), %error, "no place for state: positions will not survive a restart, and nothing is rotated here");
                (None, None, Ledger::default(), true)
            }
            Err(StateError::Store(error)) => return Err(error.into()),
        };
        Ok(Volume {
            base: base.to_owned(),
            directory,
            inner: Mutex::new(Inner {
                ledger,
                feeds: BTreeMap::new(),
                logs: HashMap::new(),
                first_start,
                marks_added: false,
                store,
                _lock: lock,
                failures: 0,
            }),
            version: AtomicU64::new(1),
        })
    }

    /// Whether positions survive a restart.
    pub fn is_persistent(&self) -> bool {
        self.inner().store.is_some()
    }

    /// Tries again to find a place for the state: a full disk may have been relieved. What is known in memory is
    /// newer than what may stand there, and replaces it. Returns whether a place was found now.
    pub fn retry_state(&self) -> bool {
        if self.is_persistent() {
            return false;
        }
        let Ok((lock, opened)) = open_state(&self.base.join(STATE_DIRECTORY)) else { return false };
        let mut inner = self.inner();
        inner.store = Some(opened.store);
        inner._lock = Some(lock);
        inner.write();
        tracing::info!(path = %self.base.display(), "state can be kept again");
        true
    }

    /// Where a path of the ledger is.
    pub fn absolute(&self, relative: &str) -> PathBuf {
        self.base.join(relative)
    }

    pub(super) fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Grows whenever a feed is added, removed or sealed: forwarders look again.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Makes everybody look again.
    pub fn look_again(&self) {
        self.bump();
    }

    pub(super) fn bump(&self) {
        self.version.fetch_add(1, Ordering::AcqRel);
    }

    /// A copy of one stream's record.
    pub fn stream(&self, stream: &str) -> Option<Stream> {
        self.inner().ledger.streams.get(stream).cloned()
    }

    /// All streams that belong to a configured log, with copies of their records. Marks are left out.
    pub fn streams(&self) -> Vec<(Arc<str>, Arc<LogSettings>, Stream)> {
        let inner = self.inner();
        let mut streams: Vec<_> = inner
            .logs
            .iter()
            .filter_map(|(name, log)| {
                let stream = inner.ledger.streams.get(&**name)?;
                Some((name.clone(), log.clone(), without_marks(stream)))
            })
            .collect();
        streams.sort_by(|a, b| a.0.cmp(&b.0));
        streams
    }

    /// The feed of one generation.
    pub fn feed(&self, key: &GenerationKey) -> Option<Arc<Feed>> {
        self.inner().feeds.get(key).cloned()
    }

    /// All feeds that may still grow.
    pub fn open_feeds(&self) -> Vec<Arc<Feed>> {
        self.inner().feeds.values().filter(|feed| !feed.is_sealed()).cloned().collect()
    }

    /// How often the state could not be written.
    pub fn state_failures(&self) -> u64 {
        self.inner().failures
    }

    /// What `destination` has to forward, in order of stream and generation: what is open, and what is sealed and
    /// not confirmed.
    pub fn subscriptions(&self, destination: &str) -> Vec<Subscription> {
        let inner = self.inner();
        let wanted =
            inner.feeds.values().filter(|feed| feed.log.destinations.iter().any(|d| d == destination));
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
        if generation.marks.is_empty() {
            generation.marks.observe(from, now_micros());
            inner.marks_added = true;
        }
        if inner.marks_added {
            inner.write();
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

    /// Notes that a generation has grown to `size`. Returns whether that is news.
    pub fn grew(&self, feed: &Feed, size: u64) -> bool {
        let before = feed.size();
        if size <= before {
            return false;
        }
        let mut inner = self.inner();
        let mut added = false;
        if let Some(generation) = inner.generation_mut(&feed.key) {
            generation.length = size;
            added = generation.marks.observe(before, now_micros());
        }
        inner.marks_added |= added;
        drop(inner);
        feed.grow(size)
    }

    /// Stores what a destination has confirmed, synced.
    pub fn confirm(&self, destination: &str, confirmed: &[Confirmed]) {
        let mut inner = self.inner();
        for item in confirmed {
            inner.confirm(destination, item);
        }
        inner.write();
        drop(inner);
        self.bump();
        self.sync();
    }

    /// Writes the state if marks were added since, and syncs what is not synced yet.
    pub fn checkpoint(&self) {
        let mut inner = self.inner();
        if inner.marks_added {
            inner.write();
        }
        drop(inner);
        self.sync();
    }

    /// Syncs what was written, without holding the lock.
    pub(super) fn sync(&self) {
        let Some((file, sequence)) = self.inner().store.as_ref().and_then(Store::sync_handle) else { return };
        match file.sync_data() {
            Ok(()) => {
                if let Some(store) = self.inner().store.as_mut() {
                    store.synced_up_to(sequence);
                }
            }
            Err(error) => self.inner().failed(&error),
        }
    }

    /// Writes and syncs under the lock: for what must be on disk before the next step is taken.
    pub(super) fn write_through(&self, mut inner: MutexGuard<'_, Inner>) -> Result<(), StoreError> {
        let inner = &mut *inner;
        inner.marks_added = false;
        let Some(store) = inner.store.as_mut() else { return Ok(()) };
        store.write(&inner.ledger)?;
        store.sync()
    }
}

impl Inner {
    pub(super) fn generation(&self, key: &GenerationKey) -> Option<&Generation> {
        self.ledger.streams.get(&*key.stream)?.generation(key.number)
    }

    pub(super) fn generation_mut(&mut self, key: &GenerationKey) -> Option<&mut Generation> {
        self.ledger.streams.get_mut(&*key.stream)?.generation_mut(key.number)
    }

    /// Writes the ledger so that it survives this process. A failure is counted and told once in a while; the
    /// old state stays whole, so the worst is a repetition after a restart.
    pub(super) fn write(&mut self) {
        self.marks_added = false;
        let Some(store) = self.store.as_mut() else { return };
        if let Err(error) = store.write(&self.ledger) {
            self.failed(&error);
        }
    }

    fn failed(&mut self, error: &dyn std::fmt::Display) {
        self.failures += 1;
        if self.failures.is_power_of_two() {
            tracing::error!(%error, failures = self.failures, "state could not be written; lines may be sent twice after a restart");
        }
    }

    fn confirm(&mut self, destination: &str, item: &Confirmed) {
        let destinations =
            self.logs.get(&item.key.stream).map(|log| log.destinations.clone()).unwrap_or_default();
        let Some(generation) = self.generation_mut(&item.key) else { return };
        let cursor = generation.cursors.entry(destination.to_owned()).or_default();
        if item.position < cursor.confirmed {
            return;
        }
        *cursor = Cursor { confirmed: item.position, fingerprint: item.fingerprint };
        let floor = destinations
            .iter()
            .map(|name| generation.cursors.get(name).map_or(0, |cursor| cursor.confirmed))
            .min()
            .unwrap_or(0);
        generation.marks.forget_before(floor, now_micros() - RECENT_MICROS);
    }
}

fn without_marks(stream: &Stream) -> Stream {
    let bare = |generation: &Generation| Generation { marks: Default::default(), ..generation.clone() };
    Stream {
        rotated_at: stream.rotated_at,
        intent: stream.intent.clone(),
        putting_back: stream.putting_back,
        generations: stream.generations.iter().map(bare).collect(),
    }
}

enum StateError {
    /// Somebody else has the lock.
    Shared,
    /// Read-only, no permission, no space: run without.
    NotWritable(io::Error),
    Store(StoreError),
}

fn open_state(state: &Path) -> Result<(Lock, super::store::Opened), StateError> {
    let created = std::fs::DirBuilder::new().mode(0o700).create(state);
    match created {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(StateError::NotWritable(error));
        }
        _ => {}
    }
    let classify = |error: StoreError| match error {
        StoreError::Io { source, .. } if is_not_writable(&source) => StateError::NotWritable(source),
        other => StateError::Store(other),
    };
    let lock = Lock::take(&state.join("lock")).map_err(classify)?;
    let Some(lock) = lock else { return Err(StateError::Shared) };
    let opened = Store::open(&state.join("state")).map_err(classify)?;
    Ok((lock, opened))
}

fn is_not_writable(error: &io::Error) -> bool {
    use io::ErrorKind::{PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    matches!(error.kind(), PermissionDenied | ReadOnlyFilesystem | StorageFull | QuotaExceeded)
}
