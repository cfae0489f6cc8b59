//! Deletes archives that are beyond their log's limits, and forgets old files that are not ours.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;

use super::clocks;
use super::compressor::Jobs;
use super::naming::Form;
use super::retention::{
    Archive, BootTime, Deletion, Moment, Reason, RetentionPolicy, WallClock, WhenUnconfirmed, plan_retention,
    wall_clock_between,
};
use crate::files::{FileError, FileId};
use crate::metrics::Metrics;
use crate::settings::{LogSettings, Settings};
use crate::stream::feed::{Feed, GenerationKey, Source};
use crate::stream::ledger::{Generation, Stage};
use crate::stream::volume::Volume;

/// One archive, with what it takes to delete it.
struct Kept {
    volume: Arc<Volume>,
    key: GenerationKey,
    path: String,
}

/// Watches the clocks, and keeps each log within its limits.
#[derive(Debug)]
pub struct Keeper {
    boot: Option<u64>,
    started: Moment,
}

impl Default for Keeper {
    fn default() -> Self {
        let boot = clocks::boot_id();
        Keeper { boot, started: clocks::now(boot) }
    }
}

impl Keeper {
    /// Looks at all archives of `log`, and deletes what is beyond its limits.
    pub fn keep(&self, log: &LogSettings, volumes: &[Arc<Volume>], jobs: &Jobs, metrics: &Metrics) {
        let Some(rotate) = &log.log.rotate else { return };
        let mut kept = BTreeMap::new();
        let archives = observe(log, volumes, jobs, &mut kept);
        let retention = &rotate.retention;
        let policy = RetentionPolicy {
            count: retention.count,
            age: retention.age,
            total_bytes: retention.total_size.map(|size| size.bytes()),
            when_unconfirmed: match retention.when_unconfirmed {
                capstan_config::WhenUnconfirmed::Keep => WhenUnconfirmed::Keep,
                capstan_config::WhenUnconfirmed::Delete => WhenUnconfirmed::Delete,
            },
        };
        let now = clocks::now(self.boot);
        let clock: WallClock = wall_clock_between(self.started, now);
        for deletion in plan_retention(&policy, &archives, now, clock).deletions {
            if let Some(archive) = kept.get(&(deletion.stream, deletion.generation)) {
                delete(log, archive, &deletion, metrics);
            }
        }
    }
}

fn observe(
    log: &LogSettings,
    volumes: &[Arc<Volume>],
    jobs: &Jobs,
    kept: &mut BTreeMap<(u64, u64), Kept>,
) -> Vec<Archive> {
    let mut archives = Vec::new();
    let mut stream_number = 0;
    for volume in volumes {
        for (name, owner, stream) in volume.streams() {
            if owner.full_name() != log.full_name() {
                continue;
            }
            stream_number += 1;
            for generation in
                stream.generations.iter().filter(|generation| generation.ours && generation.stage.is_sealed())
            {
                let key = GenerationKey { stream: name.clone(), number: generation.number };
                let on_disk =
                    volume.absolute(&generation.path).metadata().map_or(0, |metadata| metadata.len());
                let being_compressed = jobs.contains(volume, &key);
                archives.push(Archive {
                    stream: stream_number,
                    generation: generation.number,
                    rotated_at: moment(generation),
                    bytes: on_disk,
                    sealed: !being_compressed,
                    confirmed: generation.is_confirmed_by(log.destinations.iter().map(String::as_str)),
                });
                let path = generation.path.clone();
                kept.insert((stream_number, generation.number), Kept { volume: volume.clone(), key, path });
            }
        }
    }
    archives
}

fn moment(generation: &Generation) -> Moment {
    let micros = generation.retired_at.unwrap_or(i64::MAX);
    let boot = generation.retired_boot.as_ref();
    Moment {
        // An archive without a date is taken for new.
        wall: Timestamp::from_microsecond(micros).unwrap_or(Timestamp::MAX),
        boot: boot.map(|at| BootTime { boot: at.boot, since: std::time::Duration::from_secs(at.seconds) }),
    }
}

fn delete(log: &LogSettings, archive: &Kept, deletion: &Deletion, metrics: &Metrics) {
    let reason = match deletion.reason {
        Reason::Count => "count",
        Reason::Age => "age",
        Reason::TotalSize => "total_size",
    };
    match remove(archive) {
        Ok(true) => {
            for (destination, bytes) in archive.volume.deleted(&archive.key) {
                metrics.lost(log, &destination, bytes);
            }
            metrics.deleted(log, reason);
            if deletion.forced {
                tracing::warn!(
                    path = archive.path,
                    reason,
                    "archive deleted before it was confirmed: whenUnconfirmed is Delete"
                );
            } else {
                tracing::info!(path = archive.path, reason, "archive deleted");
            }
        }
        // Somebody writes to it, or it is another file by now: looked at again with the next rotation.
        Ok(false) => tracing::warn!(path = archive.path, "archive is in use or was replaced; not deleted"),
        Err(error) => tracing::warn!(%error, "archive could not be deleted"),
    }
}

/// Removes an archive's file unless somebody has it open for writing. A file that is gone counts as removed.
fn remove(archive: &Kept) -> Result<bool, FileError> {
    let path = Path::new(&archive.path);
    let directory = archive.volume.directory_of(path)?;
    let name = path.file_name().unwrap_or(OsStr::new(""));
    let file = match directory.open_file(name) {
        Ok(file) => file,
        Err(error) if error.is_absent() => return Ok(true),
        Err(error) => return Err(error),
    };
    // Where leases do not work this says "refused" for every file, so only archives that were proved are asked.
    let record = archive.volume.stream(&archive.key.stream);
    let proved = record
        .as_ref()
        .and_then(|stream| stream.generation(archive.key.number))
        .is_some_and(|generation| generation.stage == Stage::Sealed(crate::stream::ledger::SealedBy::Proof));
    if proved && crate::sys::ask_read_lease(&file) == crate::sys::LeaseReply::Refused {
        return Ok(false);
    }
    let id = FileId::of(&directory.metadata(name, &file)?);
    let removed = directory.remove(name, id)?;
    // Compressing it may have been begun, and have failed.
    let mut part = name.to_owned();
    part.push(Form::GzipPart.extension());
    if let (true, Some(part_id)) = (removed, directory.id(&part)?) {
        directory.remove(&part, part_id)?;
    }
    directory.sync()?;
    Ok(removed)
}

/// Old files that somebody else moved or deleted are not ours to keep or delete: once they are sealed and confirmed,
/// they are forgotten. Not those whose name a log wants: they would be taken for new logs, and sent once more.
pub fn forget_foreign(volume: &Volume, settings: &Settings) {
    for (name, log, stream) in volume.streams() {
        for generation in stream.generations.iter().filter(|known| known.is_foreign_archive()) {
            let key = GenerationKey { stream: name.clone(), number: generation.number };
            let is_wanted = || {
                let path = volume.feed(&key).and_then(|feed| current_path(&feed));
                path.is_some_and(|path| settings.logs.iter().any(|log| log.wants(&path)))
            };
            if generation.is_confirmed_by(log.destinations.iter().map(String::as_str)) && !is_wanted() {
                volume.deleted(&key);
            }
        }
    }
}

/// What name an open file has now; none once it is deleted.
fn current_path(feed: &Feed) -> Option<PathBuf> {
    let Source::Open(file) = feed.source() else { return None };
    let is_there = file.metadata().is_ok_and(|metadata| metadata.nlink() > 0);
    is_there.then(|| std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).ok())?
}
