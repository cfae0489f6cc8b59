//! After a restart: finds the files the ledger speaks of, and completes or undoes a rotation that was cut short.

use std::path::Path;
use std::sync::Arc;

use super::feed::Source;
use super::identity::{FileId, Fingerprint, Remembered, Seen, Verdict, judge};
use super::ledger::{Cursor, Generation, Intent, Stage};
use super::open::{Opened, fingerprint_before};
use super::place::lost_bytes;
use super::volume::{Inner, Volume, now_micros};
use crate::settings::LogSettings;

/// What a restart found out of the ordinary.
#[derive(Debug, Default)]
pub struct Recovered {
    /// Bytes that were never confirmed and are gone, by stream and destination.
    pub lost: Vec<(String, String, u64)>,
    /// Files that were truncated or replaced while nobody looked.
    pub truncated: Vec<String>,
    /// Rotations that were completed or undone.
    pub resumed: Vec<String>,
}

/// What became of a rotation that was begun. Pure.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The directory was not changed yet.
    NotBegun,
    /// The new file stands at the archive's name; the exchange did not happen.
    Prepared,
    /// The exchange happened.
    Exchanged,
    /// The app replaced its file meanwhile: what stands at the archive's name is another file than expected.
    Foreign,
}

/// Looks at what stands at the archive's name and at the stream's path.
pub fn outcome(old: &FileId, at_archive: Option<(&FileId, u64)>, at_live: Option<&FileId>) -> Outcome {
    match (at_archive, at_live) {
        (None, _) => Outcome::NotBegun,
        (Some((id, _)), _) if id.is_same_file(old) => Outcome::Exchanged,
        (Some((_, 0)), Some(live)) if live.is_same_file(old) => Outcome::Prepared,
        _ => Outcome::Foreign,
    }
}

impl Volume {
    /// Takes up what the ledger remembers. `owner` says which log a stream belongs to now, if any.
    pub fn recover(&self, owner: impl Fn(&Path) -> Option<Arc<LogSettings>>) -> Recovered {
        let mut found = Recovered::default();
        let mut inner = self.inner();
        let names: Vec<String> = inner.ledger.streams.keys().cloned().collect();
        for name in names {
            let Some(log) = owner(&self.absolute(&name)) else { continue };
            self.take_up(&mut inner, &name, &log, &mut found);
        }
        inner.write();
        drop(inner);
        self.sync();
        self.bump();
        found
    }

    /// Takes up one stream, which belongs to `log`.
    pub(super) fn take_up(
        &self,
        inner: &mut Inner,
        name: &str,
        log: &Arc<LogSettings>,
        found: &mut Recovered,
    ) {
        self.resume_rotation(inner, name, log, found);
        self.resume_put_back(inner, name, found);
        self.find_generations(inner, name, log, found);
    }

    fn resume_rotation(&self, inner: &mut Inner, name: &str, log: &Arc<LogSettings>, found: &mut Recovered) {
        let Some(stream) = inner.ledger.streams.get_mut(name) else { return };
        let Some(Intent { archive, old }) = stream.intent.take() else { return };
        let at = |path: &str| self.open_log(path).ok();
        let (at_archive, at_live) = (at(&archive), at(name));
        let seen = at_archive.as_ref().map(|opened| (&opened.id, opened.size));
        match (outcome(&old, seen, at_live.as_ref().map(|opened| &opened.id)), at_archive) {
            // Ours: we announced this name before creating it, and it is empty.
            (Outcome::Prepared, _) => self.remove_left_over(&archive),
            (Outcome::Exchanged, _) => {
                stream.archive_live(&archive, now_micros(), super::turn::boot_time());
                stream.rotated_at = now_micros();
            }
            // What the app put in its log's place just before the exchange; or our own new file, which is empty.
            (Outcome::Foreign, Some(stranger)) => {
                inner.replace_live(self, name, log, stranger);
                if let Some(stream) = inner.ledger.streams.get_mut(name) {
                    stream.archive_live(&archive, now_micros(), super::turn::boot_time());
                }
            }
            (Outcome::NotBegun | Outcome::Foreign, _) => return,
        }
        found.resumed.push(name.to_owned());
    }

