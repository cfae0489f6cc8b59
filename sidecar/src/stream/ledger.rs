//! What a restart needs to know, as plain values: streams, generations, cursors, marks, rotation intents.
//! Pure: encode and decode only; [`super::store`] puts the bytes on disk.
//!
//! One ledger stands for one state directory. Paths in it are relative to the directory that holds it, so it
//! stays true when the volume is mounted elsewhere.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::identity::{FileId, Fingerprint};
use super::marks::Marks;
use crate::rotate::breaker;

/// The version written; a ledger of another version is not understood and not overwritten.
pub const VERSION: u32 = 1;

/// Everything one state directory remembers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ledger {
    /// Format version, [`VERSION`].
    pub version: u32,
    /// By path relative to the state directory's parent.
    #[serde(default)]
    pub streams: BTreeMap<String, Stream>,
    /// Signal targets that died of our signal.
    #[serde(default)]
    pub breaker: breaker::Breaker,
}

impl Default for Ledger {
    fn default() -> Self {
        Ledger { version: VERSION, streams: BTreeMap::new(), breaker: breaker::Breaker::default() }
    }
}

/// One log path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stream {
    /// When it was last rotated, or first seen (microseconds since the epoch): schedules count from here.
    pub rotated_at: i64,
    /// When it was rotated before that, in case the last rotation is undone.
    #[serde(skip)]
    pub rotated_before: i64,
    /// The highest number any of its generations had.
    #[serde(default)]
    pub issued: u64,
    /// A rotation that was begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intent: Option<Intent>,
    /// Names are being put back: like an intent, but needs no record on disk, because the next start sees it from
    /// the files.
    #[serde(skip)]
    pub putting_back: bool,
    /// Ascending by number.
    pub generations: Vec<Generation>,
}

/// A rotation that was begun: written and synced before the first change to the directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Intent {
    /// The archive's path, relative like all paths here.
    pub archive: String,
    /// Which file is to be archived.
    pub old: FileId,
}

/// One file that carried the stream's path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Generation {
    /// Counts from 1 within the stream, never reused.
    pub number: u64,
    /// Which file.
    pub id: FileId,
    /// Where it is now.
    pub path: String,
    /// How far its life has come.
    pub stage: Stage,
    /// The longest it was seen, in bytes.
    pub length: u64,
    /// When it stopped being the live file (microseconds since the epoch).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retired_at: Option<i64>,
    /// Boot id and boot-clock seconds at that moment, against which the wall clock's word is checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retired_boot: Option<BootTime>,
    /// Whether the name is one of ours: only such files are ever compressed or deleted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ours: bool,
    /// By destination.
    #[serde(default)]
    pub cursors: BTreeMap<String, Cursor>,
    /// When its bytes were first seen. They change ten times a second while a log grows, so they are stored apart:
    /// see [`MarkBook`].
    #[serde(skip)]
    pub marks: Marks,
}

/// A moment on the boot clock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BootTime {
    /// Which boot, from `/proc/sys/kernel/random/boot_id`.
    pub boot: u64,
    /// CLOCK_BOOTTIME in seconds.
    pub seconds: u64,
}

/// How far a generation's life has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Stage {
    /// It carries the stream's path.
    Live,
    /// It lost the path; somebody may still write it.
    Old,
    /// Nobody writes it any more: `length` is final.
    Sealed(SealedBy),
    /// As sealed, and its content is in a gzip file of ours.
    Compressed(SealedBy),
    /// It was truncated or deleted by somebody else: what was not read is lost, and counted.
    Gone,
}

/// What says that nobody writes a generation any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SealedBy {
    /// Seen: no process has it open for writing.
    Proof,
    /// Presumed: it has been quiet while its successor grew; nothing better can be seen on this volume.
    Quiet,
}

/// How far one destination has confirmed a generation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cursor {
    /// All bytes before this position are confirmed.
    pub confirmed: u64,
    /// Of the bytes before it.
    pub fingerprint: Fingerprint,
    /// Since when the log does not name the destination any more (microseconds since the epoch).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_at: Option<i64>,
}

impl Stage {
    /// Whether the generation can still grow.
    pub fn is_open(self) -> bool {
        matches!(self, Stage::Live | Stage::Old)
    }

    /// Whether nobody writes it any more and its bytes are still there.
    pub fn is_sealed(self) -> bool {
        matches!(self, Stage::Sealed(_) | Stage::Compressed(_))
    }
}

impl Generation {
    /// Whether every one of `destinations` has confirmed all of it.
    pub fn is_confirmed_by<'a>(&self, destinations: impl IntoIterator<Item = &'a str>) -> bool {
        destinations
            .into_iter()
            .all(|name| self.cursors.get(name).is_some_and(|cursor| cursor.confirmed >= self.length))
    }

    /// A sealed file that somebody else moved away: not ours to compress or delete, and no new log either.
    pub fn is_foreign_archive(&self) -> bool {
        self.stage.is_sealed() && !self.ours
    }

    /// It carries the stream's path, again.
    pub fn become_live(&mut self, path: &str) {
        self.stage = Stage::Live;
        self.path = path.to_owned();
        self.ours = false;
        self.retired_at = None;
        self.retired_boot = None;
    }

    /// The cursor that went furthest: what identity is judged by.
    pub fn furthest(&self) -> Cursor {
        self.cursors.values().copied().max_by_key(|cursor| cursor.confirmed).unwrap_or_default()
    }
}

impl Stream {
    /// The number the next generation gets.
    pub fn next_number(&self) -> u64 {
        self.issued.max(self.generations.last().map_or(0, |last| last.number)) + 1
    }

    /// The generation that carries the path.
    pub fn live(&self) -> Option<&Generation> {
        self.generations.iter().rev().find(|generation| generation.stage == Stage::Live)
    }

