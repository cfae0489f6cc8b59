//! The thread that finds files and sees them grow, truncated, replaced or deleted.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::discover::discover;
use super::inotify::Inotify;
use super::report_truncated;
use crate::hub::{FeedKey, Hub};
use crate::metrics::Metrics;
use crate::settings::{LogSettings, Settings};
use crate::stream::feed::{Feed, Source};
use crate::stream::place::Placed;
use crate::stream::volume::Volume;

/// How often a growing file is looked at: a line waits half of it on average.
const TICK: Duration = Duration::from_millis(5);
/// So many looks without growth, and a file is quiet.
const QUIET_TICKS: u32 = 4;
/// More growing files than this make the tick longer, so that looking stays cheap.
const FILES_PER_TICK: usize = 50;
/// How often everything is looked at, events or not.
const LOOK_AROUND: Duration = Duration::from_secs(10);
/// How often quiet files are looked at where inotify may be blind.
const BLIND_POLL: Duration = Duration::from_secs(1);
/// How long nothing is looked for when all files are quiet: events come at once, and only a stop has to wait.
const IDLE: Duration = Duration::from_millis(500);
/// How often the state is synced, if there is anything to sync.
const CHECKPOINT: Duration = Duration::from_secs(1);

/// A file that may grow.
pub(super) struct Watched {
    pub(super) volume: Arc<Volume>,
    pub(super) feed: Arc<Feed>,
    pub(super) file: Arc<File>,
    /// Looks without growth since it was last seen to grow.
    idle_ticks: u32,
}

/// The thread's state.
pub struct Watcher {
    pub(super) settings: Arc<Settings>,
    pub(super) hub: Arc<Hub>,
    pub(super) metrics: Arc<Metrics>,
    inotify: Option<Inotify<FeedKey>>,
    pub(super) watched: HashMap<FeedKey, Watched>,
    /// Those that grow: all others are quiet.
    active: BTreeSet<FeedKey>,
    pub(super) bases: HashMap<PathBuf, usize>,
    pub(super) complained: HashSet<PathBuf>,
    pub(super) refused: BTreeMap<PathBuf, String>,
    version: u64,
    blind: bool,
    /// Whether nothing was looked at before.
    pub(super) first_look: bool,
}

impl Watcher {
    /// Sets up. Without inotify (its instances are limited per user) the slow poll has to do.
    pub fn new(settings: Arc<Settings>, hub: Arc<Hub>, metrics: Arc<Metrics>) -> Watcher {
        let inotify = Inotify::new();
        if let Err(error) = &inotify {
            tracing::warn!(%error, "no inotify instance to be had; files are polled once a second");
        }
        Watcher {
            settings,
            hub,
            metrics,
            blind: inotify.is_err(),
            inotify: inotify.ok(),
            watched: HashMap::new(),
            active: BTreeSet::new(),
            bases: HashMap::new(),
            complained: HashSet::new(),
            refused: BTreeMap::new(),
            version: 0,
            first_look: true,
        }
    }

    /// Runs until `stop`, then looks at every size once more: what was written before the stop is seen.
    pub fn run(mut self, stop: &AtomicBool) {
        let (mut looked_around, mut polled, mut synced) = (Instant::now(), Instant::now(), Instant::now());
        self.look_around();
        while !stop.load(Ordering::Acquire) {
            let changed = self.wait();
            let now = Instant::now();
            if changed || now >= looked_around + LOOK_AROUND {
                self.look_around();
                looked_around = Instant::now();
            }
            let poll_every = if self.blind { BLIND_POLL } else { LOOK_AROUND };
            if now >= polled + poll_every {
                self.poll_quiet();
                polled = now;
            }
            self.follow_feeds();
            self.tick();
            if now >= synced + CHECKPOINT {
                self.hub.volumes().iter().for_each(|volume| volume.checkpoint());
                synced = now;
            }
        }
        self.look_around();
        self.poll_quiet();
        self.tick();
        self.hub.wake_forwarders();
    }

    /// One look at everything: for a program that does not stay.
    pub fn look_once(&mut self) {
        self.look_around();
        self.follow_feeds();
        self.poll_quiet();
        self.tick();
    }

    /// Waits for events or the next tick. Returns whether to look around.
    fn wait(&mut self) -> bool {
        let active = self.active.len();
        let wait = match active {
            0 => IDLE,
            count => TICK * u32::try_from(count.div_ceil(FILES_PER_TICK)).unwrap_or(1),
        };
        let Some(inotify) = self.inotify.as_mut() else {
            std::thread::sleep(wait);
            return false;
        };
        let timeout = Timespec { tv_sec: 0, tv_nsec: i64::from(wait.subsec_nanos()) };
        // While files grow, only the tick matters: an event wakes nobody sooner.
        let mut fds = [PollFd::new(inotify.fd(), PollFlags::IN)];
        // An interrupted wait is as good as a short one.
        let ready = if active == 0 {
            poll(&mut fds, Some(&timeout))
        } else {
            std::thread::sleep(wait);
            Ok(1)
        };
        if ready.unwrap_or(1) == 0 {
            return false;
        }
        let news = inotify.read();
        for key in news.written {
            self.wake(key);
        }
        news.look_around
    }