    /// Names that were put back because nobody had reopened, with a crash before the ledger followed: the old file
    /// stands at the stream's path again, and the new one, if it was not removed yet, at the archive's.
    fn resume_put_back(&self, inner: &mut Inner, name: &str, found: &mut Recovered) {
        let Some(stream) = inner.ledger.streams.get_mut(name) else { return };
        let [.., old, new] = stream.generations.as_mut_slice() else { return };
        let at = |path: &str| self.open_log(path).ok();
        let is_back = old.stage == Stage::Old
            && new.stage == Stage::Live
            && at(name).is_some_and(|opened| opened.id.is_same_file(&old.id));
        if !is_back {
            return;
        }
        let archive = std::mem::take(&mut old.path);
        old.become_live(name);
        found.resumed.push(name.to_owned());
        let left = at(&archive).filter(|opened| opened.id.is_same_file(&new.id));
        match left {
            // Somebody opened it while it carried the path: it is read on.
            Some(opened) if opened.size > 0 || is_held(&opened.file) => {
                new.path = archive;
                new.stage = Stage::Old;
                new.ours = true;
                new.retired_at = Some(now_micros());
                new.retired_boot = super::turn::boot_time();
            }
            Some(_) => {
                stream.generations.pop();
                self.remove_left_over(&archive);
            }
            None => drop(stream.generations.pop()),
        }
    }

    fn remove_left_over(&self, archive: &str) {
        if let Err(error) = rustix::fs::unlinkat(&self.directory, archive, rustix::fs::AtFlags::empty()) {
            tracing::warn!(path = archive, %error, "could not remove the file of a rotation that was cut short");
        }
    }

    fn find_generations(&self, inner: &mut Inner, name: &str, log: &Arc<LogSettings>, found: &mut Recovered) {
        let Some(stream) = inner.ledger.streams.get(name) else { return };
        let generations: Vec<Generation> = stream.generations.clone();
        let stream_name: Arc<str> = name.into();
        for generation in &generations {
            let number = generation.number;
            let located = self.locate(name, generation);
            if let Some((source, path, size, stage)) = located {
                if let Some(record) =
                    inner.ledger.streams.get_mut(name).and_then(|s| s.generation_mut(number))
                {
                    record.path = path;
                    record.stage = stage;
                    record.length = record.length.max(size);
                    record.enlist(&log.destinations, now_micros(), |end| cursor_at(&source, end));
                }
                let size = if stage.is_open() { size } else { generation.length };
                inner.subscribe(&stream_name, number, log, source, size, !stage.is_open());
            } else if generation.stage != Stage::Gone {
                if generation.stage.is_open() {
                    found.truncated.push(name.to_owned());
                }
                let lost = lost_bytes(generation, &log.destinations);
                found.lost.extend(lost.into_iter().map(|(to, bytes)| (name.to_owned(), to, bytes)));
                if let Some(record) =
                    inner.ledger.streams.get_mut(name).and_then(|s| s.generation_mut(number))
                {
                    record.stage = Stage::Gone;
                }
            }
        }
        inner.logs.insert(stream_name, log.clone());
    }

    /// Where a generation's bytes are now: source, path, size, stage. None: gone.
    fn locate(&self, stream: &str, generation: &Generation) -> Option<(Source, String, u64, Stage)> {
        match generation.stage {
            Stage::Gone => None,
            Stage::Live | Stage::Old => {
                let (opened, path) = self.find_open(stream, generation)?;
                let stage = if path == stream { Stage::Live } else { Stage::Old };
                Some((Source::Open(Arc::new(opened.file)), path, opened.size, stage))
            }
            Stage::Sealed(_) if !generation.ours => {
                let (opened, path) = self.find_open(stream, generation)?;
                Some((Source::Open(Arc::new(opened.file)), path, generation.length, generation.stage))
            }
            Stage::Sealed(by) => {
                let compressed = format!("{}.gz", generation.path);
                if let Ok(opened) = self.open_log(&generation.path) {
                    if opened.size > generation.length {
                        // Written after it was sealed: to be looked at again.
                        let source = Source::Open(Arc::new(opened.file));
                        return Some((source, generation.path.clone(), opened.size, Stage::Old));
                    }
                    let source = Source::Plain(self.absolute(&generation.path));
                    return Some((source, generation.path.clone(), generation.length, generation.stage));
                }
                self.open_log(&compressed).ok()?;
                Some((
                    Source::Gzip(self.absolute(&compressed)),
                    compressed,
                    generation.length,
                    Stage::Compressed(by),
                ))
            }
            Stage::Compressed(_) => {
                self.open_log(&generation.path).ok()?;
                let source = Source::Gzip(self.absolute(&generation.path));
                Some((source, generation.path.clone(), generation.length, generation.stage))
            }
        }
    }

