//! What the rotator does to a stream, entered into the ledger before or after it is done.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::feed::{GenerationKey, Source};
use super::ledger::{BootTime, Intent, SealedBy, Stage};
use super::open::Opened;
use super::place::lost_bytes;
use super::store::StoreError;
use super::volume::{Volume, now_micros};
use crate::rotate::breaker::{TargetKey, Trip};
use crate::rotate::clocks;

/// Why the ledger did not follow.
#[derive(Debug, thiserror::Error)]
pub enum TurnError {
    /// The stream is not what the rotator thinks it is: look again.
    #[error("{0} changed meanwhile")]
    Changed(String),
    /// An intent must be on disk before the directory is changed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Volume {
    /// Announces that the live file of `stream` will be archived at `archive`. On disk when this returns.
    pub fn intend(&self, stream: &str, archive: &str) -> Result<(), TurnError> {
        let mut inner = self.inner();
        // From here on the stream is busy, so settings that come now wait until it is not.
        let is_owned = inner.logs.contains_key(stream);
        let record = inner.ledger.streams.get_mut(stream).filter(|_| is_owned);
        let intent = record.and_then(|record| {
            let old = record.live()?.id.clone();
            record.intent = Some(Intent { archive: archive.to_owned(), old });
            Some(())
        });
        if intent.is_none() {
            return Err(TurnError::Changed(stream.to_owned()));
        }
        let written = self.write_through(inner);
        if written.is_err() {
            self.forget_intent(stream);
        }
        Ok(written?)
    }

    /// A scheduled time passed without anything to rotate: schedules count from there.
    pub fn serve_schedule(&self, stream: &str, at: i64) {
        let mut inner = self.inner();
        if let Some(record) = inner.ledger.streams.get_mut(stream) {
            record.rotated_at = at;
        }
        inner.write();
    }

    /// The rotation did not change the directory, or was undone.
    pub fn forget_intent(&self, stream: &str) {
        let mut inner = self.inner();
        if let Some(record) = inner.ledger.streams.get_mut(stream) {
            record.intent = None;
        }
        inner.write();
    }

    /// The exchange is done: the live file is the archive now, and `new` carries the path. Without it, because it could
    /// not be opened, the watcher will find what stands there. `stranger` is the archive if the app replaced its file
    /// just before: a generation that nobody has seen yet, and that the app may be writing. Returns the number of the
    /// generation that was archived.
    pub fn exchanged(
        &self,
        stream: &str,
        archive: &str,
        new: Option<Opened>,
        stranger: Option<Opened>,
    ) -> Result<u64, TurnError> {
        let mut inner = self.inner();
        let changed = || TurnError::Changed(stream.to_owned());
        let log = inner.logs.get(stream).cloned().ok_or_else(changed)?;
        if let Some(stranger) = stranger {
            inner.replace_live(self, stream, &log, stranger);
        }
        let record = inner.ledger.streams.get_mut(stream).ok_or_else(changed)?;
        record.intent = None;
        record.rotated_before = std::mem::replace(&mut record.rotated_at, now_micros());
        let number = record.archive_live(archive, now_micros(), boot_time()).ok_or_else(changed)?;
        if let Some(new) = new {
            inner.begin(stream, &log, new);
        }
        let written = self.write_through(inner);
        // Whether or not it is on disk: this is how things stand, and everybody has to know.
        self.bump();
        written?;
        Ok(number)
    }

    /// The names are going to be exchanged back, or that is over: until then nobody else judges what stands where.
    pub fn set_putting_back(&self, stream: &str, putting_back: bool) {
        if let Some(record) = self.inner().ledger.streams.get_mut(stream) {
            record.putting_back = putting_back;
        }
    }

    /// The names were exchanged back: the old file is live again under its path, the new one (empty, and held by
    /// nobody) is gone, and its number is not used again.
    pub fn restored(&self, stream: &str, number: u64) -> Result<(), TurnError> {
        let mut inner = self.inner();
        let changed = || TurnError::Changed(stream.to_owned());
        let record = inner.ledger.streams.get_mut(stream).ok_or_else(changed)?;
        record.intent = None;
        // The time that was due is still to be served.
        if record.rotated_before > 0 {
            record.rotated_at = record.rotated_before;
        }
        let newest = record.generations.pop().ok_or_else(changed)?;
        let old = record.generation_mut(number).ok_or_else(changed)?;
        old.become_live(stream);
        let key = GenerationKey { stream: stream.into(), number: newest.number };
        if let Some(feed) = inner.feeds.remove(&key) {
            feed.seal();
        }
        self.write_through(inner)?;
        self.bump();
        Ok(())
    }

