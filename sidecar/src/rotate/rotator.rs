//! The thread that rotates: observe, plan one step, take it, observe again.

mod asked;
mod begin;
mod prove;
mod resettle;
mod tend;

pub use tend::finish_unheld;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::campaign::{Campaign, target_key};
use super::compressor::Jobs;
use super::keep::Keeper;
use super::probe::{Leases, calibrate};
use super::schedule::Schedule;
use super::targets::Target;
use crate::files::directory::Directory;
use crate::hub::Hub;
use crate::metrics::Metrics;
use crate::pod::Pod;
use crate::settings::{LogSettings, Settings};
use crate::stream::feed::{Feed, GenerationKey};
use crate::stream::ledger::Stage;
use crate::stream::volume::{STATE_DIRECTORY, Volume};

/// How often everything is looked at when nothing happens.
const LOOK: Duration = Duration::from_secs(5);
/// How long an old file must be quiet, while the new one grows, to be presumed left where nothing can be seen.
const QUIET: Duration = Duration::from_secs(10);
/// The first pause after a rotation that failed or was undone; it doubles up to [`LONGEST_RETRY`].
const FIRST_RETRY: Duration = Duration::from_secs(10);
const LONGEST_RETRY: Duration = Duration::from_secs(600);

/// So many processes are remembered to handle their signal.
const MOST_HANDLERS: usize = 1000;

/// An old file that may still be written.
struct Waiting {
    campaign: u64,
    volume: Arc<Volume>,
    feed: Arc<Feed>,
    since: Instant,
    bytes_at_exchange: u64,
    bytes: u64,
    quiet_since: Instant,
    look_at: Instant,
    gave_up: bool,
}

/// When a stream whose rotation failed is tried again.
struct Retry {
    at: Instant,
    pause: Duration,
}

type StreamKey = (PathBuf, Arc<str>);

/// The thread's state.
pub struct Rotator {
    settings: Arc<Settings>,
    hub: Arc<Hub>,
    metrics: Arc<Metrics>,
    pod: Arc<Pod>,
    jobs: Jobs,
    keeper: Keeper,
    schedules: HashMap<String, Schedule>,
    leases: HashMap<PathBuf, Leases>,
    campaigns: BTreeMap<u64, Campaign>,
    /// Processes that are known to handle their signal.
    handlers: BTreeSet<Target>,
    next_campaign: u64,
    waiting: Vec<Waiting>,
    retries: HashMap<StreamKey, Retry>,
    askers: Vec<asked::Asker>,
}

impl Rotator {
    /// Sets up.
    pub fn new(hub: Arc<Hub>, metrics: Arc<Metrics>, pod: Arc<Pod>, jobs: Jobs) -> Rotator {
        Rotator {
            settings: Arc::default(),
            hub,
            metrics,
            pod,
            jobs,
            keeper: Keeper::default(),
            schedules: HashMap::new(),
            leases: HashMap::new(),
            campaigns: BTreeMap::new(),
            handlers: BTreeSet::new(),
            next_campaign: 0,
            waiting: Vec::new(),
            retries: HashMap::new(),
            askers: Vec::new(),
        }
    }

    /// Runs until stopped. A rotation that is under way is taken up at the next start.
    pub fn run(mut self, stop: &AtomicBool) {
        while !stop.load(Ordering::Acquire) {
            let pause = self.pass();
            self.hub.rotator.wait(pause);
        }
    }

    /// Looks at everything once, and rotates what is due. Returns when to look again.
    pub fn pass(&mut self) -> Duration {
        self.take_up_settings();
        self.find_old();
        self.serve_asked();
        let pause = self.rotate_due();
        pause.min(self.settle())
    }

    /// The same, but rotates only what somebody asked for.
    pub fn pass_asked(&mut self) -> Duration {
        self.take_up_settings();
        self.find_old();
        self.serve_asked();
        self.settle()
    }

    fn serve_asked(&mut self) {
        for asked in self.hub.take_asked() {
            self.serve(asked);
        }
    }

    /// Goes on with what was begun.
    fn settle(&mut self) -> Duration {
        let mut pause = self.prove();
        pause = pause.min(self.watch_targets());
        self.answer_askers();
        self.tend_archives();
        pause
    }

