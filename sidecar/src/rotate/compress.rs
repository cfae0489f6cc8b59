//! Compresses a sealed archive, a piece at a time.
//!
//! In: the directory of the archives, the plain archive's name, a descriptor of it that can only read. Out: steps;
//! at the end the compressed file under its final name. Always: `.gz` exists only whole and synced; a run that is
//! killed at any instruction is resumed behind the last whole member; the plain file is never touched.
//!
//! | on disk | means |
//! |---|---|
//! | plain | not begun |
//! | plain and `.gz.part` | interrupted: [`Compressor::start`] resumes |
//! | plain and `.gz` | done: [`measure`](super::member_file::measure) tells how much the `.gz` holds, then [`remove_source`](super::remove::remove_source) |
//! | `.gz` | finished |

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::unix::fs::FileExt;

use super::attributes::{self, NotCopied, Wanted};
use super::member_file::{ArchiveError, read_full_at, read_member};
use super::members::{Boundary, Decoder, Encoder, MEMBER_BYTES, Member, MemberError};
use super::naming::Form;
use crate::files::directory::Directory;
use crate::files::errno_of;

/// How many members are written before they are synced, so that the last sync does not stall the disk.
const MEMBERS_PER_SYNC: u32 = 32;

/// What one step of a [`Compressor`] did.
#[derive(Debug, PartialEq, Eq)]
pub enum Progress {
    /// One member was written, or found whole and in order after an interruption.
    Member {
        /// Bytes of the plain file that are covered now.
        covered: u64,
    },
    /// The compressed file is complete, synced and under its final name.
    Done(Compressed),
}

/// A finished compressed file.
#[derive(Debug, PartialEq, Eq)]
pub struct Compressed {
    /// Up to which byte of the plain file it goes.
    pub covered: u64,
    /// Its size in bytes.
    pub bytes: u64,
    /// What it could not be given of the plain file's attributes.
    pub not_copied: Vec<NotCopied>,
}

/// Compresses one archive.
#[derive(Debug)]
pub struct Compressor<'a> {
    directory: &'a Directory,
    names: Names,
    source: &'a File,
    from: u64,
    part: File,
    at: Boundary,
    /// Whether members left by an interrupted run may still follow.
    resuming: bool,
    unsynced: u32,
    encoder: Encoder,
    decoder: Decoder,
    plain: Vec<u8>,
    member: Vec<u8>,
}

#[derive(Debug)]
struct Names {
    part: OsString,
    gzip: OsString,
}

impl Names {
    fn of(archive: &OsStr) -> Self {
        let with = |form: Form| {
            let mut name = archive.to_owned();
            name.push(form.extension());
            name
        };
        Names { part: with(Form::GzipPart), gzip: with(Form::Gzip) }
    }
}

impl<'a> Compressor<'a> {
    /// Begins, or goes on with, compressing `source` from byte `from` to its end, into the archive that is called
    /// `archive` when plain. `level` is 1 (fast) to 9 (small).
    ///
    /// # Errors
    ///
    /// [`ArchiveError::Exists`] if the compressed file is there already; else what the system said.
    pub fn start(
        directory: &'a Directory,
        archive: &OsStr,
        source: &'a File,
        from: u64,
        level: u32,
    ) -> Result<Self, ArchiveError> {
        let names = Names::of(archive);
        if let Some(done) = directory.id(&names.gzip)? {
            // Where renaming took two steps, a crash between them left both names.
            directory.remove(&names.part, done)?;
            return Err(ArchiveError::Exists { path: directory.path().join(&names.gzip) });
        }
        let (part, resuming) = match directory.create(&names.part) {
            Ok(file) => (file, false),
            Err(error) if error.is_taken() => (directory.open_own(&names.part)?, true),
            Err(error) => return Err(error.into()),
        };
        let (at, encoder, decoder) = (Boundary::default(), Encoder::new(level), Decoder::default());
        let (plain, member) = (Vec::new(), Vec::new());
        Ok(Self {
            directory,
            names,
            source,
            from,
            part,
            at,
            resuming,
            unsynced: 0,
            encoder,
            decoder,
            plain,
            member,
        })
    }

