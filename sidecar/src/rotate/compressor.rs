//! The thread that compresses sealed archives, one piece at a time, so that it can stop at any moment.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::compress::{Compressor as Archive, Progress};
use super::member_file::{ArchiveError, measure};
use super::members::Encoder;
use super::naming::Form;
use super::probe::{Leases, probe_lease};
use super::remove::{Removal, remove_source};
use super::reopen::Answer;
use crate::files::FileError;
use crate::files::directory::Directory;
use crate::hub::Hub;
use crate::metrics::Metrics;
use crate::stream::feed::GenerationKey;
use crate::stream::ledger::{SealedBy, Stage};
use crate::stream::store::StoreError;
use crate::stream::volume::Volume;

/// On logs as small as gzip's own default of 6, and nearly twice as fast.
const LEVEL: u32 = 3;

/// How long an archive that could not be compressed is left alone: most likely the disk is full.
const RETRY: Duration = Duration::from_secs(10);

/// Why an archive stays plain for now.
#[derive(Debug, thiserror::Error)]
enum CompressError {
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{0}: {1}")]
    Io(PathBuf, std::io::Error),
}

/// One archive to compress.
#[derive(Clone)]
pub struct Job {
    /// Its volume.
    pub volume: Arc<Volume>,
    /// Its generation.
    pub key: GenerationKey,
    /// Whether leases tell writers on this volume.
    pub leases: Leases,
}

/// What is known of an archive that was handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    /// Waiting for its turn, or being compressed.
    Under,
    /// It failed; not to be tried again before this.
    FailedUntil(Instant),
}

type InWork = Arc<Mutex<HashMap<(PathBuf, GenerationKey), Work>>>;

/// Hands archives to the thread, each once.
pub struct Jobs {
    sender: Sender<Job>,
    in_work: InWork,
}

/// The thread.
pub struct Compressor {
    receiver: Receiver<Job>,
    in_work: InWork,
    hub: Arc<Hub>,
    metrics: Arc<Metrics>,
    stop: Arc<AtomicBool>,
}

impl Jobs {
    /// Compresses an archive, unless it is being compressed already, or has just failed to be.
    pub fn add(&self, job: Job) {
        let name = (job.volume.base.clone(), job.key.clone());
        let mut in_work = lock(&self.in_work);
        match in_work.get(&name) {
            Some(Work::Under) => return,
            Some(Work::FailedUntil(then)) if Instant::now() < *then => return,
            _ => in_work.insert(name, Work::Under),
        };
        drop(in_work);
        if self.sender.send(job).is_err() {
            tracing::error!("the thread that compresses is gone");
        }
    }

    /// Whether an archive is being compressed, and must be left alone.
    pub fn contains(&self, volume: &Volume, key: &GenerationKey) -> bool {
        lock(&self.in_work).get(&(volume.base.clone(), key.clone())) == Some(&Work::Under)
    }
}