    /// Walks the directories and enters what is found.
    fn look_around(&mut self) {
        let found = discover(&self.settings.logs);
        if let Some(inotify) = self.inotify.as_mut() {
            for directory in &found.directories {
                if inotify.watch_directory(directory).is_err() {
                    self.blind = true;
                }
            }
        }
        self.metrics.unreadable_names(found.unreadable_names);
        self.open_known();
        let mut refused = BTreeMap::new();
        for (path, (base, log)) in &found.files {
            let Some(index) = self.volume_of(base) else { continue };
            let volume = self.hub.volumes()[index].clone();
            let Some(relative) = path.strip_prefix(base).ok().and_then(Path::to_str) else { continue };
            match volume.place(relative, log) {
                Placed::New(feed) => {
                    tracing::info!(path = %path.display(), log = log.full_name(), generation = feed.key.number, "new file");
                }
                Placed::Refused(error) => {
                    self.refuse(path, log, &error.to_string());
                    refused.insert(path.clone(), error.to_string());
                }
                Placed::Known | Placed::Busy | Placed::Renamed => {}
            }
        }
        self.hub.set_refusals(refused.clone());
        self.refused = refused;
        self.find_deleted();
        self.first_look = false;
        for volume in self.hub.volumes() {
            volume.end_first_look();
            if volume.retry_state() {
                self.hub.volume_news.notify_one();
            }
            volume.tidy();
            volume.forget_marks();
        }
        self.hub.rotator.wake();
    }

    /// Takes notice of feeds that came and went.
    fn follow_feeds(&mut self) {
        let version = self.hub.version();
        if version == self.version {
            return;
        }
        self.version = version;
        let mut current = HashMap::new();
        for (index, volume) in self.hub.volumes().into_iter().enumerate() {
            for feed in volume.open_feeds() {
                current.insert((index, feed.key.clone()), (volume.clone(), feed));
            }
        }
        self.watched.retain(|key, watched| {
            current.get(key).is_some_and(|(_, feed)| Arc::ptr_eq(feed, &watched.feed))
        });
        self.active.retain(|key| self.watched.contains_key(key));
        for (key, (volume, feed)) in current {
            if let Source::Open(file) = feed.source() {
                let new = || Watched { volume, feed, file, idle_ticks: 0 };
                if let Entry::Vacant(place) = self.watched.entry(key.clone()) {
                    place.insert(new());
                    self.active.insert(key);
                }
            }
        }
        self.hub.wake_forwarders();
    }

    /// A file was written, or looks as if.
    fn wake(&mut self, key: FeedKey) {
        if let Some(watched) = self.watched.get_mut(&key) {
            watched.idle_ticks = 0;
            self.active.insert(key);
        }
    }

    /// Quiet files are looked at too, for inotify may have missed something.
    fn poll_quiet(&mut self) {
        let changed = |watched: &Watched| {
            watched.file.metadata().is_ok_and(|metadata| metadata.len() != watched.feed.size())
        };
        let keys: Vec<FeedKey> =
            self.watched.iter().filter(|(_, watched)| changed(watched)).map(|(key, _)| key.clone()).collect();
        for key in keys {
            self.wake(key);
        }
    }

    /// Looks at the files that grow.
    fn tick(&mut self) {
        let (mut grown, mut truncated, mut quiet) = (Vec::new(), Vec::new(), Vec::new());
        for key in &self.active {
            let Some(watched) = self.watched.get_mut(key) else { continue };
            // In this order: the rotator may note a newer size in between.
            let before = watched.feed.size();
            let Ok(size) = watched.file.metadata().map(|metadata| metadata.len()) else { continue };
            if size < before {
                truncated.push((watched.volume.clone(), watched.feed.clone()));
            } else if watched.volume.grew(&watched.feed, size) {
                grown.push(key.clone());
                watched.idle_ticks = 0;
                if reaches_limit(&watched.feed.log, before, size) {
                    self.hub.rotator.wake();
                }
            } else if watched.idle_ticks < QUIET_TICKS {
                watched.idle_ticks += 1;
            } else {
                match arm(self.inotify.as_mut(), &watched.file, key, size) {
                    Armed::GrewMeanwhile => watched.idle_ticks = 0,
                    Armed::Yes => quiet.push(key.clone()),
                    Armed::Cannot => {
                        self.blind = true;
                        quiet.push(key.clone());
                    }
                }
            }
        }
        for key in quiet {
            self.active.remove(&key);
        }
        for (volume, feed) in truncated {
            report_truncated(&volume, &feed, &self.metrics);
            self.hub.wake_forwarders();
        }
        if !grown.is_empty() {
            self.hub.grew(&grown);
        }
    }
}

enum Armed {
    Yes,
    /// It is not quiet after all: the event for this growth would never come.
    GrewMeanwhile,
    /// No inotify, or no watch to be had.
    Cannot,
}

fn arm(inotify: Option<&mut Inotify<FeedKey>>, file: &File, key: &FeedKey, size: u64) -> Armed {
    match inotify.map(|inotify| inotify.arm(file, key.clone())) {
        Some(Ok(())) => {
            let same = file.metadata().is_ok_and(|metadata| metadata.len() == size);
            if same { Armed::Yes } else { Armed::GrewMeanwhile }
        }
        _ => Armed::Cannot,
    }
}

/// Whether a file has grown to the size at which it is rotated.
fn reaches_limit(log: &LogSettings, before: u64, now: u64) -> bool {
    let limit = log.log.rotate.as_ref().and_then(|rotate| rotate.when.size);
    limit.is_some_and(|limit| before < limit.bytes() && now >= limit.bytes())
}
