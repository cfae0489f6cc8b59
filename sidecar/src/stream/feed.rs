//! One generation as those who read it see it: where its bytes are, how many there are, whether more may come.
//!
//! A feed is shared between the thread that watches sizes and the threads that forward; every field changes on
//! its own and only forwards: the size grows, an open feed becomes sealed, a file becomes a path, settings get newer.

use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use crate::settings::LogSettings;

/// Which generation of which stream.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GenerationKey {
    /// The stream's path, relative to its volume's base.
    pub stream: Arc<str>,
    /// The generation's number.
    pub number: u64,
}

/// Where a generation's bytes are.
#[derive(Clone, Debug)]
pub enum Source {
    /// In an open file, which may be renamed meanwhile.
    Open(Arc<File>),
    /// In a file that nobody writes; opened for each chunk, so that a long wait does not hold its space.
    Plain(PathBuf),
    /// In a gzip file of ours.
    Gzip(PathBuf),
    /// Nowhere: truncated or deleted by somebody else.
    Lost,
}

/// A generation, shared.
#[derive(Debug)]
pub struct Feed {
    /// Which one.
    pub key: GenerationKey,
    log: RwLock<Arc<LogSettings>>,
    /// Whether no log wants it any more.
    dismissed: AtomicBool,
    source: Mutex<Source>,
    size: AtomicU64,
    sealed: AtomicBool,
}

impl Feed {
    /// A feed of a file that may still grow.
    pub fn new(key: GenerationKey, log: Arc<LogSettings>, source: Source, size: u64, sealed: bool) -> Feed {
        Feed {
            key,
            log: RwLock::new(log),
            dismissed: AtomicBool::new(false),
            source: Mutex::new(source),
            size: AtomicU64::new(size),
            sealed: AtomicBool::new(sealed),
        }
    }

    /// The settings of its log.
    pub fn log(&self) -> Arc<LogSettings> {
        self.log.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The settings changed.
    pub fn set_log(&self, log: Arc<LogSettings>) {
        *self.log.write().unwrap_or_else(PoisonError::into_inner) = log;
    }

    /// Whether `destination` gets its lines.
    pub fn goes_to(&self, destination: &str) -> bool {
        !self.is_dismissed() && self.log().destinations.iter().any(|known| known == destination)
    }

    /// No log wants it any more: nobody reads it on.
    pub fn dismiss(&self) {
        self.dismissed.store(true, Ordering::Release);
    }

    /// Whether no log wants it any more.
    pub fn is_dismissed(&self) -> bool {
        self.dismissed.load(Ordering::Acquire)
    }

    /// Bytes seen so far.
    pub fn size(&self) -> u64 {
        self.size.load(Ordering::Acquire)
    }

    /// Notes a size. Returns whether it grew.
    pub fn grow(&self, size: u64) -> bool {
        self.size.fetch_max(size, Ordering::AcqRel) < size
    }

    /// Whether no more bytes will come. Read before the size, so that a sealed feed's size is final.
    pub fn is_sealed(&self) -> bool {
        self.sealed.load(Ordering::Acquire)
    }

    /// No more bytes will come; the size is final.
    pub fn seal(&self) {
        self.sealed.store(true, Ordering::Release);
    }

    /// Bytes came after all: somebody wrote to a file that had been quiet.
    pub fn unseal(&self) {
        self.sealed.store(false, Ordering::Release);
    }

    /// Where the bytes are now.
    pub fn source(&self) -> Source {
        self.source.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The bytes moved.
    pub fn set_source(&self, source: Source) {
        *self.source.lock().unwrap_or_else(PoisonError::into_inner) = source;
    }
}