    /// Answers what was asked without changing anything: for a dry run.
    pub fn only_answer(&mut self) {
        self.take_up_settings();
        self.serve_asked();
        self.answer_askers();
    }

    /// Whether rotations are under way, or archives are being made.
    pub fn is_busy(&self) -> bool {
        self.waiting.iter().any(|waiting| !waiting.gave_up) || !self.askers.is_empty()
    }

    /// Whether leases tell writers on a volume; None while that could not be tried.
    fn leases(&mut self, volume: &Volume) -> Option<Leases> {
        if let Some(known) = self.leases.get(&volume.base) {
            return Some(*known);
        }
        let state = Directory::open(&volume.base.join(STATE_DIRECTORY));
        match state.and_then(|directory| calibrate(&directory)) {
            Ok(leases) => {
                if let Leases::Fail(why) = leases {
                    tracing::warn!(path = %volume.base.display(), %why, "writers cannot be seen by leases here");
                }
                self.leases.insert(volume.base.clone(), leases);
                Some(leases)
            }
            Err(error) => {
                tracing::debug!(%error, "leases could not be tried");
                None
            }
        }
    }

    /// Old generations that nobody waits for yet: of rotations before a restart, or moved by somebody else.
    fn find_old(&mut self) {
        for volume in self.hub.volumes() {
            volume.keep_targets(
                &self.settings.logs.iter().filter_map(|log| target_key(log)).collect::<Vec<_>>(),
            );
            for (name, log, stream) in volume.streams() {
                let mut found: Vec<(Arc<Feed>, bool)> = Vec::new();
                for generation in stream.generations.iter().filter(|known| known.stage == Stage::Old) {
                    let key = GenerationKey { stream: name.clone(), number: generation.number };
                    if !self.is_waiting(&volume, &key)
                        && let Some(feed) = volume.feed(&key)
                    {
                        found.push((feed, generation.ours));
                    }
                }
                for (feed, ours) in found {
                    let campaign = self.begin(&log, &volume);
                    if !ours {
                        // Whoever moved it also tells the app.
                        self.campaigns.insert(campaign, Campaign::silent(log.clone(), volume.clone()));
                    }
                    self.wait_for(campaign, &volume, feed);
                }
            }
        }
    }

    fn is_waiting(&self, volume: &Volume, key: &GenerationKey) -> bool {
        self.waiting.iter().any(|waiting| waiting.feed.key == *key && waiting.volume.base == volume.base)
    }

    /// Whether a rotation of this stream is under way and has not been given up.
    fn is_rotating(&self, volume: &Volume, stream: &str) -> bool {
        self.waiting.iter().any(|waiting| {
            !waiting.gave_up && &*waiting.feed.key.stream == stream && waiting.volume.base == volume.base
        })
    }

    fn begin(&mut self, log: &Arc<LogSettings>, volume: &Arc<Volume>) -> u64 {
        self.next_campaign += 1;
        self.campaigns.insert(self.next_campaign, Campaign::new(log.clone(), volume.clone()));
        self.next_campaign
    }

    fn wait_for(&mut self, campaign: u64, volume: &Arc<Volume>, feed: Arc<Feed>) {
        let (now, bytes) = (Instant::now(), feed.size());
        self.waiting.push(Waiting {
            campaign,
            volume: volume.clone(),
            feed,
            since: now,
            bytes_at_exchange: bytes,
            bytes,
            quiet_since: now,
            look_at: now,
            gave_up: false,
        });
    }

    fn watch_targets(&mut self) -> Duration {
        // Of processes that are long gone nothing needs to be known.
        if self.handlers.len() > MOST_HANDLERS {
            self.handlers.clear();
        }
        let mut watching = false;
        for campaign in self.campaigns.values_mut() {
            watching |= campaign.watch_targets(&mut self.handlers, &self.metrics);
        }
        let (waiting, askers) = (&self.waiting, &self.askers);
        self.campaigns.retain(|id, campaign| {
            campaign.is_watching()
                || waiting.iter().any(|waiting| waiting.campaign == *id)
                || askers.iter().any(|asker| asker.open.contains(id))
        });
        if watching { Duration::from_millis(100) } else { LOOK }
    }
}
