//! Puts a document on disk so that a crash at any instruction leaves a whole one, and a full disk a usable one.
//!
//! One file with two slots, both allocated ahead: writing needs no new blocks. A slot is a header (magic,
//! sequence, length, CRC-32 of all that) and the document. Writes go to the slot that does not hold the newest
//! *synced* document, so that one is never overwritten; only [`Store::sync`] makes the other slot the one to keep.
//! What was written without sync survives the process, though not the machine.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::FallocateFlags;

use super::ledger::DecodeError;

const MAGIC: [u8; 8] = *b"CAPSTAN1";
const HEADER_BYTES: usize = 32;
const FIRST_SLOT_BYTES: u64 = 64 * 1024;

/// Why the state cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file system refused; worth another try later.
    #[error("{path}: {source}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Another version wrote it, or a bug: not overwritten.
    #[error("{path}: {source}")]
    Decode {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: DecodeError,
    },
    /// The ledger could not be encoded.
    #[error("state does not encode: {0}")]
    Encode(#[from] serde_json::Error),
}

/// The state file, open.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    file: Arc<File>,
    slot_bytes: u64,
    /// Sequence of the newest document written.
    sequence: u64,
    /// Slot of the newest synced document.
    synced_slot: u64,
    /// Whether the other slot holds a newer one.
    ahead: bool,
}

/// What was found at opening.
#[derive(Debug)]
pub struct Opened {
    /// The store.
    pub store: Store,
    /// The newest whole document; none in a new file.
    pub document: Option<Vec<u8>>,
    /// Whether the file had content but no whole document. A copy is kept beside it.
    pub torn: bool,
}

impl Store {
    /// Opens or creates `path` with mode 0600.
    pub fn open(path: &Path) -> Result<Opened, StoreError> {
        let at = |source| StoreError::Io { path: path.to_owned(), source };
        let file = open_private(path).map_err(at)?;
        let size = file.metadata().map_err(at)?.len();
        let slot_bytes = (size / 2).max(FIRST_SLOT_BYTES);
        allocate(&file, slot_bytes).map_err(at)?;
        let newest = newest_slot(&file, slot_bytes);
        let torn = newest.is_none() && size > 0 && !is_blank(&file);
        let (sequence, slot, document) = match newest {
            None => (0, 1, None),
            Some((sequence, slot, bytes)) => (sequence, slot, Some(bytes)),
        };
        let mut store = Store {
            path: path.to_owned(),
            file: Arc::new(file),
            slot_bytes,
            sequence,
            synced_slot: slot,
            ahead: false,
        };
        // What was read may not have been synced by the process before us.
        store.file.sync_data().map_err(at)?;
        if torn {
            store.keep_torn_copy();
        }
        Ok(Opened { store, document, torn })
    }

    /// A state that cannot be read is kept beside for a person to look at; failing to is not worth an error.
    fn keep_torn_copy(&mut self) {
        let copy = self.path.with_extension("torn");
        if let Err(error) = std::fs::copy(&self.path, &copy) {
            tracing::warn!(path = %copy.display(), %error, "could not keep a copy of the torn state");
        }
    }

    /// Writes `body` so that it survives this process. Sync with [`Store::sync`] or [`Store::sync_handle`].
    pub fn write(&mut self, body: &[u8]) -> Result<(), StoreError> {
        let needed = (HEADER_BYTES + body.len()) as u64;
        if needed > self.slot_bytes {
            self.grow(needed)?;
        }
        let slot = 1 - self.synced_slot;
        let bytes = encode_slot(self.sequence + 1, body);
        self.file.write_all_at(&bytes, slot * self.slot_bytes).map_err(|source| self.io(source))?;
        self.sequence += 1;
        self.ahead = true;
        Ok(())
    }

    /// Makes what was written survive the machine, and protects it from the next write.
    pub fn sync(&mut self) -> Result<(), StoreError> {
        if self.ahead {
            self.file.sync_data().map_err(|source| self.io(source))?;
            self.synced();
        }
        Ok(())
    }

    /// For a sync outside the lock that guards the store: sync the file, then call [`Store::synced_up_to`].
    /// None when there is nothing to sync.
    pub fn sync_handle(&self) -> Option<(Arc<File>, u64)> {
        self.ahead.then(|| (self.file.clone(), self.sequence))
    }

    /// Notes that the document with this sequence is on disk, if it is still the newest written.
    pub fn synced_up_to(&mut self, sequence: u64) {
        // A write since then went to the same slot; it is not known to be on disk, so nothing is protected yet.
        if self.ahead && self.sequence == sequence {
            self.synced();
        }
    }

    fn synced(&mut self) {
        self.synced_slot = 1 - self.synced_slot;
        self.ahead = false;
    }

    /// Moves to larger slots by way of a new file: the old one stays whole until the new one is.
    fn grow(&mut self, needed: u64) -> Result<(), StoreError> {
        let slot_bytes = needed.next_power_of_two();
        let aside = self.path.with_extension("new");
        let at = |source| StoreError::Io { path: aside.clone(), source };
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&aside)
            .map_err(at)?;
        allocate(&file, slot_bytes).map_err(at)?;
        let kept = read_slot(&self.file, self.synced_slot * self.slot_bytes, self.slot_bytes);
        if let Some((sequence, body)) = kept {
            file.write_all_at(&encode_slot(sequence, &body), 0).map_err(at)?;
        }
        file.sync_all().map_err(at)?;
        std::fs::rename(&aside, &self.path).map_err(at)?;
        *self = Store {
            file: Arc::new(file),
            slot_bytes,
            synced_slot: 0,
            ahead: false,
            path: self.path.clone(),
            ..*self
        };
        Ok(())
    }

    fn io(&self, source: io::Error) -> StoreError {
        StoreError::Io { path: self.path.clone(), source }
    }
}

