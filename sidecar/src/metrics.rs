//! What is counted, by the events that are counted. Names and labels are in [`families`].

pub mod families;

use std::collections::BTreeMap;

use prometheus::{Encoder, Registry, TextEncoder};

use families::Families;

use crate::forward::track::Filled;
use crate::reload::policies::PolicyStatus;
use crate::settings::LogSettings;

/// The process's metrics.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// All families, for those that are set when somebody looks.
    pub families: Families,
}

impl Metrics {
    /// Registers everything.
    ///
    /// # Errors
    ///
    /// See [`Families::register`].
    pub fn new() -> Result<Metrics, prometheus::Error> {
        let registry = Registry::new_custom(Some("capstan_sidecar".to_owned()), None)?;
        let families = Families::register(&registry)?;
        families.build_info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        Ok(Metrics { registry, families })
    }

    /// The page that Prometheus reads.
    pub fn render(&self) -> Vec<u8> {
        let mut page = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&self.registry.gather(), &mut page) {
            tracing::error!(%error, "metrics could not be rendered");
        }
        page
    }

    /// Lines were handed to the connection.
    pub fn sent(&self, log: &LogSettings, destination: &str, filled: &Filled) {
        let labels = [log.policy.as_str(), log.log.name.as_str(), destination];
        self.families.sent_lines.with_label_values(&labels).inc_by(filled.lines);
        self.families.sent_bytes.with_label_values(&labels).inc_by(filled.bytes);
        if filled.replayed > 0 {
            self.families.replayed_lines.with_label_values(&labels).inc_by(filled.replayed);
        }
        if filled.cut > 0 {
            self.families.dropped_lines.with_label_values(&[labels[0], labels[1], "cut"]).inc_by(filled.cut);
        }
    }

    /// The receipt of lines was proved.
    pub fn confirmed(&self, log: &LogSettings, destination: &str, lines: u64, bytes: u64) {
        let labels = [log.policy.as_str(), log.log.name.as_str(), destination];
        self.families.confirmed_lines.with_label_values(&labels).inc_by(lines);
        self.families.confirmed_bytes.with_label_values(&labels).inc_by(bytes);
    }

    /// Bytes went away before they were confirmed.
    pub fn lost(&self, log: &LogSettings, destination: &str, bytes: u64) {
        let labels = [log.policy.as_str(), log.log.name.as_str(), destination];
        self.families.lost_bytes.with_label_values(&labels).inc_by(bytes);
    }

    /// Somebody truncated a file.
    pub fn truncated(&self, log: &LogSettings) {
        self.families.truncations.with_label_values(&labels(log)).inc();
    }

    /// A read failed.
    pub fn read_failed(&self, log: &LogSettings) {
        self.families.read_errors.with_label_values(&labels(log)).inc();
    }

    /// A path was refused.
    pub fn refused(&self, log: &LogSettings) {
        self.families.refused_files.with_label_values(&labels(log)).inc();
    }

    /// How many names are no UTF-8.
    pub fn unreadable_names(&self, count: u64) {
        self.families.unreadable_names.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// What is known of the policies' files.
    pub fn reloaded(&self, policies: &BTreeMap<String, PolicyStatus>) {
        for (policy, status) in policies {
            let good = i64::from(status.error.is_none());
            self.families.config_reload_ok.with_label_values(&[policy]).set(good);
            let loaded = status.loaded_at.as_ref().and_then(|at| at.parse::<jiff::Timestamp>().ok());
            if let Some(at) = loaded {
                let seconds = at.as_millisecond() as f64 / 1000.0;
                self.families.config_loaded.with_label_values(&[policy]).set(seconds);
            }
        }
    }

    /// Forgets gauges of logs and destinations that may be gone: those that are there are set when somebody looks.
    pub fn forget_gauges(&self) {
        let families = &self.families;
        families.lag_bytes.reset();
        families.lag_seconds.reset();
        families.archives.reset();
        families.archive_bytes.reset();
        families.connection_up.reset();
        families.proof_level.reset();
    }

    /// An attempt to connect ended.
    pub fn connected(&self, destination: &str, result: &str) {
        self.families.connects.with_label_values(&[destination, result]).inc();
    }

    /// A connection ended without proof.
    pub fn replayed(&self, destination: &str) {
        self.families.replays.with_label_values(&[destination]).inc();
    }

    /// A rotation was made, undone or failed.
    pub fn rotated(&self, log: &LogSettings, method: &str, result: &str) {
        self.families
            .rotations
            .with_label_values(&[log.policy.as_str(), log.log.name.as_str(), method, result])
            .inc();
    }

    /// A writer was seen to have reopened after so many seconds.
    pub fn reopened(&self, seconds: f64) {
        self.families.reopen_seconds.observe(seconds);
    }

    /// A writer was not seen to reopen.
    pub fn reopen_failed(&self, log: &LogSettings, reason: &str) {
        self.families
            .reopen_failures
            .with_label_values(&[log.policy.as_str(), log.log.name.as_str(), reason])
            .inc();
    }

    /// A signal was sent, or not.
    pub fn signalled(&self, log: &LogSettings, result: &str) {
        self.families.signals.with_label_values(&[log.policy.as_str(), log.log.name.as_str(), result]).inc();
    }

    /// An archive could not be compressed.
    pub fn compress_failed(&self, log: &LogSettings) {
        self.families.compress_failures.with_label_values(&labels(log)).inc();
    }

    /// An archive was deleted. See [`Metrics::lost`] for what of it was not confirmed.
    pub fn deleted(&self, log: &LogSettings, reason: &str) {
        self.families
            .deletions
            .with_label_values(&[log.policy.as_str(), log.log.name.as_str(), reason])
            .inc();
    }

    /// The address to listen on could not be had.
    pub fn listen_failed(&self) {
        self.families.listen_failures.inc();
    }

    /// Rotations so far that came to their end, for the status.
    pub fn rotations_of(&self, log: &LogSettings) -> u64 {
        self.families
            .rotations
            .with_label_values(&[log.policy.as_str(), log.log.name.as_str(), "rename", "ok"])
            .get()
    }
}

fn labels(log: &LogSettings) -> [&str; 2] {
    [log.policy.as_str(), log.log.name.as_str()]
}