    /// Does one step: a member of 1 MiB at most. After an error, calling again goes on where it failed.
    ///
    /// # Errors
    ///
    /// What the system said. Nothing is lost.
    pub fn step(&mut self) -> Result<Progress, ArchiveError> {
        if self.resuming {
            if let Some(member) = self.find_whole_member()? {
                return Ok(self.advance(member));
            }
            self.part.set_len(self.at.compressed).map_err(|error| self.failed("truncate", &error))?;
            self.resuming = false;
        }
        self.read_source(MEMBER_BYTES)?;
        // An empty file needs one member all the same: no gzip tool takes an empty file for a compressed one.
        if self.plain.is_empty() && self.at.compressed > 0 {
            return self.finish().map(Progress::Done);
        }
        let member =
            self.encoder.encode(&self.plain, &mut self.member).map_err(|error| self.bad_member(error))?;
        let written = self.part.write_all_at(&self.member, self.at.compressed);
        written.map_err(|error| self.failed("write", &error))?;
        self.unsynced += 1;
        if self.unsynced >= MEMBERS_PER_SYNC {
            self.part.sync_data().map_err(|error| self.failed("sync", &error))?;
            self.unsynced = 0;
        }
        Ok(self.advance(member))
    }

    fn advance(&mut self, member: Member) -> Progress {
        self.at = self.at.after(member);
        Progress::Member { covered: self.covered() }
    }

    fn covered(&self) -> u64 {
        self.from + self.at.uncompressed
    }

    /// The member that an interrupted run wrote here, if it is whole and holds what the plain file holds.
    fn find_whole_member(&mut self) -> Result<Option<Member>, ArchiveError> {
        let length = self.part.metadata().map_err(|error| self.failed("look at", &error))?.len();
        let found = read_member(&self.part, self.at, length, &mut self.member)
            .map_err(|error| self.failed("read", &error))?
            .and_then(|_| self.decoder.decode(&self.member, &mut self.plain));
        let Ok(member) = found else { return Ok(None) };
        let decoded = std::mem::take(&mut self.plain);
        self.read_source(decoded.len())?;
        Ok((decoded == self.plain).then_some(member))
    }

    /// Reads the next bytes of the plain file, fewer only at its end.
    fn read_source(&mut self, bytes: usize) -> Result<(), ArchiveError> {
        let offset = self.covered();
        self.plain.resize(bytes, 0);
        let read = read_full_at(self.source, &mut self.plain, offset);
        let read = read
            .map_err(|error| self.directory.io("read the source of", &self.names.part, errno_of(&error)))?;
        self.plain.truncate(read);
        Ok(())
    }

    /// Makes the file look like the plain one and gives it its name. The order matters: a name must never stand
    /// for something that a power cut could still change.
    fn finish(&mut self) -> Result<Compressed, ArchiveError> {
        let mut not_copied = attributes::copy(self.source, &self.part, Wanted::default());
        not_copied.extend(attributes::copy_modification_time(self.source, &self.part));
        self.part.sync_all().map_err(|error| self.failed("sync", &error))?;
        self.directory.rename_to_free(&self.names.part, &self.names.gzip)?;
        self.directory.sync()?;
        Ok(Compressed { covered: self.covered(), bytes: self.at.compressed, not_copied })
    }

    fn failed(&self, action: &'static str, error: &std::io::Error) -> ArchiveError {
        self.directory.io(action, &self.names.part, errno_of(error)).into()
    }

