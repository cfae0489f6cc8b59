//! The thread that rotates: observe, plan one step, take it, observe again.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::act::{put_back, rotate};
use super::campaign::{Campaign, target_key};
use super::compressor::{Job, Jobs};
use super::directory::Directory;
use super::due::{Due, Trigger, When, due};
use super::keep::{Keeper, forget_foreign};
use super::plan::{Step, Waiting as Situation, next};
use super::probe::{Leases, Visibility, calibrate, probe_lease, probe_processes};
use super::reopen::{Answer, Blind, Observation, Patience, judge};
use super::schedule::Schedule;
use crate::control::{RotateOutcome, RotateRequest, StreamOutcome};
use crate::hub::{Asked, Hub};
use crate::metrics::Metrics;
use crate::settings::{LogSettings, Settings};
use crate::stream::feed::{Feed, GenerationKey, Source};
use crate::stream::ledger::{SealedBy, Stage, Stream};
use crate::stream::volume::{STATE_DIRECTORY, Volume};

/// How often everything is looked at when nothing happens.
const LOOK: Duration = Duration::from_secs(5);
/// How long an old file must be quiet, while the new one grows, to be presumed left where nothing can be seen.
const QUIET: Duration = Duration::from_secs(10);
/// The first pause after a rotation that failed or was undone; it doubles up to [`LONGEST_RETRY`].
const FIRST_RETRY: Duration = Duration::from_secs(10);
const LONGEST_RETRY: Duration = Duration::from_secs(600);

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

/// Somebody who asked for rotations and waits for what becomes of them.
struct Asker {
    asked: Asked,
    outcome: RotateOutcome,
    /// Campaigns that are not over.
    open: Vec<u64>,
}

type StreamKey = (PathBuf, Arc<str>);

/// The thread's state.
pub struct Rotator {
    settings: Arc<Settings>,
    hub: Arc<Hub>,
    metrics: Arc<Metrics>,
    jobs: Jobs,
    keeper: Keeper,
    schedules: HashMap<String, Schedule>,
    leases: HashMap<PathBuf, Leases>,
    campaigns: BTreeMap<u64, Campaign>,
    next_campaign: u64,
    waiting: Vec<Waiting>,
    retries: HashMap<StreamKey, Retry>,
    askers: Vec<Asker>,
}

/// A stream that is to be rotated now.
struct Ready {
    volume: Arc<Volume>,
    log: Arc<LogSettings>,
    feed: Arc<Feed>,
}

