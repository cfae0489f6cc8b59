//! What the watcher finds under a stream's path, entered into the ledger: new streams, files replaced or
//! truncated by somebody else, files that went away.

use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::fs::AtFlags;

use super::feed::{Feed, GenerationKey, Source};
use super::ledger::{Cursor, Generation, Stage, Stream};
use super::open::{Opened, fingerprint_before};
use super::volume::{Inner, Volume, now_micros};
use crate::files::FileError;
use crate::settings::LogSettings;

const DAY_MICROS: i64 = 86_400_000_000;

/// What a look at a path came to.
#[derive(Debug)]
pub enum Placed {
    /// Nothing new.
    Known,
    /// A rotation is on its way: it will say itself what stands here.
    Busy,
    /// A new generation begins here.
    New(Arc<Feed>),
    /// The file belongs to another stream, under its new name.
    Renamed,
    /// Not a log file.
    Refused(FileError),
}

impl Volume {
    /// Looks at the file at `path`, which `log` wants.
    ///
    /// `is_new_log` says that this is the first look for a log that was added while everything ran.
    pub fn place(&self, path: &str, log: &Arc<LogSettings>, is_new_log: bool) -> Placed {
        let mut inner = self.inner();
        if inner.ledger.streams.get(path).is_some_and(Stream::is_busy) {
            return Placed::Busy;
        }
        if inner.is_live_at(self, path) {
            return Placed::Known;
        }
        let opened = match self.open_log(path) {
            Ok(opened) => opened,
            Err(error) if error.is_absent() => return Placed::Known,
            Err(error) => return Placed::Refused(error),
        };
        if inner.knows_elsewhere(path, &opened) {
            return Placed::Renamed;
        }
        let first_start = inner.first_start;
        inner.first_start |= is_new_log;
        if !inner.ledger.streams.contains_key(path) {
            self.adopt_archives(&mut inner, path, log);
        }
        let begun = inner.replace_live(self, path, log, opened);
        inner.first_start = first_start;
        inner.write();
        drop(inner);
        self.bump();
        begun.map_or(Placed::Known, Placed::New)
    }

    /// The file of an open feed became shorter, or its bytes before a known position changed: what was not read
    /// is lost, and what is there now is a new generation of the same file. Returns how many unread bytes were
    /// lost, by destination; None if that was noticed before.
    pub fn truncated(&self, feed: &Feed) -> Option<Vec<(String, u64)>> {
        let mut inner = self.inner();
        let generation = inner.generation_mut(&feed.key)?;
        if !generation.stage.is_open() {
            return None;
        }
        let was_live = generation.stage == Stage::Live;
        generation.stage = Stage::Gone;
        let lost = lost_bytes(generation, &feed.log().destinations);
        let source = feed.source();
        feed.set_source(Source::Lost);
        feed.seal();
        inner.feeds.remove(&feed.key);
        if let (true, Source::Open(file)) = (was_live, source)
            && let (Ok(id), Ok(metadata)) = (super::open::identify(&file), file.metadata())
        {
            let opened = Opened {
                id,
                size: metadata.len(),
                file: match file.try_clone() {
                    Ok(clone) => clone,
                    Err(_) => return Some(lost),
                },
            };
            let log = feed.log();
            inner.begin(&feed.key.stream, &log, opened);
        }
        inner.write();
        drop(inner);
        self.bump();
        Some(lost)
    }

    /// Forgets generations whose bytes are gone.
    pub fn tidy(&self) {
        let mut inner = self.inner();
        for stream in inner.ledger.streams.values_mut() {
            stream.generations.retain(|generation| generation.stage != Stage::Gone);
            stream.generations.iter_mut().for_each(|generation| generation.forget_left(now_micros()));
        }
        // A name that is used once (with a date in it) is remembered for a day.
        let day_ago = now_micros() - DAY_MICROS;
        let Inner { ledger, logs, .. } = &mut *inner;
        ledger.streams.retain(|name, stream| {
            let keep = !stream.generations.is_empty() || stream.is_busy() || stream.rotated_at > day_ago;
            if !keep {
                logs.remove(&**name);
            }
            keep
        });
    }
}

/// How much of a generation that is gone nobody had read.
pub(super) fn lost_bytes(generation: &Generation, destinations: &[String]) -> Vec<(String, u64)> {
    let unread = |name: &String| {
        let confirmed = generation.cursors.get(name).map_or(0, |cursor| cursor.confirmed);
        (name.clone(), generation.length.saturating_sub(confirmed))
    };
    destinations.iter().map(unread).filter(|(_, bytes)| *bytes > 0).collect()
}

