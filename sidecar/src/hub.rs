//! Where the threads meet: the volumes that are known, and how to wake those who wait for news.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::Notify;

use crate::control::{RotateOutcome, RotateRequest};
use crate::stream::feed::GenerationKey;
use crate::stream::volume::Volume;

/// Shared by all threads.
#[derive(Debug, Default)]
pub struct Hub {
    volumes: RwLock<Vec<Arc<Volume>>>,
    forwarders: RwLock<Vec<Arc<Inbox>>>,
    /// Directories that cannot be used, and why.
    problems: Mutex<BTreeMap<PathBuf, String>>,
    /// Paths that match and are no logs, and why.
    refusals: Mutex<BTreeMap<PathBuf, String>>,
    /// What keeps rotations from coming to their end, by stream.
    rotation_problems: Mutex<BTreeMap<PathBuf, String>>,
    asked: Mutex<Vec<Asked>>,
    /// Wakes the rotator.
    pub rotator: Waker,
    /// Told when there is a new volume, or one that can keep state at last.
    pub volume_news: Notify,
}

impl Hub {
    /// All volumes with a log file so far.
    pub fn volumes(&self) -> Vec<Arc<Volume>> {
        self.volumes.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Adds a volume.
    pub fn add_volume(&self, volume: Arc<Volume>) {
        self.volumes.write().unwrap_or_else(PoisonError::into_inner).push(volume);
        self.volume_news.notify_one();
    }

    /// A directory cannot be used.
    pub fn set_problem(&self, base: &Path, problem: String) {
        self.problems.lock().unwrap_or_else(PoisonError::into_inner).insert(base.to_owned(), problem);
    }

    /// It can.
    pub fn clear_problem(&self, base: &Path) {
        self.problems.lock().unwrap_or_else(PoisonError::into_inner).remove(base);
    }

    /// Directories that cannot be used, and why.
    pub fn problems(&self) -> BTreeMap<PathBuf, String> {
        self.problems.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Paths that match and are refused now, with the reason: all of them.
    pub fn set_refusals(&self, refusals: BTreeMap<PathBuf, String>) {
        *self.refusals.lock().unwrap_or_else(PoisonError::into_inner) = refusals;
    }

    /// Paths that match and are refused, with the reason.
    pub fn refusals(&self) -> BTreeMap<PathBuf, String> {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Asks the rotator, and waits for what becomes of it.
    pub fn ask_to_rotate(&self, request: RotateRequest) -> RotateOutcome {
        let answer = self.ask(request);
        self.rotator.wake();
        answer.recv().unwrap_or_default()
    }

    /// Asks the rotator; the answer comes when it has come to an end.
    pub fn ask(&self, request: RotateRequest) -> Receiver<RotateOutcome> {
        let (reply, answer) = channel();
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).push(Asked { request, reply });
        answer
    }

    /// What was asked since.
    pub fn take_asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.asked.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A rotation does not come to its end, or does again.
    pub fn set_rotation_problem(&self, path: PathBuf, problem: Option<String>) {
        let mut problems = self.rotation_problems.lock().unwrap_or_else(PoisonError::into_inner);
        match problem {
            Some(problem) => drop(problems.insert(path, problem)),
            None => drop(problems.remove(&path)),
        }
    }

    /// What keeps rotations from coming to their end.
    pub fn rotation_problems(&self) -> Vec<String> {
        let problems = self.rotation_problems.lock().unwrap_or_else(PoisonError::into_inner);
        problems.iter().map(|(path, problem)| format!("{}: {problem}", path.display())).collect()
    }

    /// Changes whenever the set of feeds changes.
    pub fn version(&self) -> u64 {
        let volumes = self.volumes.read().unwrap_or_else(PoisonError::into_inner);
        volumes.iter().map(|volume| volume.version()).sum::<u64>() + volumes.len() as u64
    }

    /// Adds somebody to be told when there is more to forward.
    pub fn add_forwarder(&self, inbox: Arc<Inbox>) {
        self.forwarders.write().unwrap_or_else(PoisonError::into_inner).push(inbox);
    }

    /// These files grew.
    pub fn grew(&self, files: &[FeedKey]) {
        for inbox in self.forwarders.read().unwrap_or_else(PoisonError::into_inner).iter() {
            inbox.grown().extend(files.iter().cloned());
            inbox.notify.notify_one();
        }
    }

    /// Something else changed: look at everything.
    pub fn wake_forwarders(&self) {
        for inbox in self.forwarders.read().unwrap_or_else(PoisonError::into_inner).iter() {
            inbox.notify.notify_one();
        }
    }
}

/// A generation, across volumes: the volume's index, and its key there.
pub type FeedKey = (usize, GenerationKey);

/// What a forwarder is told: which files grew. It keeps each once, so it cannot grow beyond the number of files
/// while its forwarder waits for a receiver.
#[derive(Debug, Default)]
pub struct Inbox {
    grown: Mutex<BTreeSet<FeedKey>>,
    /// Told whenever there is news.
    pub notify: Notify,
}

impl Inbox {
    fn grown(&self) -> MutexGuard<'_, BTreeSet<FeedKey>> {
        self.grown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What grew since the last call.
    pub fn take(&self) -> BTreeSet<FeedKey> {
        std::mem::take(&mut self.grown())
    }
}

/// A wish to rotate, and where to answer.
#[derive(Debug)]
pub struct Asked {
    /// The wish.
    pub request: RotateRequest,
    reply: Sender<RotateOutcome>,
}

impl Asked {
    /// Answers. Whoever asked may have gone.
    pub fn answer(&self, outcome: RotateOutcome) {
        self.reply.send(outcome).ok();
    }
}

/// Wakes one thread; a wake that comes before the wait is not lost.
#[derive(Debug, Default)]
pub struct Waker {
    woken: Mutex<bool>,
    changed: Condvar,
}

impl Waker {
    /// Wakes.
    pub fn wake(&self) {
        *self.woken.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }

    /// Waits until woken, at most for `timeout`.
    pub fn wait(&self, timeout: Duration) {
        let woken = self.woken.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_timeout_while(woken, timeout, |woken| !*woken);
        *waited.unwrap_or_else(PoisonError::into_inner).0 = false;
    }
}