impl Rotator {
    /// Sets up.
    pub fn new(settings: Arc<Settings>, hub: Arc<Hub>, metrics: Arc<Metrics>, jobs: Jobs) -> Rotator {
        let schedules =
            settings.logs.iter().filter_map(|log| Some((log.full_name(), schedule_of(log)?))).collect();
        Rotator {
            settings,
            hub,
            metrics,
            jobs,
            keeper: Keeper::default(),
            schedules,
            leases: HashMap::new(),
            campaigns: BTreeMap::new(),
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
        self.find_old();
        self.serve_asked();
        let pause = self.rotate_due();
        pause.min(self.settle())
    }

    /// The same, but rotates only what somebody asked for.
    pub fn pass_asked(&mut self) -> Duration {
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
        self.serve_asked();
        self.answer_askers();
    }

    /// Whether rotations are under way, or archives are being made.
    pub fn is_busy(&self) -> bool {
        self.waiting.iter().any(|waiting| !waiting.gave_up) || !self.askers.is_empty()
    }

    fn leases(&mut self, volume: &Volume) -> Leases {
        if let Some(known) = self.leases.get(&volume.base) {
            return *known;
        }
        let state = Directory::open(&volume.base.join(STATE_DIRECTORY));
        match state.and_then(|directory| calibrate(&directory)) {
            Ok(leases) => {
                if let Leases::Fail(why) = leases {
                    tracing::warn!(path = %volume.base.display(), %why, "writers cannot be seen by leases here");
                }
                self.leases.insert(volume.base.clone(), leases);
                leases
            }
            Err(error) => {
                tracing::debug!(%error, "leases could not be tried");
                Leases::Fail(Blind::NoLeases)
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

    /// All streams that may be rotated: live, ours, not in the middle of it.
    fn candidates(&self) -> Vec<(Ready, Stream)> {
        let mut candidates = Vec::new();
        for volume in self.hub.volumes().into_iter().filter(|volume| volume.is_persistent()) {
            for (name, log, stream) in volume.streams() {
                let Some(live) = stream.live().filter(|_| log.log.rotate.is_some() && !stream.is_busy())
                else {
                    continue;
                };
                let key = GenerationKey { stream: name.clone(), number: live.number };
                if !self.is_rotating(&volume, &name)
                    && let Some(feed) = volume.feed(&key)
                {
                    candidates.push((Ready { volume: volume.clone(), log, feed }, stream));
                }
            }
        }
        candidates
    }

    /// Rotates what is due. Returns when the next is.
    fn rotate_due(&mut self) -> Duration {
        let (mut ready, mut pause) = (Vec::new(), LOOK);
        for (candidate, stream) in self.candidates() {
            let key = (candidate.volume.base.clone(), candidate.feed.key.stream.clone());
            if let Some(retry) = self.retries.get(&key) {
                let left = retry.at.saturating_duration_since(Instant::now());
                if !left.is_zero() {
                    pause = pause.min(left);
                    continue;
                }
            }
            let due = self.due(&candidate, &stream);
            if let Some(served) = due.served {
                candidate.volume.serve_schedule(&candidate.feed.key.stream, served.as_microsecond());
            }
            if let Some(next) = due.next {
                let left = next.duration_since(Timestamp::now());
                pause =
                    pause.min(Duration::try_from(left).unwrap_or_default().max(Duration::from_millis(20)));
            }
            if let Some(trigger) = due.trigger {
                tracing::debug!(stream = &*candidate.feed.key.stream, ?trigger, "due");
                ready.push(candidate);
            }
        }
        self.rotate_together(ready);
        pause
    }

    fn due(&self, candidate: &Ready, stream: &Stream) -> Due {
        let Some(rotate) = &candidate.log.log.rotate else {
            return Due { trigger: None, next: None, served: None };
        };
        let when = When {
            size: rotate.when.size.map(|size| size.bytes()),
            schedule: self.schedules.get(&candidate.log.full_name()),
            min_size: rotate.when.min_size.bytes(),
            if_empty: rotate.when.if_empty,
        };
        let last = Timestamp::from_microsecond(stream.rotated_at).unwrap_or(Timestamp::UNIX_EPOCH);
        due(&when, candidate.feed.size(), last, Timestamp::now())
    }

    /// Exchanges the files of all that are ready, then signals each target once. Returns the campaigns.
    fn rotate_together(&mut self, ready: Vec<Ready>) -> Vec<u64> {
        let mut groups: Vec<(String, u64)> = Vec::new();
        for one in ready {
            let target = format!("{:?} {:?}", one.log.policy, target_key(&one.log));
            let campaign = match groups.iter().find(|(known, _)| *known == target) {
                Some((_, campaign)) => *campaign,
                None => {
                    let campaign = self.begin(&one.log, &one.volume);
                    groups.push((target, campaign));
                    campaign
                }
            };
            self.exchange(campaign, one);
        }
        let begun: Vec<u64> = groups.into_iter().map(|(_, campaign)| campaign).collect();
        for campaign in &begun {
            let anybody = self.waiting.iter().any(|waiting| waiting.campaign == *campaign);
            if let (true, Some(campaign)) = (anybody, self.campaigns.get_mut(campaign)) {
                campaign.signal(&self.metrics);
            }
        }
        begun
    }

    fn exchange(&mut self, campaign: u64, ready: Ready) {
        let Ready { volume, log, feed } = ready;
        let key = (volume.base.clone(), feed.key.stream.clone());
        let path = volume.absolute(&feed.key.stream);
        match rotate(&volume, &log, &feed) {
            Ok(_) => {
                tracing::info!(path = %path.display(), generation = feed.key.number, bytes = feed.size(), "rotated");
                self.wait_for(campaign, &volume, feed);
            }
            Err(error) => {
                self.metrics.rotated(&log, "rename", "failed");
                tracing::error!(path = %path.display(), %error, "not rotated");
                self.hub.set_rotation_problem(path, Some(format!("not rotated: {error}")));
                self.put_off(key);
            }
        }
    }

    fn put_off(&mut self, key: StreamKey) {
        let pause = self.retries.get(&key).map_or(FIRST_RETRY, |retry| (retry.pause * 2).min(LONGEST_RETRY));
        self.retries.insert(key, Retry { at: Instant::now() + pause, pause });
    }

    /// Looks at the old files whose time has come. Returns when the next is.
    fn prove(&mut self) -> Duration {
        let mut pause = LOOK;
        let mut kept = Vec::new();
        for mut waiting in std::mem::take(&mut self.waiting) {
            let left = waiting.look_at.saturating_duration_since(Instant::now());
            let again = if left.is_zero() { self.look(&mut waiting) } else { Some(left) };
            if let Some(again) = again {
                pause = pause.min(again);
                kept.push(waiting);
            }
        }
        kept.append(&mut self.waiting);
        self.waiting = kept;
        pause
    }

    /// Looks at one old file and takes the next step. None: there is nothing more to wait for.
    fn look(&mut self, waiting: &mut Waiting) -> Option<Duration> {
        let Source::Open(file) = waiting.feed.source() else { return None };
        let leases = self.leases(&waiting.volume);
        let observation = observe(waiting, &file, leases, self.campaigns.get(&waiting.campaign));
        let patience = Patience { timeout: timeout_of(&waiting.feed.log), quiet: QUIET };
        let verdict = judge(&observation, patience);
        let campaign = self.campaigns.get_mut(&waiting.campaign)?;
        let situation = Situation {
            verdict,
            signals: campaign.signals(),
            sent: campaign.sent,
            elapsed: observation.elapsed,
            timeout: patience.timeout,
            gave_up: waiting.gave_up,
        };
        let pause = match next(&situation) {
            Step::Seal(by) => {
                self.seal(waiting, by);
                return None;
            }
            Step::Signal => {
                campaign.signal(&self.metrics);
                Duration::from_millis(10)
            }
            Step::GiveUp => {
                waiting.gave_up = true;
                if self.give_up(waiting, verdict.is_held()) {
                    return None;
                }
                Duration::from_secs(1)
            }
            Step::Wait(pause) => pause,
        };
        waiting.look_at = Instant::now() + pause;
        Some(pause)
    }

    fn seal(&mut self, waiting: &Waiting, by: SealedBy) {
        let Source::Open(file) = waiting.feed.source() else { return };
        // Looked at after the probe: what nobody holds cannot grow.
        let Ok(size) = file.metadata().map(|metadata| metadata.len()) else { return };
        waiting.volume.grew(&waiting.feed, size);
        waiting.volume.sealed(&waiting.feed.key, size, by);
        self.hub.wake_forwarders();
        let log = &waiting.feed.log;
        let seconds = waiting.since.elapsed().as_secs_f64();
        self.metrics.rotated(log, "rename", if by == SealedBy::Proof { "ok" } else { "presumed" });
        self.metrics.reopened(seconds);
        let path = waiting.volume.absolute(&waiting.feed.key.stream);
        self.retries.remove(&(waiting.volume.base.clone(), waiting.feed.key.stream.clone()));
        self.hub.set_rotation_problem(path.clone(), None);
        tracing::info!(path = %path.display(), generation = waiting.feed.key.number, bytes = size, seconds, proof = ?by, "sealed");
    }

    /// Says that nobody reopened in time, and puts the names back where that is safe. Returns whether it did.
    fn give_up(&mut self, waiting: &Waiting, held: bool) -> bool {
        let feed = &waiting.feed;
        let path = waiting.volume.absolute(&feed.key.stream);
        let campaign = self.campaigns.get(&waiting.campaign);
        let sent = campaign.map_or(0, |campaign| campaign.sent);
        let refused = campaign.and_then(|campaign| campaign.refused.clone());
        let reason = match (&refused, held) {
            (Some(_), _) => "not_signalled",
            (None, true) => "held",
            (None, false) => "unknown",
        };
        self.metrics.reopen_failed(&feed.log, reason);
        let put_back = held && self.try_put_back(waiting);
        let timeout = timeout_of(&feed.log);
        let mut problem = format!("nobody was seen to reopen within {} s", timeout.as_secs());
        match refused {
            Some(refused) => problem.push_str(&format!(", and nobody was signalled: {refused}")),
            None if sent > 0 => problem.push_str(&format!(" after {sent} signals")),
            None => {}
        }
        if held {
            problem.push_str("; somebody still writes the old file");
        }
        if put_back {
            problem.push_str("; the names were put back, tried again later");
            self.metrics.rotated(&feed.log, "rename", "undone");
            self.put_off((waiting.volume.base.clone(), feed.key.stream.clone()));
        } else {
            problem.push_str("; both files are read on, the old one is neither compressed nor deleted");
        }
        tracing::error!(path = %path.display(), generation = feed.key.number, "{problem}");
        self.hub.set_rotation_problem(path, Some(problem));
        put_back
    }

    /// Only if nobody uses the new file: else some workers write to each, and the names stay.
    fn try_put_back(&mut self, waiting: &Waiting) -> bool {
        let stream = &waiting.feed.key.stream;
        let Some(record) = waiting.volume.stream(stream) else { return false };
        let Some(live) = record.live().filter(|live| live.number == waiting.feed.key.number + 1) else {
            return false;
        };
        let key = GenerationKey { stream: stream.clone(), number: live.number };
        let Some(new) = waiting.volume.feed(&key) else { return false };
        let Source::Open(new_file) = new.source() else { return false };
        let leases = self.leases(&waiting.volume);
        let unused = new.size() == 0 && probe_lease(&new_file, leases) == Answer::Unheld;
        if !unused {
            return false;
        }
        match put_back(&waiting.volume, &waiting.feed.log, &waiting.feed, &new) {
            Ok(done) => done,
            Err(error) => {
                tracing::warn!(stream = &**stream, %error, "the names could not be put back");
                false
            }
        }
    }

    fn watch_targets(&mut self) -> Duration {
        let mut watching = false;
        for campaign in self.campaigns.values_mut() {
            watching |= campaign.watch_targets(&self.metrics);
        }
        let (waiting, askers) = (&self.waiting, &self.askers);
        self.campaigns.retain(|id, campaign| {
            campaign.is_watching()
                || waiting.iter().any(|waiting| waiting.campaign == *id)
                || askers.iter().any(|asker| asker.open.contains(id))
        });
        if watching { Duration::from_millis(100) } else { LOOK }
    }

    /// Sends archives to be compressed, deletes what is beyond its limits.
    fn tend_archives(&mut self) {
        let volumes = self.hub.volumes();
        for volume in volumes.iter().filter(|volume| volume.is_persistent()) {
            let leases = self.leases(volume);
            for (name, log, stream) in volume.streams() {
                let gzip =
                    log.log.rotate.as_ref().is_some_and(|rotate| {
                        rotate.archive.compression == capstan_config::Compression::Gzip
                    });
                let plain = |known: &&crate::stream::ledger::Generation| {
                    known.ours && matches!(known.stage, Stage::Sealed(_))
                };
                for generation in stream.generations.iter().filter(plain).filter(|_| gzip) {
                    let key = GenerationKey { stream: name.clone(), number: generation.number };
                    self.jobs.add(Job { volume: volume.clone(), key, leases });
                }
            }
            forget_foreign(volume, &self.settings);
        }
        for log in &self.settings.logs {
            self.keeper.keep(log, &volumes, &self.jobs, &self.metrics);
        }
    }

    /// Begins what somebody asked for.
    fn serve(&mut self, asked: Asked) {
        let mut asker = Asker { asked, outcome: RotateOutcome::default(), open: Vec::new() };
        let RotateRequest { log, force, dry_run } = asker.asked.request.clone();
        let mut ready = Vec::new();
        for (candidate, stream) in self.candidates() {
            let name = &candidate.log.log.name;
            if log
                .as_ref()
                .is_some_and(|wanted| *wanted != name.to_string() && *wanted != candidate.log.full_name())
            {
                continue;
            }
            let path = candidate.volume.absolute(&candidate.feed.key.stream).display().to_string();
            let trigger = self.due(&candidate, &stream).trigger.or(force.then_some(Trigger::Request));
            let outcome = match trigger {
                None => format!("not due ({} bytes)", candidate.feed.size()),
                Some(_) if dry_run => format!("would be rotated ({} bytes)", candidate.feed.size()),
                Some(_) => {
                    ready.push(candidate);
                    "rotated".to_owned()
                }
            };
            asker.outcome.streams.push(StreamOutcome { path, outcome, failed: false });
        }
        asker.open = self.rotate_together(ready);
        self.askers.push(asker);
    }

    /// Answers those whose rotations have come to an end, or were given up.
    fn answer_askers(&mut self) {
        let waiting = &self.waiting;
        let problems = self.hub.rotation_problems();
        self.askers.retain_mut(|asker| {
            let pending =
                |id: &u64| waiting.iter().any(|waiting| waiting.campaign == *id && !waiting.gave_up);
            if asker.open.iter().any(pending) {
                return true;
            }
            for stream in asker.outcome.streams.iter_mut().filter(|stream| stream.outcome == "rotated") {
                let prefix = format!("{}: ", stream.path);
                match problems.iter().find_map(|problem| problem.strip_prefix(&prefix)) {
                    Some(problem) => {
                        stream.outcome = problem.to_owned();
                        stream.failed = true;
                    }
                    None => stream.outcome = "rotated, and seen to be reopened".to_owned(),
                }
            }
            asker.asked.answer(std::mem::take(&mut asker.outcome));
            false
        });
    }
}

fn observe(
    waiting: &mut Waiting,
    file: &std::fs::File,
    leases: Leases,
    campaign: Option<&Campaign>,
) -> Observation {
    let lease = probe_lease(file, leases);
    // Other pods may mount the volume; only the lease sees them.
    let scan = matches!(lease, Answer::Unknown(_)).then(|| probe_processes(file, Visibility::Some));
    let bytes = file.metadata().map_or(waiting.bytes, |metadata| metadata.len());
    if bytes != waiting.bytes {
        waiting.bytes = bytes;
        waiting.quiet_since = Instant::now();
    }
    let successor = waiting.volume.stream(&waiting.feed.key.stream);
    let successor = successor.as_ref().and_then(|stream| stream.live()).map_or(0, |live| live.length);
    Observation {
        lease,
        scan,
        old_bytes_at_swap: waiting.bytes_at_exchange,
        old_bytes: bytes,
        old_quiet_for: waiting.quiet_since.elapsed(),
        new_bytes: successor,
        elapsed: campaign.map_or(waiting.since.elapsed(), |campaign| campaign.elapsed(waiting.since)),
    }
}

fn timeout_of(log: &LogSettings) -> Duration {
    log.log.rotate.as_ref().map_or(Duration::from_secs(30), |rotate| rotate.reopen.timeout)
}

fn schedule_of(log: &LogSettings) -> Option<Schedule> {
    let schedule = log.log.rotate.as_ref()?.when.schedule.as_ref()?;
    let zone = TimeZone::get(schedule.time_zone()).ok()?;
    match Schedule::new(schedule.text(), zone) {
        Ok(schedule) => Some(schedule),
        Err(error) => {
            tracing::error!(log = log.full_name(), %error, "no rotation by time");
            None
        }
    }
}

/// At the stop: files that nobody writes any more are read to their end, also a last line without its newline.
/// Only in memory: whether they are written again is seen at the next start.
pub fn finish_unheld(volume: &Volume) {
    let state = Directory::open(&volume.base.join(STATE_DIRECTORY));
    let Ok(leases) = state.and_then(|directory| calibrate(&directory)) else { return };
    for feed in volume.open_feeds() {
        if let Source::Open(file) = feed.source()
            && probe_lease(&file, leases) == Answer::Unheld
        {
            feed.seal();
        }
    }
    volume.look_again();
}
