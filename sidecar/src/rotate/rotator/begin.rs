//! Rotates what is due: all logs of one target together, and one signal for them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::{FIRST_RETRY, LONGEST_RETRY, LOOK, Retry, Rotator, StreamKey};
use crate::rotate::act::rotate;
use crate::rotate::campaign::target_key;
use crate::rotate::due::{Due, When, due};
use crate::settings::LogSettings;
use crate::stream::feed::{Feed, GenerationKey};
use crate::stream::ledger::Stream;
use crate::stream::volume::Volume;

/// A stream that is to be rotated now.
pub(super) struct Ready {
    /// Its volume.
    pub volume: Arc<Volume>,
    /// Its log.
    pub log: Arc<LogSettings>,
    /// Its live generation.
    pub feed: Arc<Feed>,
}

impl Rotator {
    /// All streams that may be rotated: live, ours, not in the middle of it.
    pub(super) fn candidates(&self) -> Vec<(Ready, Stream)> {
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
    pub(super) fn rotate_due(&mut self) -> Duration {
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

    pub(super) fn due(&self, candidate: &Ready, stream: &Stream) -> Due {
        let Some(rotate) = &candidate.log.log.rotate else {
            return Due { trigger: None, next: None, served: None };
        };
        let when = When {
            size: rotate.when.size.map(|size| size.bytes()),
            schedule: self.schedules.get(&candidate.log.full_name()),
            min_size: rotate.when.min_size.bytes(),
            if_empty: rotate.when.if_empty,
            asked: self.hub.rotate_at(),
        };
        let last = Timestamp::from_microsecond(stream.rotated_at).unwrap_or(Timestamp::UNIX_EPOCH);
        due(&when, candidate.feed.size(), last, Timestamp::now())
    }

    /// Exchanges the files of all that are ready, then signals each target once. Returns the campaigns.
    pub(super) fn rotate_together(&mut self, ready: Vec<Ready>) -> Vec<u64> {
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
                campaign.signal(&self.hub.volumes(), &self.pod, &self.metrics);
            }
        }
        begun
    }

    fn exchange(&mut self, campaign: u64, ready: Ready) {
        let Ready { volume, log, feed } = ready;
        let key = (volume.base.clone(), feed.key.stream.clone());
        let path = volume.absolute(&feed.key.stream);
        match rotate(&volume, &log, &feed) {
            Ok(archived) => {
                tracing::info!(path = %path.display(), generation = archived.key.number, bytes = archived.size(), "rotated");
                self.wait_for(campaign, &volume, archived);
            }
            Err(error) => {
                self.metrics.rotated(&log, "rename", "failed");
                tracing::error!(path = %path.display(), %error, "not rotated");
                self.hub.set_rotation_problem(path, Some(format!("not rotated: {error}")));
                self.put_off(key);
            }
        }
    }

    pub(super) fn put_off(&mut self, key: StreamKey) {
        let pause = self.retries.get(&key).map_or(FIRST_RETRY, |retry| (retry.pause * 2).min(LONGEST_RETRY));
        self.retries.insert(key, Retry { at: Instant::now() + pause, pause });
    }
}
