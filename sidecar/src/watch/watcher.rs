//! The thread that finds files and sees them grow, truncated, replaced or deleted.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::departure::Departures;
use super::discover::discover;
use super::inotify::Inotify;
use crate::hub::{FeedKey, Hub};
use crate::metrics::Metrics;
use crate::settings::Settings;
use crate::stream::feed::{Feed, Source};
use crate::stream::place::Placed;
use crate::stream::volume::Volume;

/// How often a growing file is looked at: a line waits half of it on average.
const TICK: Duration = Duration::from_millis(5);
/// More growing files than this make the tick longer, so that looking stays cheap.
const FILES_PER_TICK: usize = 50;
/// How often everything is looked at, events or not.
const LOOK_AROUND: Duration = Duration::from_secs(10);
/// How often quiet files are looked at where inotify may be blind.
const BLIND_POLL: Duration = Duration::from_secs(1);
/// How long nothing is looked for when all files are quiet: events come at once, and only other settings and a stop
/// have to wait.
const IDLE: Duration = Duration::from_millis(250);
/// How soon after the last look around the next one follows, at most.
const SOON: Duration = Duration::from_millis(100);
/// How often the state is synced, if there is anything to sync.
const CHECKPOINT: Duration = Duration::from_secs(1);

/// A file that may grow.
pub(super) struct Watched {
    pub(super) volume: Arc<Volume>,
    pub(super) feed: Arc<Feed>,
    pub(super) file: Arc<File>,
    /// Looks without growth since it was last seen to grow.
    pub(super) idle_ticks: u32,
}

/// The thread's state.
pub struct Watcher {
    pub(super) settings: Arc<Settings>,
    /// Whether a stream was being rotated when the settings changed.
    pub(super) is_unsettled: bool,
    /// Logs that were added while everything ran, and not looked at yet.
    pub(super) new_logs: HashSet<String>,
    pub(super) hub: Arc<Hub>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) inotify: Option<Inotify<FeedKey>>,
    pub(super) watched: HashMap<FeedKey, Watched>,
    /// Those that grow: all others are quiet.
    pub(super) active: BTreeSet<FeedKey>,
    pub(super) bases: HashMap<PathBuf, usize>,
    pub(super) complained: HashSet<PathBuf>,
    pub(super) refused: BTreeMap<PathBuf, String>,
    pub(super) departures: Departures<FeedKey>,
    version: u64,
    pub(super) blind: bool,
    /// Whether nothing was looked at before.
    pub(super) first_look: bool,
}

impl Watcher {
    /// Sets up. Without inotify (its instances are limited per user) the slow poll has to do.
    pub fn new(hub: Arc<Hub>, metrics: Arc<Metrics>) -> Watcher {
        let inotify = Inotify::new();
        if let Err(error) = &inotify {
            tracing::warn!(%error, "no inotify instance to be had; files are polled once a second");
        }
        Watcher {
            settings: Arc::default(),
            is_unsettled: false,
            new_logs: HashSet::new(),
            hub,
            metrics,
            blind: inotify.is_err(),
            inotify: inotify.ok(),
            watched: HashMap::new(),
            active: BTreeSet::new(),
            bases: HashMap::new(),
            complained: HashSet::new(),
            refused: BTreeMap::new(),
            departures: Departures::default(),
            version: 0,
            first_look: true,
        }
    }

    /// Runs until `stop`, then looks at every size once more: what was written before the stop is seen.
    pub fn run(mut self, stop: &AtomicBool) {
        let (mut looked_around, mut polled, mut synced) = (Instant::now(), Instant::now(), Instant::now());
        let mut changed = false;
        self.look_around();
        while !stop.load(Ordering::Acquire) {
            changed |= self.wait(if changed { SOON } else { IDLE });
            let now = Instant::now();
            // An app that makes and removes files all the time must not make us do nothing else.
            let other_settings = self.is_unsettled || !Arc::ptr_eq(&self.settings, &self.hub.settings());
            if other_settings
                || (changed && now >= looked_around + SOON)
                || now >= looked_around + LOOK_AROUND
            {
                self.look_around();
                looked_around = Instant::now();
                changed = false;
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
        self.follow_feeds();
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
    fn wait(&mut self, idle: Duration) -> bool {
        let active = self.active.len();
        let wait = match active {
            0 => idle,
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
        self.take_up_settings();
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
            let is_new = self.new_logs.contains(&log.full_name());
            match volume.place(relative, log, is_new) {
                Placed::New(feed) => {
                    tracing::info!(path = %path.display(), log = log.full_name(), generation = feed.key.number, "new file");
                }
                Placed::Refused(error) => {
                    let reason = error.reason();
                    self.refuse(path, log, &reason);
                    refused.insert(path.clone(), reason);
                }
                Placed::Known | Placed::Busy | Placed::Renamed => {}
            }
        }
        self.hub.set_refusals(refused.clone());
        self.refused = refused;
        self.find_deleted();
        self.new_logs.clear();
        // Without settings nothing was looked at.
        self.first_look &= self.settings.logs.is_empty();
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
        self.departures.keep(|key| self.watched.contains_key(key));
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
}