impl Inner {
    /// Whether the file at `path` is the one we have open as its live generation: two cheap calls, no open.
    fn is_live_at(&self, volume: &Volume, path: &str) -> bool {
        let Some(live) = self.ledger.streams.get(path).and_then(Stream::live) else { return false };
        let key = GenerationKey { stream: path.into(), number: live.number };
        let Some(Source::Open(file)) = self.feeds.get(&key).map(|feed| feed.source()) else { return false };
        let Ok(here) = rustix::fs::statat(&volume.directory, path, AtFlags::SYMLINK_NOFOLLOW) else {
            return false;
        };
        // The descriptor keeps the inode from being reused, so the numbers suffice.
        file.metadata().is_ok_and(|open| (open.dev(), open.ino()) == (here.st_dev, here.st_ino))
    }

    fn knows_elsewhere(&self, path: &str, opened: &Opened) -> bool {
        let others = self.ledger.streams.iter().filter(|(name, _)| *name != path);
        let mut generations = others.flat_map(|(_, stream)| &stream.generations);
        generations.any(|generation| {
            let is_there = generation.stage.is_open() || generation.is_foreign_archive();
            is_there && generation.id.is_same_file(&opened.id)
        })
    }

    /// Another file stands at a stream's path: the one that was live has lost it. Returns the feed of the new
    /// generation; none if it is one of the stream's old files that has come back.
    pub(super) fn replace_live(
        &mut self,
        volume: &Volume,
        path: &str,
        log: &Arc<LogSettings>,
        opened: Opened,
    ) -> Option<Arc<Feed>> {
        self.retire_live(volume, path);
        (!self.comes_back(path, &opened)).then(|| self.begin(path, log, opened))
    }

    /// An old file of the stream stands at its path again: it goes on where it was. Returns whether that is so.
    fn comes_back(&mut self, path: &str, opened: &Opened) -> bool {
        let Some(stream) = self.ledger.streams.get_mut(path) else { return false };
        let old = stream
            .generations
            .iter_mut()
            .find(|generation| generation.stage == Stage::Old && generation.id.is_same_file(&opened.id));
        let Some(old) = old else { return false };
        old.become_live(path);
        true
    }

    /// Somebody else moved the live file away: it may still be written.
    pub(super) fn retire_live(&mut self, volume: &Volume, path: &str) {
        let Some(live) = self.ledger.streams.get(path).and_then(Stream::live) else { return };
        let key = GenerationKey { stream: path.into(), number: live.number };
        let now_at = self.feeds.get(&key).and_then(|feed| current_path(volume, feed));
        let Some(generation) = self.generation_mut(&key) else { return };
        generation.stage = Stage::Old;
        generation.retired_at = Some(now_micros());
        if let Some(now_at) = now_at {
            generation.path = now_at;
        }
    }

    /// Begins the next generation of a stream with an open file.
    pub(super) fn begin(&mut self, path: &str, log: &Arc<LogSettings>, opened: Opened) -> Arc<Feed> {
        let from_end = self.first_start && log.log.read_from == capstan_config::ReadFrom::End;
        let name: Arc<str> = path.into();
        let first = self.ledger.streams.get(path).is_none_or(|stream| stream.rotated_at == 0);
        let stream = self.ledger.streams.entry(path.to_owned()).or_default();
        if first {
            stream.rotated_at = now_micros();
        }
        let number = stream.next_number();
        stream.issued = number;
        let start = if from_end && first { opened.size } else { data_start(&opened) };
        let fingerprint = fingerprint_before(&opened.file, start).ok().flatten().unwrap_or_default();
        let cursor = Cursor { confirmed: start, fingerprint, left_at: None };
        stream.generations.push(Generation {
            number,
            id: opened.id,
            path: path.to_owned(),
            stage: Stage::Live,
            length: opened.size,
            retired_at: None,
            retired_boot: None,
            ours: false,
            cursors: log.destinations.iter().map(|name| (name.clone(), cursor)).collect(),
            marks: Default::default(),
        });
        self.subscribe(&name, number, log, Source::Open(Arc::new(opened.file)), opened.size, false)
    }

    pub(super) fn subscribe(
        &mut self,
        stream: &Arc<str>,
        number: u64,
        log: &Arc<LogSettings>,
        source: Source,
        size: u64,
        sealed: bool,
    ) -> Arc<Feed> {
        let key = GenerationKey { stream: stream.clone(), number };
        let feed = Arc::new(Feed::new(key.clone(), log.clone(), source, size, sealed));
        self.feeds.insert(key, feed.clone());
        self.logs.insert(stream.clone(), log.clone());
        feed
    }
}

/// Where a file begins to have data: a head that was punched away is skipped, not read as NUL bytes.
fn data_start(opened: &Opened) -> u64 {
    match rustix::fs::seek(&opened.file, rustix::fs::SeekFrom::Data(0)) {
        Ok(start) if start < opened.size => start,
        _ => 0,
    }
}

/// What name an open file has now, relative to the volume.
fn current_path(volume: &Volume, feed: &Feed) -> Option<String> {
    let Source::Open(file) = feed.source() else { return None };
    let link: PathBuf = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).ok()?;
    let base = std::fs::canonicalize(&volume.base).ok()?;
    Some(link.strip_prefix(base).ok()?.to_str()?.to_owned())
}
