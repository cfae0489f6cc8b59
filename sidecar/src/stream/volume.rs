//! One directory of logs: its state, its streams, and the only place where either changes.
//!
//! Everybody works on a volume through its methods: the watcher tells what it saw ([`place`](super::place)),
//! the rotator what it did ([`turn`](super::turn)), the forwarders what was confirmed. One mutex guards the
//! ledger; it is never held while a disk is synced.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

use super::feed::{Feed, GenerationKey};
use super::ledger::{Generation, Ledger, Stream};
use super::state::{Found, StateError, Stores, open_state, stored_ledger};
use super::store::StoreError;
use crate::files::FileError;
use crate::files::directory::Directory;
use crate::settings::LogSettings;

/// The state directory's name.
pub const STATE_DIRECTORY: &str = capstan_config::names::STATE_DIRECTORY;

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
    #[error(transparent)]
    File(#[from] FileError),
}

/// One directory of logs.
#[derive(Debug)]
pub struct Volume {
    /// The directory; paths in the ledger are relative to it.
    pub base: PathBuf,
    /// The same, open.
    pub directory: Directory,
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
    pub(super) marks_added: bool,
    stores: Option<Stores>,
    /// Writes of the state that failed.
    failures: u64,
}

/// Microseconds since the epoch.
pub fn now_micros() -> i64 {
    Timestamp::now().as_microsecond()
}

impl Volume {
    /// Opens the state of `base`, taking its lock. To be called only when a log file is there: a state directory
    /// in an empty directory would keep programs such as initdb(1) from starting.
    pub fn open(base: &Path) -> Result<Volume, VolumeError> {
        let directory = Directory::open(base)?;
        let state = base.join(STATE_DIRECTORY);
        let (stores, ledger, first_start) = match open_state(&state) {
            Ok((stores, ledger, found)) => {
                if found == Found::Torn {
                    tracing::error!(path = %state.display(), "state was torn: positions are lost, files are read from their start; a copy is kept beside it");
                }
                (Some(stores), ledger, found == Found::Nothing)
            }
            Err(StateError::Shared) => return Err(VolumeError::Shared(base.to_owned())),
            Err(StateError::NotWritable(error)) => {
                tracing::warn!(path = %state.display(), %error, "no place for state: positions will not survive a restart, and nothing is rotated here");
                // What stands there, if it can be read, is true all the same.
                let stored = stored_ledger(&state);
                let first_start = stored.is_none() && !state.exists();
                (None, stored.unwrap_or_default(), first_start)
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
                stores,
                failures: 0,
            }),
            version: AtomicU64::new(1),
        })
    }

    /// Whether positions survive a restart.
    pub fn is_persistent(&self) -> bool {
        self.inner().stores.is_some()
    }

    /// Tries again to find a place for the state: a full disk may have been relieved. What is known in memory is
    /// newer than what may stand there, and replaces it. Returns whether a place was found now.
    pub fn retry_state(&self) -> bool {
        if self.is_persistent() {
            return false;
        }
        let Ok((stores, ..)) = open_state(&self.base.join(STATE_DIRECTORY)) else { return false };
        let mut inner = self.inner();
        inner.stores = Some(stores);
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

    /// Files found from now on appeared later: they are read from their beginning, whatever `readFrom` says.
    pub fn end_first_look(&self) {
        self.inner().first_start = false;
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

    /// Notes that a generation has grown to `size`. Returns whether that is news.
    pub fn grew(&self, feed: &Feed, size: u64) -> bool {
        if size <= feed.size() {
            return false;
        }
        let mut inner = self.inner();
        let Some(generation) = inner.generation_mut(&feed.key) else { return false };
        // Watcher and rotator look at sizes too, and either may be late: what was seen last counts, and a sealed
        // length is final.
        let before = generation.length;
        if size <= before || !generation.stage.is_open() {
            return false;
        }
        generation.length = size;
        let added = !feed.log().destinations.is_empty() && generation.marks.observe(before, now_micros());
        inner.marks_added |= added;
        drop(inner);
        feed.grow(size)
    }

    /// Writes the state if marks were added since, and syncs what is not synced yet.
    pub fn checkpoint(&self) {
        let mut inner = self.inner();
        if inner.marks_added {
            inner.write_marks();
        }
        drop(inner);
        self.sync();
    }

    /// Syncs what was written, without holding the lock.
    pub(super) fn sync(&self) {
        // Marks are not synced: they have to survive this process, and after a loss of power times may differ.
        let handle = self.inner().stores.as_ref().and_then(|stores| stores.ledger.sync_handle());
        let Some((file, sequence)) = handle else { return };
        match file.sync_data() {
            Ok(()) => {
                if let Some(stores) = self.inner().stores.as_mut() {
                    stores.ledger.synced_up_to(sequence);
                }
            }
            Err(error) => self.inner().failed(&error),
        }
    }

    /// Writes and syncs under the lock: for what must be on disk before the next step is taken.
    pub(super) fn write_through(&self, mut inner: MutexGuard<'_, Inner>) -> Result<(), StoreError> {
        let inner = &mut *inner;
        let Some(stores) = inner.stores.as_mut() else { return Ok(()) };
        stores.ledger.write(&inner.ledger.encode()?)?;
        stores.ledger.sync()
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
        let Some(stores) = self.stores.as_mut() else { return };
        let written =
            self.ledger.encode().map_err(StoreError::from).and_then(|body| stores.ledger.write(&body));
        if let Err(error) = written {
            self.failed(&error);
        }
    }

    /// As [`Inner::write`], for the marks.
    pub(super) fn write_marks(&mut self) {
        self.marks_added = false;
        let Some(stores) = self.stores.as_mut() else { return };
        let written =
            self.ledger.encode_marks().map_err(StoreError::from).and_then(|body| stores.marks.write(&body));
        if let Err(error) = written {
            self.failed(&error);
        }
    }

    fn failed(&mut self, error: &dyn std::fmt::Display) {
        self.failures += 1;
        if self.failures.is_power_of_two() {
            tracing::error!(%error, failures = self.failures, "state could not be written; lines may be sent twice after a restart");
        }
    }
}

fn without_marks(stream: &Stream) -> Stream {
    let bare = |generation: &Generation| Generation { marks: Default::default(), ..generation.clone() };
    Stream {
        rotated_at: stream.rotated_at,
        rotated_before: stream.rotated_before,
        issued: stream.issued,
        intent: stream.intent.clone(),
        putting_back: stream.putting_back,
        generations: stream.generations.iter().map(bare).collect(),
    }
}
