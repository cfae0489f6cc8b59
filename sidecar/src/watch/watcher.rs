//! The thread that finds files and sees them grow, truncated, replaced or deleted.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::discover::discover;
use super::inotify::Inotify;
use super::report_truncated;
use crate::hub::Hub;
use crate::metrics::Metrics;
use crate::settings::{LogSettings, Settings};
use crate::stream::feed::{Feed, GenerationKey, Source};
use crate::stream::place::Placed;
use crate::stream::volume::{STATE_DIRECTORY, Volume, VolumeError};

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
/// How often the state is synced, if there is anything to sync.
const CHECKPOINT: Duration = Duration::from_secs(1);

/// A file that may grow.
struct Watched {
    volume: Arc<Volume>,
    feed: Arc<Feed>,
    file: Arc<File>,
    /// Looks without growth; None: quiet, and armed if inotify can be had.
    idle_ticks: Option<u32>,
}

/// The thread's state.
pub struct Watcher {
    settings: Arc<Settings>,
    hub: Arc<Hub>,
    metrics: Arc<Metrics>,
    inotify: Option<Inotify<(usize, GenerationKey)>>,
    watched: HashMap<(usize, GenerationKey), Watched>,
    bases: HashMap<PathBuf, usize>,
    complained: HashSet<PathBuf>,
    refused: BTreeMap<PathBuf, String>,
    version: u64,
    blind: bool,
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
            bases: HashMap::new(),
            complained: HashSet::new(),
            refused: BTreeMap::new(),
            version: 0,
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

    fn active(&self) -> usize {
        self.watched.values().filter(|watched| watched.idle_ticks.is_some()).count()
    }

    /// Waits for events or the next tick. Returns whether to look around.
    fn wait(&mut self) -> bool {
        let active = self.active();
        let wait = match active {
            0 => Duration::from_millis(500),
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
        for name in news.written {
            if let Some(watched) = self.watched.get_mut(&name) {
                watched.idle_ticks = Some(0);
            }
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
        for volume in self.hub.volumes() {
            if volume.retry_state() {
                self.hub.volume_news.notify_one();
            }
            volume.tidy();
        }
        self.hub.rotator.wake();
    }

    /// Where there is state of an earlier run there may be archives to forward, also if no log file is there.
    fn open_known(&mut self) {
        let settings = self.settings.clone();
        for pattern in settings.logs.iter().flat_map(|log| &log.log.files.include) {
            let base = pattern.base();
            if !self.bases.contains_key(base) && base.join(STATE_DIRECTORY).join("state").is_file() {
                self.volume_of(base);
            }
        }
    }

    /// A live file without a name was deleted by somebody else.
    fn find_deleted(&self) {
        for watched in self.watched.values() {
            let deleted = watched.file.metadata().is_ok_and(|metadata| metadata.nlink() == 0);
            let key = &watched.feed.key;
            let live = watched.volume.stream(&key.stream).and_then(|s| s.live().map(|live| live.number));
            if deleted && live == Some(key.number) && watched.volume.unlinked(&key.stream) {
                tracing::warn!(
                    stream = &*key.stream,
                    "deleted by somebody else; read on as long as it is held open"
                );
            }
        }
    }

    /// Says and counts it once.
    fn refuse(&self, path: &Path, log: &LogSettings, reason: &str) {
        if self.refused.get(path).is_none_or(|known| known != reason) {
            tracing::warn!(path = %path.display(), log = log.full_name(), "refused: {reason}");
            self.metrics.refused(log);
        }
    }

    /// The volume of a base directory, opened when its first file is there.
    fn volume_of(&mut self, base: &Path) -> Option<usize> {
        if let Some(index) = self.bases.get(base) {
            return Some(*index);
        }
        let volume = match Volume::open(base) {
            Ok(volume) => Arc::new(volume),
            Err(error) => {
                self.hub.set_problem(base, error.to_string());
                if self.complained.insert(base.to_owned()) {
                    match error {
                        VolumeError::Shared(_) => tracing::warn!("{error}"),
                        other => tracing::error!(error = %other, "cannot use this directory; trying again"),
                    }
                }
                return None;
            }
        };
        self.hub.clear_problem(base);
        self.recover(&volume);
        self.hub.add_volume(volume);
        let index = self.hub.volumes().len() - 1;
        self.bases.insert(base.to_owned(), index);
        Some(index)
    }

    fn recover(&self, volume: &Volume) {
        let found = volume.recover(|path| self.settings.logs.iter().find(|log| log.wants(path)).cloned());
        for stream in found.resumed {
            tracing::info!(stream, "a rotation that was cut short was completed or undone");
        }
        for stream in found.truncated {
            tracing::warn!(stream, "a file was truncated or replaced while the sidecar was away");
        }
        for (stream, destination, bytes) in found.lost {
            let log = self.settings.logs.iter().find(|log| log.wants(&volume.absolute(&stream)));
            if let Some(log) = log {
                self.metrics.lost(log, &destination, bytes);
            }
            tracing::error!(
                stream,
                destination,
                bytes,
                "lines went away unconfirmed while the sidecar was away"
            );
        }
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
        for (key, (volume, feed)) in current {
            if let Source::Open(file) = feed.source() {
                self.watched.entry(key).or_insert(Watched { volume, feed, file, idle_ticks: Some(0) });
            }
        }
        self.hub.wake_forwarders();
    }

    /// Quiet files are looked at too, for inotify may have missed something.
    fn poll_quiet(&mut self) {
        for watched in self.watched.values_mut().filter(|watched| watched.idle_ticks.is_none()) {
            if watched.file.metadata().is_ok_and(|metadata| metadata.len() != watched.feed.size()) {
                watched.idle_ticks = Some(0);
            }
        }
    }

    /// Looks at the files that grow.
    fn tick(&mut self) {
        let (mut news, mut truncated) = (false, Vec::new());
        for (key, watched) in &mut self.watched {
            let Some(idle) = watched.idle_ticks else { continue };
            let Ok(size) = watched.file.metadata().map(|metadata| metadata.len()) else { continue };
            let before = watched.feed.size();
            if size < before {
                truncated.push((watched.volume.clone(), watched.feed.clone()));
            } else if watched.volume.grew(&watched.feed, size) {
                news = true;
                watched.idle_ticks = Some(0);
                if reaches_limit(&watched.feed.log, before, size) {
                    self.hub.rotator.wake();
                }
            } else if idle < QUIET_TICKS {
                watched.idle_ticks = Some(idle + 1);
            } else {
                match arm(self.inotify.as_mut(), &watched.file, key, size) {
                    Armed::Yes => watched.idle_ticks = None,
                    Armed::GrewMeanwhile => watched.idle_ticks = Some(0),
                    Armed::Cannot => {
                        self.blind = true;
                        watched.idle_ticks = None;
                    }
                }
            }
        }
        for (volume, feed) in truncated {
            report_truncated(&volume, &feed, &self.metrics);
            news = true;
        }
        if news {
            self.hub.wake_forwarders();
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

fn arm(
    inotify: Option<&mut Inotify<(usize, GenerationKey)>>,
    file: &File,
    key: &(usize, GenerationKey),
    size: u64,
) -> Armed {
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
