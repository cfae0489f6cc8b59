//! Where the threads meet: the volumes that are known, and how to wake those who wait for news.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Notify;

use crate::control::{RotateOutcome, RotateRequest};
use crate::reload::policies::PolicyStatus;
use crate::settings::Settings;
use crate::stream::feed::GenerationKey;
use crate::stream::volume::Volume;

/// Shared by all threads.
#[derive(Debug, Default)]
pub struct Hub {
    settings: RwLock<Arc<Settings>>,
    volumes: RwLock<Vec<Arc<Volume>>>,
    forwarders: RwLock<Vec<Arc<Inbox>>>,
    /// What is known of the policies, and what is wrong with their files.
    policies: RwLock<(BTreeMap<String, PolicyStatus>, Vec<String>)>,
    /// When all logs are to be rotated once.
    rotate_at: RwLock<Option<Timestamp>>,
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
    /// What is to be done, as of now. Whoever works by it looks here again before the next step.
    pub fn settings(&self) -> Arc<Settings> {
        self.settings.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Something else is to be done from now on.
    pub fn set_settings(&self, settings: Arc<Settings>) {
        *self.settings.write().unwrap_or_else(PoisonError::into_inner) = settings;
        self.rotator.wake();
    }

    /// The state of the policies.
    pub fn policies(&self) -> BTreeMap<String, PolicyStatus> {
        self.policies.read().unwrap_or_else(PoisonError::into_inner).0.clone()
    }

    /// What is wrong with their files.
    pub fn config_problems(&self) -> Vec<String> {
        self.policies.read().unwrap_or_else(PoisonError::into_inner).1.clone()
    }

    /// The state of the policies is this now, and that is wrong.
    pub fn set_policies(&self, policies: BTreeMap<String, PolicyStatus>, problems: Vec<String>) {
        *self.policies.write().unwrap_or_else(PoisonError::into_inner) = (policies, problems);
    }

    /// When all logs are to be rotated once.
    pub fn rotate_at(&self) -> Option<Timestamp> {
        *self.rotate_at.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// All logs are to be rotated once at this time.
    pub fn set_rotate_at(&self, at: Option<Timestamp>) {
        let before =
            std::mem::replace(&mut *self.rotate_at.write().unwrap_or_else(PoisonError::into_inner), at);
        if before != at {
            self.rotator.wake();
        }
    }

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

    /// Forgets what concerns other paths than these.
    pub fn keep_rotation_problems(&self, paths: &BTreeSet<PathBuf>) {
        let mut problems = self.rotation_problems.lock().unwrap_or_else(PoisonError::into_inner);
        problems.retain(|path, _| paths.contains(path));
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

    /// Somebody needs to be told no more.
    pub fn remove_forwarder(&self, inbox: &Arc<Inbox>) {
        let mut forwarders = self.forwarders.write().unwrap_or_else(PoisonError::into_inner);
        forwarders.retain(|known| !Arc::ptr_eq(known, inbox));
    }

    /// These files grew.
    pub fn grew(&self, files: &[FeedKey]) {
        for inbox in self.forwarders.read().unwrap_or_else(PoisonError::into_inner).iter() {
            inbox.grown().extend(files.iter().cloned());
            inbox.notify.notify_one();
        }
    }

    /// What was sent is to be proved now: nobody writes any more.
    pub fn hurry_forwarders(&self) {
        for inbox in self.forwarders.read().unwrap_or_else(PoisonError::into_inner).iter() {
            inbox.hurried.store(true, Ordering::Release);
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
    /// Whether the proof of what was sent is wanted now.
    pub hurried: AtomicBool,
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