    /// Nobody writes this generation any more; `size` is its final length.
    pub fn sealed(&self, key: &GenerationKey, size: u64, by: SealedBy) {
        let mut inner = self.inner();
        let Some(feed) = inner.feeds.get(key).cloned() else { return };
        let Some(generation) = inner.generation_mut(key).filter(|generation| generation.stage.is_open())
        else {
            return;
        };
        generation.stage = Stage::Sealed(by);
        generation.length = size;
        let (path, ours) = (generation.path.clone(), generation.ours);
        feed.grow(size);
        feed.seal();
        if ours {
            // Nobody else renames what is ours; any other file is kept open, whatever becomes of its name.
            feed.set_source(Source::Plain(self.absolute(&path)));
        }
        inner.write();
        drop(inner);
        self.bump();
    }

    /// A sealed generation has grown: it is open again.
    pub fn unsealed(&self, key: &GenerationKey, file: std::fs::File) {
        let mut inner = self.inner();
        let Some(feed) = inner.feeds.get(key).cloned() else { return };
        let Some(generation) = inner.generation_mut(key).filter(|generation| generation.stage.is_sealed())
        else {
            return;
        };
        generation.stage = Stage::Old;
        feed.set_source(Source::Open(Arc::new(file)));
        feed.unseal();
        inner.write();
        drop(inner);
        self.bump();
    }

    /// A sealed generation's bytes are in the gzip file `path` now.
    pub fn compressed(&self, key: &GenerationKey, path: &str) -> Result<(), StoreError> {
        let mut inner = self.inner();
        let source = Source::Gzip(self.absolute(path));
        if let Some(generation) = inner.generation_mut(key) {
            if let Stage::Sealed(by) = generation.stage {
                generation.stage = Stage::Compressed(by);
            }
            generation.path = path.to_owned();
        }
        if let Some(feed) = inner.feeds.get(key) {
            feed.set_source(source);
        }
        self.write_through(inner)?;
        self.bump();
        Ok(())
    }

    /// Late bytes were added to a compressed generation, which ends at `size` now.
    pub fn extended(&self, key: &GenerationKey, size: u64) {
        let mut inner = self.inner();
        match inner.generation_mut(key) {
            Some(generation) if generation.length < size => generation.length = size,
            _ => return,
        }
        if let Some(feed) = inner.feeds.get(key) {
            feed.grow(size);
        }
        inner.write();
        drop(inner);
        self.bump();
    }

    /// A generation was deleted. Returns how many bytes of it nobody had confirmed, by destination.
    pub fn deleted(&self, key: &GenerationKey) -> Vec<(String, u64)> {
        let mut inner = self.inner();
        let destinations =
            inner.logs.get(&key.stream).map(|log| log.destinations.clone()).unwrap_or_default();
        let lost = inner.generation(key).map(|known| lost_bytes(known, &destinations)).unwrap_or_default();
        if let Some(feed) = inner.feeds.remove(key) {
            feed.set_source(Source::Lost);
            feed.seal();
        }
        if let Some(stream) = inner.ledger.streams.get_mut(&*key.stream) {
            stream.generations.retain(|generation| generation.number != key.number);
        }
        inner.write();
        drop(inner);
        self.bump();
        lost
    }

    /// The live file was deleted by somebody else; it may still be written. Returns whether there was one.
    pub fn unlinked(&self, stream: &str) -> bool {
        let mut inner = self.inner();
        let has_live = inner
            .ledger
            .streams
            .get(stream)
            .is_some_and(|record| record.live().is_some() && !record.is_busy());
        if has_live {
            inner.retire_live(self, stream);
            inner.write();
        }
        has_live
    }

    /// Where a generation's file is.
    pub fn path_of(&self, key: &GenerationKey) -> Option<PathBuf> {
        self.inner().generation(key).map(|generation| self.absolute(&generation.path))
    }

    /// Whether a target must not be signalled any more.
    pub fn is_tripped(&self, target: &TargetKey) -> bool {
        self.inner().ledger.breaker.tripped(target).is_some()
    }

    /// Looks at a target some time after a signal. Returns whether it died of it; that is on disk then, so that
    /// a restart does not kill the app once more.
    pub fn observe_target(&self, target: &TargetKey, exited: bool, elapsed: Duration, trip: Trip) -> bool {
        let mut inner = self.inner();
        if !inner.ledger.breaker.observe(target, exited, elapsed, trip) {
            return false;
        }
        if let Err(error) = self.write_through(inner) {
            tracing::error!(%error, "could not store that a signal target died");
        }
        true
    }

    /// Forgets tripped targets that no policy names any more.
    pub fn keep_targets(&self, current: &[TargetKey]) {
        self.inner().ledger.breaker.keep_only(current);
    }
}

/// Now, on the boot clock.
pub fn boot_time() -> Option<BootTime> {
    static BOOT: OnceLock<Option<u64>> = OnceLock::new();
    let now = clocks::now(*BOOT.get_or_init(clocks::boot_id)).boot?;
    Some(BootTime { boot: now.boot, seconds: now.since.as_secs() })
}