    /// The live generation stands at `archive` now, a name of ours. Returns its number, if there was one.
    pub fn archive_live(&mut self, archive: &str, at: i64, boot: Option<BootTime>) -> Option<u64> {
        let live = self.generations.iter_mut().rev().find(|known| known.stage == Stage::Live)?;
        live.stage = Stage::Old;
        live.path = archive.to_owned();
        live.ours = true;
        live.retired_at = Some(at);
        live.retired_boot = boot;
        Some(live.number)
    }

    /// Whether the rotator is changing names: what stands where means nothing until it is done.
    pub fn is_busy(&self) -> bool {
        self.intent.is_some() || self.putting_back
    }

    /// By number.
    pub fn generation(&self, number: u64) -> Option<&Generation> {
        self.generations.iter().find(|generation| generation.number == number)
    }

    /// By number, to change it.
    pub fn generation_mut(&mut self, number: u64) -> Option<&mut Generation> {
        self.generations.iter_mut().find(|generation| generation.number == number)
    }
}

/// The marks of all generations that have any, by stream and number.
pub type MarkBook = BTreeMap<String, BTreeMap<u64, Marks>>;

/// Why a ledger cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Not JSON of this shape.
    #[error("state does not parse: {0}")]
    Malformed(#[from] serde_json::Error),
    /// Written by another version of Capstan.
    #[error("state has version {0}, this sidecar knows version {VERSION}")]
    Version(u32),
}

impl Ledger {
    /// As stored.
    pub fn encode(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(self)
    }

    /// The marks, to be stored apart.
    pub fn encode_marks(&self) -> Result<Vec<u8>, serde_json::Error> {
        let marks = |stream: &Stream| -> BTreeMap<u64, Marks> {
            let marked = stream.generations.iter().filter(|generation| !generation.marks.is_empty());
            marked.map(|generation| (generation.number, generation.marks.clone())).collect()
        };
        let book: MarkBook = self
            .streams
            .iter()
            .map(|(name, stream)| (name.clone(), marks(stream)))
            .filter(|(_, marks)| !marks.is_empty())
            .collect();
        serde_json::to_vec(&book)
    }

    /// Takes marks that were stored apart. Without them a line that is sent again gets another time, and no more.
    pub fn take_marks(&mut self, mut book: MarkBook) {
        for (name, stream) in &mut self.streams {
            let Some(marks) = book.get_mut(name) else { continue };
            for generation in &mut stream.generations {
                generation.marks = marks.remove(&generation.number).unwrap_or_default();
            }
        }
    }

    /// From what was stored.
    pub fn decode(bytes: &[u8]) -> Result<Ledger, DecodeError> {
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        let Versioned { version } = serde_json::from_slice(bytes)?;
        if version != VERSION {
            return Err(DecodeError::Version(version));
        }
        Ok(serde_json::from_slice(bytes)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generation(number: u64, stage: Stage, length: u64, confirmed: &[(&str, u64)]) -> Generation {
        let cursor = |at| Cursor { confirmed: at, ..Cursor::default() };
        Generation {
            number,
            id: FileId { dev: 1, ino: number, born: Some(5), handle: Some("ab".into()) },
            path: format!("app.log.{number}"),
            stage,
            length,
            retired_at: Some(3),
            retired_boot: Some(BootTime { boot: u64::MAX, seconds: 4 }),
            ours: true,
            cursors: confirmed.iter().map(|(name, at)| ((*name).to_owned(), cursor(*at))).collect(),
            marks: Marks::default(),
        }
    }

    #[test]
    fn what_is_encoded_decodes_equal() {
        let mut ledger = Ledger::default();
        let mut first = generation(1, Stage::Compressed(SealedBy::Proof), 9, &[("a", 9)]);
        first.marks.observe(0, 1);
        let intent = Intent { archive: "x".into(), old: FileId::default() };
        let generations = vec![first, generation(2, Stage::Live, 0, &[])];
        ledger.streams.insert(
            "app.log".into(),
            Stream { rotated_at: 7, issued: 2, intent: Some(intent), generations, ..Stream::default() },
        );
        let mut decoded = Ledger::decode(&ledger.encode().unwrap()).unwrap();
        assert_ne!(decoded, ledger, "marks are stored apart");
        decoded.take_marks(serde_json::from_slice(&ledger.encode_marks().unwrap()).unwrap());
        assert_eq!(decoded, ledger);
    }

    #[test]
    fn a_ledger_of_another_version_is_refused_by_name() {
        let error = Ledger::decode(br#"{"version":2,"things":[]}"#).unwrap_err();
        assert_eq!(error.to_string(), "state has version 2, this sidecar knows version 1");
    }

    #[test]
    fn a_generation_is_confirmed_only_when_every_current_destination_has_all_of_it() {
        let generation = generation(1, Stage::Old, 10, &[("a", 10), ("b", 9)]);
        assert!(generation.is_confirmed_by(["a"]));
        assert!(!generation.is_confirmed_by(["a", "b"]));
        assert!(!generation.is_confirmed_by(["c"]), "a destination that never saw it has not confirmed it");
        assert!(generation.is_confirmed_by([]), "without destinations nothing holds it");
    }

    #[test]
    fn numbers_are_never_reused() {
        let mut stream =
            Stream { generations: vec![generation(7, Stage::Live, 0, &[])], ..Stream::default() };
        assert_eq!(stream.next_number(), 8);
        assert_eq!(stream.live().map(|g| g.number), Some(7));
        stream.generations[0].stage = Stage::Gone;
        assert_eq!(stream.live(), None);
        stream.issued = 9;
        stream.generations.clear();
        assert_eq!(stream.next_number(), 10, "also when all that had numbers is gone");
    }
}