    /// The file of an open generation: where it was, at the stream's path, or anywhere beside these.
    fn find_open(&self, stream: &str, generation: &Generation) -> Option<(Opened, String)> {
        let fits = |path: &str| -> Option<(Opened, String)> {
            let opened = match self.open_log(path) {
                Ok(opened) => opened,
                Err(error) if error.is_absent() => return None,
                Err(error) => {
                    tracing::warn!(path, %error, "not a log file any more");
                    return None;
                }
            };
            let furthest = generation.furthest();
            let seen = Seen {
                fingerprint: fingerprint_before(&opened.file, furthest.confirmed).ok().flatten(),
                id: opened.id.clone(),
                size: opened.size,
            };
            let remembered = Remembered {
                id: &generation.id,
                length: furthest.confirmed,
                fingerprint: furthest.fingerprint,
            };
            // Without destinations there is no cursor; identity alone decides.
            let same = judge(&remembered, &seen) == Verdict::Same
                || (generation.cursors.is_empty() && generation.id.is_same_file(&seen.id));
            same.then(|| (opened, path.to_owned()))
        };
        fits(&generation.path)
            .or_else(|| fits(stream))
            .or_else(|| self.siblings(stream, &generation.path).iter().find_map(|path| fits(path)))
    }

    /// Files in the directories of a stream and of its generation.
    fn siblings(&self, stream: &str, generation: &str) -> Vec<String> {
        let parents = [Path::new(stream).parent(), Path::new(generation).parent()];
        let mut names = Vec::new();
        for parent in parents.into_iter().flatten() {
            let Ok(entries) = std::fs::read_dir(self.base.join(parent)) else { continue };
            for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()))
            {
                names.extend(parent.join(entry.file_name()).to_str().map(str::to_owned));
            }
        }
        names.sort();
        names.dedup();
        names
    }
}

/// Whether somebody has a file open for writing. Where leases do not work, names are never put back.
fn is_held(file: &std::fs::File) -> bool {
    crate::sys::ask_read_lease(file) == crate::sys::LeaseReply::Refused
}

/// The cursor of a destination that has everything before `position`.
pub(super) fn cursor_at(source: &Source, position: u64) -> Cursor {
    let fingerprint = match source {
        Source::Open(file) => fingerprint_before(file, position).ok().flatten().unwrap_or_default(),
        _ => Fingerprint::default(),
    };
    Cursor { confirmed: position, fingerprint, left_at: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(ino: u64) -> FileId {
        FileId { dev: 1, ino, born: Some(ino as i64), handle: None }
    }

    #[test]
    fn the_directory_tells_how_far_a_rotation_came() {
        let (old, new, other) = (id(1), id(2), id(3));
        assert_eq!(outcome(&old, None, Some(&old)), Outcome::NotBegun);
        assert_eq!(outcome(&old, Some((&new, 0)), Some(&old)), Outcome::Prepared);
        assert_eq!(outcome(&old, Some((&old, 50)), Some(&new)), Outcome::Exchanged);
        assert_eq!(outcome(&old, Some((&old, 50)), None), Outcome::Exchanged);
        assert_eq!(outcome(&old, Some((&other, 7)), Some(&old)), Outcome::Foreign);
    }
}
