//! Opens the state directory of a volume: the lock, the ledger, the marks.

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use super::ledger::Ledger;
use super::store::{Lock, Store, StoreError, peek};

/// Why there is no state.
#[derive(Debug)]
pub enum StateError {
    /// Somebody else has the lock.
    Shared,
    /// Read-only, no permission, no space: run without.
    NotWritable(io::Error),
    /// It cannot be used as it is.
    Store(StoreError),
}

/// The lock, and what is kept under it.
#[derive(Debug)]
pub struct Stores {
    /// The ledger.
    pub ledger: Store,
    /// The marks.
    pub marks: Store,
    _lock: Lock,
}

/// What the state was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// There was none: the very first start.
    Nothing,
    /// A whole one.
    Whole,
    /// One that cannot be read; a copy is kept beside it.
    Torn,
}

/// Opens or makes the state in the directory `state`.
///
/// # Errors
///
/// [`StateError`] tells what to do without it.
pub fn open_state(state: &Path) -> Result<(Stores, Ledger, Found), StateError> {
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
    let Some(lock) = Lock::take(&state.join("lock")).map_err(classify)? else {
        return Err(StateError::Shared);
    };
    let path = state.join("state");
    let opened = Store::open(&path).map_err(classify)?;
    let found = match (&opened.document, opened.torn) {
        (Some(_), _) => Found::Whole,
        (None, true) => Found::Torn,
        (None, false) => Found::Nothing,
    };
    let decode = |body: &Vec<u8>| Ledger::decode(body).map_err(|source| StoreError::Decode { path, source });
    let mut ledger = opened.document.as_ref().map(decode).transpose().map_err(classify)?.unwrap_or_default();
    let marks = Store::open(&state.join("marks")).map_err(classify)?;
    // Without them nothing is lost; a replay may only carry other times.
    if let Some(book) = marks.document.as_ref().and_then(|body| serde_json::from_slice(body).ok()) {
        ledger.take_marks(book);
    }
    Ok((Stores { ledger: opened.store, marks: marks.store, _lock: lock }, ledger, found))
}

/// The ledger in the directory `state`, without taking or changing anything; None if there is none that can be read.
pub fn stored_ledger(state: &Path) -> Option<Ledger> {
    let mut ledger = Ledger::decode(&peek(&state.join("state")).ok()??).ok()?;
    if let Ok(Some(marks)) = peek(&state.join("marks")) {
        ledger.take_marks(serde_json::from_slice(&marks).unwrap_or_default());
    }
    Some(ledger)
}

fn is_not_writable(error: &io::Error) -> bool {
    use io::ErrorKind::{PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    matches!(error.kind(), PermissionDenied | ReadOnlyFilesystem | StorageFull | QuotaExceeded)
}