fn lock(in_work: &InWork) -> std::sync::MutexGuard<'_, HashMap<(PathBuf, GenerationKey), Work>> {
    in_work.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Compressor {
    /// A thread's body, and how to give it work.
    pub fn new(hub: Arc<Hub>, metrics: Arc<Metrics>, stop: Arc<AtomicBool>) -> (Jobs, Compressor) {
        let (sender, receiver) = channel();
        let in_work = InWork::default();
        (Jobs { sender, in_work: in_work.clone() }, Compressor { receiver, in_work, hub, metrics, stop })
    }

    /// Runs until stopped, or until whoever hands out work is gone. What is half done is gone on with at the next
    /// start.
    pub fn run(self) {
        while let Ok(job) = self.receiver.recv() {
            if self.stop.load(Ordering::Acquire) {
                return;
            }
            self.work(&job);
            self.hub.rotator.wake();
        }
    }

    /// Does what is there to do, and returns: for a program that does not stay.
    pub fn run_dry(&self) {
        while let Ok(job) = self.receiver.try_recv() {
            self.work(&job);
        }
    }

    fn work(&self, job: &Job) {
        let stream = &*job.key.stream;
        let name = (job.volume.base.clone(), job.key.clone());
        let done = self.compress(job);
        match &done {
            Ok(true) => tracing::info!(stream, generation = job.key.number, "archive compressed"),
            Ok(false) => {}
            Err(error) => {
                if let Some(feed) = job.volume.feed(&job.key) {
                    self.metrics.compress_failed(&feed.log());
                }
                tracing::warn!(stream, generation = job.key.number, %error, "archive stays plain for now");
            }
        }
        match done {
            Ok(_) => lock(&self.in_work).remove(&name),
            Err(_) => lock(&self.in_work).insert(name, Work::FailedUntil(Instant::now() + RETRY)),
        };
    }

    /// Returns whether the archive is compressed now; false if stopped, or if somebody writes to it after all.
    fn compress(&self, job: &Job) -> Result<bool, CompressError> {
        let Some((directory, path)) = place(job)? else { return Ok(false) };
        let name = path.file_name().unwrap_or(OsStr::new(""));
        let source = directory.open_file(name)?;
        let covered = match Archive::start(&directory, name, &source, 0, LEVEL) {
            Ok(archive) => match self.run_archive(archive)? {
                Some(covered) => covered,
                None => return Ok(false),
            },
            // A crash came between the last two steps.
            Err(ArchiveError::Exists { .. }) => measure(&directory, &gzip_name(name))?.uncompressed,
            Err(error) => return Err(error.into()),
        };
        match remove_source(&directory, name, &source, covered, |file| self.is_unheld(job, file))? {
            Removal::Removed | Removal::Replaced => {}
            Removal::Held | Removal::LateBytes { removed: false, .. } => {
                return self.write_on(job, &directory, name, source);
            }
            Removal::LateBytes { from, to, removed: true } => {
                append(&directory, name, &source, from, to)?;
                job.volume.extended(&job.key, to);
            }
        }
        // Written between the seal and now: compressed with the rest, and to be forwarded.
        job.volume.extended(&job.key, covered);
        let gzip = path.with_file_name(gzip_name(name));
        job.volume.compressed(&job.key, &gzip.to_string_lossy())?;
        Ok(true)
    }

    fn run_archive(&self, mut archive: Archive<'_>) -> Result<Option<u64>, CompressError> {
        loop {
            if self.stop.load(Ordering::Acquire) {
                return Ok(None);
            }
            if let Progress::Done(done) = archive.step()? {
                return Ok(Some(done.covered));
            }
        }
    }

    /// An archive that was presumed to be left has nothing better to be asked.
    fn is_unheld(&self, job: &Job, file: &File) -> bool {
        match probe_lease(file, job.leases) {
            Answer::Held => false,
            Answer::Unheld => true,
            Answer::Unknown(_) => {
                let record = job.volume.stream(&job.key.stream);
                let stage =
                    record.and_then(|stream| stream.generation(job.key.number).map(|known| known.stage));
                stage.is_some_and(|stage| matches!(stage, Stage::Sealed(SealedBy::Quiet | SealedBy::Proof)))
            }
        }
    }

    /// Somebody writes to it: the plain file holds everything, so the compressed one goes.
    fn write_on(
        &self,
        job: &Job,
        directory: &Directory,
        name: &OsStr,
        source: File,
    ) -> Result<bool, CompressError> {
        tracing::warn!(
            stream = &*job.key.stream,
            generation = job.key.number,
            "somebody writes to a sealed archive; it is read on, and stays plain"
        );
        let gzip = gzip_name(name);
        if let Some(id) = directory.id(&gzip)? {
            directory.remove(&gzip, id)?;
        }
        job.volume.unsealed(&job.key, source);
        Ok(false)
    }
}

/// Bytes that came in the moment in which the plain file's name was removed: they follow as members of their own.
fn append(
    directory: &Directory,
    name: &OsStr,
    source: &File,
    from: u64,
    to: u64,
) -> Result<(), CompressError> {
    let gzip = gzip_name(name);
    let failed = |error| CompressError::Io(directory.path().join(&gzip), error);
    let file = directory.open_own(&gzip)?;
    let mut late = vec![0; usize::try_from(to - from).unwrap_or(0)];
    source.read_exact_at(&mut late, from).map_err(failed)?;
    let (mut encoder, mut member) = (Encoder::new(LEVEL), Vec::new());
    for piece in late.chunks(super::members::MEMBER_BYTES) {
        if let Err(error) = encoder.encode(piece, &mut member) {
            return Err(ArchiveError::Member { path: directory.path().join(&gzip), error, at: from }.into());
        }
        let end = file.metadata().map_err(failed)?.len();
        file.write_all_at(&member, end).map_err(failed)?;
    }
    file.sync_all().map_err(failed)
}

/// The archive's directory and path, if it is still to be compressed.
fn place(job: &Job) -> Result<Option<(Directory, PathBuf)>, CompressError> {
    let record = job.volume.stream(&job.key.stream);
    let generation = record.as_ref().and_then(|stream| stream.generation(job.key.number));
    let Some(generation) = generation.filter(|known| known.ours && matches!(known.stage, Stage::Sealed(_)))
    else {
        return Ok(None);
    };
    let path = PathBuf::from(&generation.path);
    let directory = job.volume.directory_of(&path)?;
    Ok(Some((directory, path)))
}

fn gzip_name(name: &OsStr) -> std::ffi::OsString {
    let mut name = name.to_owned();
    name.push(Form::Gzip.extension());
    name
}
