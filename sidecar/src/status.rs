//! What `/status` tells: streams, archives, destinations, lag. Only what was seen; the rest is said to be unknown.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;

use crate::forward::status::{DestinationStatus, Proof, SharedStatus};
use crate::hub::Hub;
use crate::metrics::Metrics;
use crate::reload::policies::PolicyStatus;
use crate::settings::{LogSettings, Settings};
use crate::stream::ledger::{Generation, SealedBy, Stage, Stream};
use crate::stream::volume::{Volume, now_micros};

/// Everything the status is made from.
pub struct View {
    /// What is configured.
    pub settings: Arc<Settings>,
    /// The volumes.
    pub hub: Arc<Hub>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// By destination, in the order of the settings.
    pub statuses: Vec<Arc<SharedStatus>>,
    /// When the process started.
    pub started: Instant,
}

/// The status as JSON.
#[derive(Clone, Debug, Default, Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Status {
    /// Version of this sidecar.
    pub version: String,
    /// Whether a sidecar is running; false when the status was read from the stored state.
    pub running: bool,
    /// Seconds since it started.
    pub uptime_seconds: u64,
    /// By path.
    pub streams: Vec<StreamStatus>,
    /// By name.
    pub destinations: BTreeMap<String, serde_json::Value>,
    /// By name.
    pub policies: BTreeMap<String, PolicyStatus>,
    /// What is wrong, in sentences.
    pub problems: Vec<String>,
}

/// One log path.
#[derive(Clone, Debug, Default, Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StreamStatus {
    /// Policy and log.
    pub log: String,
    /// The path.
    pub path: String,
    /// Bytes of the live file.
    pub live_bytes: u64,
    /// Number of its generation.
    pub generation: u64,
    /// Old files that somebody still writes, or may write.
    pub held: Vec<HeldStatus>,
    /// Archives kept.
    pub archives: u64,
    /// Their bytes before compression.
    pub archive_bytes: u64,
    /// How many of them are sealed by presumption only.
    pub presumed: u64,
    /// When it was last rotated, or first seen (RFC 3339).
    pub rotated_at: String,
    /// What is not confirmed, by destination.
    pub lag: BTreeMap<String, Lag>,
}

/// An old file that is not sealed.
#[derive(Clone, Debug, Default, Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HeldStatus {
    /// Its generation.
    pub generation: u64,
    /// Where it is.
    pub path: String,
    /// Its bytes.
    pub bytes: u64,
    /// For how long it has been waited for (seconds).
    pub seconds: u64,
}

/// What is not confirmed.
#[derive(Clone, Debug, Default, Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Lag {
    /// Bytes.
    pub bytes: u64,
    /// Age of the oldest line (seconds).
    pub seconds: f64,
}

impl View {
    /// Takes stock.
    pub fn status(&self) -> Status {
        let mut status = Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            running: true,
            uptime_seconds: self.started.elapsed().as_secs(),
            policies: self.hub.policies(),
            ..Status::default()
        };
        for volume in self.hub.volumes() {
            for (name, log, stream) in volume.streams() {
                status.streams.push(stream_status(&volume, &name, &log, &stream));
            }
        }
        for (destination, shared) in self.settings.destinations.iter().zip(&self.statuses) {
            let value = serde_json::to_value(shared.get()).unwrap_or_default();
            status.destinations.insert(destination.key.clone(), value);
        }
        status.problems = self.problems(&status);
        status
    }

    fn problems(&self, status: &Status) -> Vec<String> {
        let mut problems = self.hub.config_problems();
        problems.extend(self.hub.problems().into_values());
        problems.extend(self.hub.rotation_problems());
        let refusals = self.hub.refusals();
        problems
            .extend(refusals.iter().map(|(path, reason)| format!("{}: refused: {reason}", path.display())));
        for volume in self.hub.volumes().iter().filter(|volume| !volume.is_persistent()) {
            problems.push(format!(
                "{}: no place for state; positions will not survive a restart, and nothing is rotated",
                volume.base.display()
            ));
        }
        for (destination, shared) in self.settings.destinations.iter().zip(&self.statuses) {
            let DestinationStatus { connected, last_error, .. } = shared.get();
            if let (false, Some(error)) = (connected, last_error) {
                problems.push(format!("destination {}: {error}", destination.key));
            }
        }
        if status.streams.is_empty() && !self.settings.logs.is_empty() {
            problems.push("no file matches yet".to_owned());
        }
        problems
    }

    /// Sets the metrics that are taken at the moment somebody looks.
    pub fn refresh_metrics(&self) {
        let metrics = &self.metrics;
        let mut lags: BTreeMap<(String, String, String), Lag> = BTreeMap::new();
        let mut archives: BTreeMap<(String, String), (i64, i64)> = BTreeMap::new();
        for log in &self.settings.logs {
            archives.insert((log.policy.clone(), log.log.name.to_string()), (0, 0));
            for destination in &log.destinations {
                lags.insert(
                    (log.policy.clone(), log.log.name.to_string(), destination.clone()),
                    Lag::default(),
                );
            }
        }
        let mut failures = 0;
        for volume in self.hub.volumes() {
            failures += volume.state_failures();
            for (name, log, stream) in volume.streams() {
                let (policy, log_name) = (log.policy.clone(), log.log.name.to_string());
                let entry = archives.entry((policy.clone(), log_name.clone())).or_default();
                for generation in stream.generations.iter().filter(|generation| is_archive(generation)) {
                    entry.0 += 1;
                    entry.1 += volume
                        .absolute(&generation.path)
                        .metadata()
                        .map_or(0, |m| i64::try_from(m.len()).unwrap_or(i64::MAX));
                }
                for (destination, lag) in stream_status(&volume, &name, &log, &stream).lag {
                    let sum = lags.entry((policy.clone(), log_name.clone(), destination)).or_default();
                    sum.bytes += lag.bytes;
                    sum.seconds = sum.seconds.max(lag.seconds);
                }
            }
        }
        for ((policy, log, destination), lag) in lags {
            let labels = [policy.as_str(), log.as_str(), destination.as_str()];
            metrics
                .families
                .lag_bytes
                .with_label_values(&labels)
                .set(i64::try_from(lag.bytes).unwrap_or(i64::MAX));
            metrics.families.lag_seconds.with_label_values(&labels).set(lag.seconds);
        }
        for ((policy, log), (count, bytes)) in archives {
            metrics.families.archives.with_label_values(&[&policy, &log]).set(count);
            metrics.families.archive_bytes.with_label_values(&[&policy, &log]).set(bytes);
        }
        metrics.families.config_hash_match.reset();
        for (policy, status) in self.hub.policies() {
            if let Some(expected) = &status.expected {
                let matches = status.hash.as_ref() == Some(expected);
                metrics.families.config_hash_match.with_label_values(&[&policy]).set(i64::from(matches));
            }
        }
        metrics.families.state_failures.set(i64::try_from(failures).unwrap_or(i64::MAX));
        for (destination, shared) in self.settings.destinations.iter().zip(&self.statuses) {
            let status = shared.get();
            metrics
                .families
                .connection_up
                .with_label_values(&[&destination.key])
                .set(i64::from(status.connected));
            let level = match status.proof {
                Proof::Unknown => 0,
                Proof::Acked => 1,
                Proof::Confirmed => 2,
            };
            metrics.families.proof_level.with_label_values(&[&destination.key]).set(level);
        }
    }
}