    fn bad_member(&self, error: MemberError) -> ArchiveError {
        let path = self.directory.path().join(&self.names.part);
        ArchiveError::Member { path, error, at: self.at.compressed }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::fs::{self, OpenOptions, Permissions};
    use std::io::Write;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::process::Command;

    use super::*;
    use crate::rotate::member_file::measure;
    use crate::rotate::members::parse_header;

    pub const ARCHIVE: &str = "app.log.20261121T074855Z.000001";

    pub struct Scene {
        pub temporary: tempfile::TempDir,
        pub directory: Directory,
        pub source: File,
    }

    impl Scene {
        pub fn new(content: &[u8]) -> Self {
            let temporary = tempfile::tempdir().unwrap();
            fs::write(temporary.path().join(ARCHIVE), content).unwrap();
            let directory = Directory::open(temporary.path()).unwrap();
            let source = directory.open_file(OsStr::new(ARCHIVE)).unwrap();
            Scene { temporary, directory, source }
        }

        pub fn path(&self, extension: &str) -> std::path::PathBuf {
            self.temporary.path().join(format!("{ARCHIVE}{extension}"))
        }

        pub fn compressor(&self) -> Compressor<'_> {
            Compressor::start(&self.directory, OsStr::new(ARCHIVE), &self.source, 0, 1).unwrap()
        }

        pub fn compress(&self) -> Compressed {
            finish(&mut self.compressor())
        }

        fn unzipped(&self) -> Vec<u8> {
            let path = self.path(".gz");
            let tested = Command::new("gzip").arg("-t").arg(&path).output().unwrap();
            assert!(tested.status.success(), "{tested:?}");
            let unzipped = Command::new("gzip").arg("-dc").arg(&path).output().unwrap();
            assert!(unzipped.status.success() && unzipped.stderr.is_empty(), "{unzipped:?}");
            unzipped.stdout
        }
    }

    pub fn finish(compressor: &mut Compressor<'_>) -> Compressed {
        loop {
            if let Progress::Done(done) = compressor.step().unwrap() {
                return done;
            }
        }
    }

    /// Numbered lines, `bytes` long in all.
    pub fn lines(bytes: usize) -> Vec<u8> {
        let mut lines = Vec::with_capacity(bytes + 64);
        let mut number = 0_u64;
        while lines.len() < bytes {
            writeln!(lines, "line {number} {:x}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15)).unwrap();
            number += 1;
        }
        lines.truncate(bytes);
        lines
    }

    #[test]
    fn the_gzip_of_the_system_reads_what_we_write() {
        for bytes in [0, 1, MEMBER_BYTES - 1, MEMBER_BYTES, MEMBER_BYTES + 1, 3 * MEMBER_BYTES + 77] {
            let content = lines(bytes);
            let scene = Scene::new(&content);
            let done = scene.compress();
            assert_eq!(done.covered, bytes as u64);
            assert_eq!(done.not_copied, []);
            assert_eq!(done.bytes, fs::metadata(scene.path(".gz")).unwrap().len());
            assert!(scene.unzipped() == content, "{bytes}");
            assert!(!scene.path(".gz.part").exists());
            let measured = measure(&scene.directory, OsStr::new(&format!("{ARCHIVE}.gz"))).unwrap();
            assert_eq!(measured, Boundary { compressed: done.bytes, uncompressed: bytes as u64 });
        }
    }

    #[test]
    fn mode_and_time_of_the_plain_file_are_kept() {
        let scene = Scene::new(b"x\n");
        fs::set_permissions(scene.path(""), Permissions::from_mode(0o644)).unwrap();
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_600_000_000);
        OpenOptions::new().write(true).open(scene.path("")).unwrap().set_modified(time).unwrap();
        scene.compress();
        let compressed = fs::metadata(scene.path(".gz")).unwrap();
        assert_eq!(compressed.mode() & 0o7777, 0o644);
        assert_eq!(compressed.modified().unwrap(), time);
    }

    #[test]
    fn an_interrupted_run_resumes_wherever_the_part_ends() {
        let content = lines(2 * MEMBER_BYTES + 100);
        let whole = Scene::new(&content);
        whole.compress();
        let compressed = fs::read(whole.path(".gz")).unwrap();
        let first = parse_header(&compressed, compressed.len() as u64).unwrap().compressed as usize;
        let second = first + parse_header(&compressed[first..], u64::MAX).unwrap().compressed as usize;
        for cut in [0, 1, 23, 24, first - 1, first, first + 5, second, second + 30, compressed.len()] {
            let scene = Scene::new(&content);
            fs::write(scene.path(".gz.part"), &compressed[..cut]).unwrap();
            let mut compressor = scene.compressor();
            let done = finish(&mut compressor);
            assert_eq!(done.covered, content.len() as u64);
            assert!(fs::read(scene.path(".gz")).unwrap() == compressed, "{cut}");
        }
    }

