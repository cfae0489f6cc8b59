//! Archives that no ledger knows of, because the state was lost: taken over, so that their lines are forwarded and
//! they are kept within limits like any other.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::feed::Source;
use super::ledger::{Cursor, Generation, SealedBy, Stage};
use super::open::Opened;
use super::volume::{Inner, Volume};
use crate::rotate::member_file::measure;
use crate::rotate::naming::{ArchiveName, Form, parse_archive};
use crate::settings::LogSettings;

/// No log was rotated more often than this; a file with a higher number is not ours.
const HIGHEST: u64 = 1_000_000_000_000;

impl Volume {
    /// Adds the archives of the stream at `path` to a ledger that has no record of it yet. Like files found at the
    /// very first start they are read from where `readFrom` says.
    pub(super) fn adopt_archives(&self, inner: &mut Inner, path: &str, log: &Arc<LogSettings>) {
        let stream = Path::new(path);
        let (parent, file) =
            (stream.parent().unwrap_or(Path::new("")), stream.file_name().unwrap_or_default());
        let configured = log.log.rotate.as_ref().and_then(|rotate| rotate.archive.directory.as_ref());
        let mut directories = vec![parent.to_owned()];
        directories.extend(configured.map(|directory| parent.join(directory.as_path())));
        let mut found: Vec<(ArchiveName, PathBuf)> = Vec::new();
        for directory in directories {
            let Ok(entries) = std::fs::read_dir(self.base.join(&directory)) else { continue };
            for name in entries.flatten().map(|entry| entry.file_name()) {
                let archive = parse_archive(file, &name).filter(|archive| archive.form != Form::GzipPart);
                found.extend(archive.map(|archive| (archive, directory.join(&name))));
            }
        }
        // A plain file beside its compressed one is the whole of it: what was compressed last was not finished.
        found.sort_by_key(|(archive, _)| (archive.generation, archive.time, archive.form != Form::Plain));
        found.dedup_by_key(|(archive, _)| archive.generation);
        for (archive, at) in found.into_iter().filter(|(archive, _)| archive.generation <= HIGHEST) {
            self.adopt(inner, path, log, &archive, &at);
        }
    }

    fn adopt(&self, inner: &mut Inner, path: &str, log: &Arc<LogSettings>, archive: &ArchiveName, at: &Path) {
        let Some(at) = at.to_str() else { return };
        let Ok(opened) = self.open_log(at) else { return };
        // Somebody may still write a plain one: the rotator finds out.
        let (stage, length) = match archive.form {
            Form::Plain => (Stage::Old, opened.size),
            _ => match self.uncompressed_length(at) {
                Some(length) => (Stage::Compressed(SealedBy::Proof), length),
                None => return,
            },
        };
        let from_end = inner.first_start && log.log.read_from == capstan_config::ReadFrom::End;
        let cursor = Cursor { confirmed: if from_end { length } else { 0 }, ..Cursor::default() };
        let record = inner.ledger.streams.entry(path.to_owned()).or_default();
        record.issued = record.issued.max(archive.generation);
        record.generations.push(Generation {
            number: archive.generation,
            id: opened.id.clone(),
            path: at.to_owned(),
            stage,
            length,
            retired_at: Some(archive.time.as_microsecond()),
            retired_boot: None,
            ours: true,
            cursors: log.destinations.iter().map(|name| (name.clone(), cursor)).collect(),
            marks: Default::default(),
        });
        let source = self.source_of(stage, at, opened);
        inner.subscribe(&path.into(), archive.generation, log, source, length, !stage.is_open());
        tracing::warn!(path = at, "an archive that no state knows of is taken over");
    }

    fn source_of(&self, stage: Stage, at: &str, opened: Opened) -> Source {
        match stage {
            Stage::Compressed(_) => Source::Gzip(self.absolute(at)),
            _ => Source::Open(Arc::new(opened.file)),
        }
    }

    /// None for a file that only looks like one of ours.
    fn uncompressed_length(&self, at: &str) -> Option<u64> {
        let path = Path::new(at);
        let directory = self.directory_of(path).ok()?;
        measure(&directory, path.file_name()?).ok().map(|end| end.uncompressed)
    }
}