fn is_archive(generation: &Generation) -> bool {
    generation.ours && generation.stage.is_sealed()
}

/// One stream of a running sidecar.
fn stream_status(volume: &Volume, name: &str, log: &LogSettings, stream: &Stream) -> StreamStatus {
    let first_seen = |number, position| volume.first_seen(name, number, position);
    from_record(&volume.absolute(name), log, stream, first_seen)
}

/// One stream, from what was stored.
pub fn stored_stream(path: &Path, log: &LogSettings, stream: &Stream) -> StreamStatus {
    from_record(path, log, stream, |number, position| Some(stream.generation(number)?.marks.at(position)?.0))
}

fn from_record(
    path: &Path,
    log: &LogSettings,
    stream: &Stream,
    first_seen: impl Fn(u64, u64) -> Option<i64>,
) -> StreamStatus {
    let live = stream.live();
    let archives = || stream.generations.iter().filter(|generation| is_archive(generation));
    let presumed = |generation: &&Generation| {
        matches!(generation.stage, Stage::Sealed(SealedBy::Quiet) | Stage::Compressed(SealedBy::Quiet))
    };
    StreamStatus {
        log: log.full_name(),
        path: path.display().to_string(),
        live_bytes: live.map_or(0, |live| live.length),
        generation: live.map_or(0, |live| live.number),
        held: stream
            .generations
            .iter()
            .filter(|generation| generation.stage == Stage::Old)
            .map(held)
            .collect(),
        archives: archives().count() as u64,
        archive_bytes: archives().map(|generation| generation.length).sum(),
        presumed: archives().filter(presumed).count() as u64,
        rotated_at: rfc3339(stream.rotated_at),
        lag: log.destinations.iter().map(|to| (to.clone(), lag(stream, to, &first_seen))).collect(),
    }
}

fn held(generation: &Generation) -> HeldStatus {
    let since = generation.retired_at.unwrap_or_else(now_micros);
    HeldStatus {
        generation: generation.number,
        path: generation.path.clone(),
        bytes: generation.length,
        seconds: u64::try_from((now_micros() - since) / 1_000_000).unwrap_or(0),
    }
}

fn lag(stream: &Stream, destination: &str, first_seen: &impl Fn(u64, u64) -> Option<i64>) -> Lag {
    let mut lag = Lag::default();
    for generation in stream.generations.iter().filter(|generation| generation.stage != Stage::Gone) {
        let confirmed = generation.cursors.get(destination).map_or(0, |cursor| cursor.confirmed);
        let bytes = generation.length.saturating_sub(confirmed);
        lag.bytes += bytes;
        if bytes > 0
            && let Some(first_seen) = first_seen(generation.number, confirmed)
        {
            lag.seconds = lag.seconds.max((now_micros() - first_seen).max(0) as f64 / 1e6);
        }
    }
    lag
}

fn rfc3339(micros: i64) -> String {
    jiff::Timestamp::from_second(micros / 1_000_000).map(|time| time.to_string()).unwrap_or_default()
}