    #[test]
    fn a_part_whose_blocks_never_reached_the_disk_is_begun_anew_from_there() {
        let content = lines(2 * MEMBER_BYTES);
        let whole = Scene::new(&content);
        whole.compress();
        let mut damaged = fs::read(whole.path(".gz")).unwrap();
        let first = parse_header(&damaged, damaged.len() as u64).unwrap().compressed as usize;
        for byte in &mut damaged[first + 4_096..] {
            *byte = 0;
        }
        let scene = Scene::new(&content);
        fs::write(scene.path(".gz.part"), &damaged).unwrap();
        scene.compress();
        assert!(scene.unzipped() == content);
    }

    #[test]
    fn a_part_of_another_file_is_not_resumed() {
        let other = Scene::new(&lines(MEMBER_BYTES).iter().rev().copied().collect::<Vec<_>>());
        other.compress();
        let content = lines(MEMBER_BYTES + 5);
        let scene = Scene::new(&content);
        fs::copy(other.path(".gz"), scene.path(".gz.part")).unwrap();
        scene.compress();
        assert!(scene.unzipped() == content);
    }

    #[test]
    fn a_run_can_stop_after_every_step() {
        let content = lines(3 * MEMBER_BYTES + 1);
        let scene = Scene::new(&content);
        let mut covered = 0;
        for round in 1.. {
            let mut compressor = scene.compressor();
            let progress = (0..round).map(|_| compressor.step().unwrap()).last().unwrap();
            match progress {
                Progress::Member { covered: now } => {
                    assert!(now > covered);
                    covered = now;
                }
                Progress::Done(_) => break,
            }
        }
        assert!(scene.unzipped() == content);
    }

    #[test]
    fn a_finished_archive_is_never_replaced() {
        let scene = Scene::new(b"x\n");
        fs::write(scene.path(".gz"), "precious").unwrap();
        let started = Compressor::start(&scene.directory, OsStr::new(ARCHIVE), &scene.source, 0, 6);
        assert!(matches!(started, Err(ArchiveError::Exists { .. })));
        // Even if it appears while we compress.
        fs::remove_file(scene.path(".gz")).unwrap();
        let mut compressor = scene.compressor();
        compressor.step().unwrap();
        fs::write(scene.path(".gz"), "precious").unwrap();
        let Err(ArchiveError::File(error)) = compressor.step() else { panic!() };
        assert!(error.is_taken());
        assert_eq!(fs::read(scene.path(".gz")).unwrap(), b"precious");
    }

    #[test]
    fn a_rename_that_stopped_between_two_names_is_completed() {
        let scene = Scene::new(b"x\n");
        scene.compress();
        fs::hard_link(scene.path(".gz"), scene.path(".gz.part")).unwrap();
        let started = Compressor::start(&scene.directory, OsStr::new(ARCHIVE), &scene.source, 0, 6);
        assert!(matches!(started, Err(ArchiveError::Exists { .. })));
        assert!(!scene.path(".gz.part").exists());
        assert_eq!(scene.unzipped(), b"x\n");
    }

    #[test]
    fn a_foreign_or_cut_file_cannot_be_measured() {
        let scene = Scene::new(&lines(100));
        scene.compress();
        let name = OsString::from(format!("{ARCHIVE}.gz"));
        let whole = fs::read(scene.path(".gz")).unwrap();
        fs::write(scene.path(".gz"), &whole[..whole.len() - 1]).unwrap();
        let error = measure(&scene.directory, &name).unwrap_err().to_string();
        assert!(error.ends_with(".gz: the compressed file ends within a member (at byte 0)"), "{error}");
        fs::write(scene.path(".gz"), "no gzip at all, but long enough for a header").unwrap();
        assert!(measure(&scene.directory, &name).is_err());
    }
}