/// Reads the newest whole document without taking or changing anything. None: there is none.
pub fn peek(path: &Path) -> Result<Option<Vec<u8>>, StoreError> {
    let at = |source| StoreError::Io { path: path.to_owned(), source };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(at(error)),
    };
    let slot_bytes = (file.metadata().map_err(at)?.len() / 2).max(FIRST_SLOT_BYTES);
    Ok(newest_slot(&file, slot_bytes).map(|(.., bytes)| bytes))
}

/// Opens or makes a file that is only ours, never through a symlink.
fn open_private(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits() as i32)
        .open(path)
}

/// Sequence, slot and body of the newest whole document.
fn newest_slot(file: &File, slot_bytes: u64) -> Option<(u64, u64, Vec<u8>)> {
    let read = |slot: u64| {
        read_slot(file, slot * slot_bytes, slot_bytes).map(|(sequence, body)| (sequence, slot, body))
    };
    [0, 1].into_iter().filter_map(read).max_by_key(|(sequence, ..)| *sequence)
}

/// Reserves both slots. A file system without fallocate(2) gets the blocks when they are first written.
fn allocate(file: &File, slot_bytes: u64) -> io::Result<()> {
    match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, 2 * slot_bytes) {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => file.set_len(2 * slot_bytes),
        Err(error) => Err(error.into()),
    }
}

fn is_blank(file: &File) -> bool {
    let mut head = [0_u8; HEADER_BYTES];
    file.read_exact_at(&mut head, 0).is_ok() && head == [0; HEADER_BYTES]
}

fn encode_slot(sequence: u64, body: &[u8]) -> Vec<u8> {
    let mut slot = Vec::with_capacity(HEADER_BYTES + body.len());
    slot.extend_from_slice(&MAGIC);
    slot.extend_from_slice(&sequence.to_le_bytes());
    slot.extend_from_slice(&(body.len() as u64).to_le_bytes());
    let mut sum = crc32fast::Hasher::new();
    sum.update(&slot);
    sum.update(body);
    slot.extend_from_slice(&u64::from(sum.finalize()).to_le_bytes());
    slot.extend_from_slice(body);
    slot
}

/// The sequence and body of a slot, if it is whole.
fn read_slot(file: &File, offset: u64, slot_bytes: u64) -> Option<(u64, Vec<u8>)> {
    let mut header = [0_u8; HEADER_BYTES];
    file.read_exact_at(&mut header, offset).ok()?;
    let number = |at: usize| header[at..at + 8].try_into().ok().map(u64::from_le_bytes);
    let (sequence, length, crc) = (number(8)?, number(16)?, number(24)?);
    if header[..8] != MAGIC || length > slot_bytes - HEADER_BYTES as u64 {
        return None;
    }
    let mut body = vec![0_u8; usize::try_from(length).ok()?];
    file.read_exact_at(&mut body, offset + HEADER_BYTES as u64).ok()?;
    let mut sum = crc32fast::Hasher::new();
    sum.update(&header[..24]);
    sum.update(&body);
    (u64::from(sum.finalize()) == crc).then_some((sequence, body))
}

/// The lock beside the state: whoever holds it owns the logs of this directory.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock without waiting. None: another process has it. The file is never replaced or removed, so
    /// that two processes cannot hold locks on two files of one name.
    pub fn take(path: &Path) -> Result<Option<Lock>, StoreError> {
        let at = |source| StoreError::Io { path: path.to_owned(), source };
        let file = open_private(path).map_err(at)?;
        match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Lock { _file: file })),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(at(error.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(length: usize) -> Vec<u8> {
        vec![b'x'; length]
    }

    fn reopened(path: &Path) -> Opened {
        Store::open(path).unwrap()
    }

    #[test]
    fn what_was_written_is_found_again_with_and_without_sync() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        let mut opened = reopened(&path);
        assert!(opened.document.is_none() && !opened.torn);
        for i in 1..20 {
            opened.store.write(&document(i)).unwrap();
            if i % 3 == 0 {
                opened.store.sync().unwrap();
            }
            let again = reopened(&path);
            assert_eq!(again.document, Some(document(i)));
        }
    }

    #[test]
    fn a_torn_write_leaves_the_newest_synced_document() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        let mut store = reopened(&path).store;
        store.write(&document(1)).unwrap();
        store.sync().unwrap();
        store.write(&document(2)).unwrap();
        store.write(&document(3)).unwrap();
        let (slot, size) = (1 - store.synced_slot, store.slot_bytes);
        store.file.write_all_at(b"torn", slot * size + 20).unwrap();
        assert_eq!(reopened(&path).document, Some(document(1)));
    }

    #[test]
    fn slots_grow_and_keep_the_synced_document_meanwhile() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        let mut store = reopened(&path).store;
        store.write(&document(1)).unwrap();
        store.sync().unwrap();
        store.write(&document(500_000)).unwrap();
        assert_eq!(reopened(&path).document, Some(document(500_000)));
        store.sync().unwrap();
        store.write(&document(3)).unwrap();
        assert_eq!(reopened(&path).document, Some(document(3)));
    }

    #[test]
    fn a_file_of_garbage_is_reported_torn_and_kept_beside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        std::fs::write(&path, vec![7_u8; 200_000]).unwrap();
        let opened = reopened(&path);
        assert!(opened.torn && opened.document.is_none());
        assert!(dir.path().join("state.torn").exists());
    }

    #[test]
    fn the_lock_is_held_by_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let first = Lock::take(&path).unwrap();
        assert!(first.is_some());
        assert!(Lock::take(&path).unwrap().is_none());
        drop(first);
        assert!(Lock::take(&path).unwrap().is_some());
    }
}
