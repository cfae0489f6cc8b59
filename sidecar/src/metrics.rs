//! All metrics and their names. Labels are names of policies, logs and destinations, never paths.

use prometheus::{
    Encoder, Gauge, GaugeVec, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    Opts, Registry, TextEncoder,
};

use crate::forward::track::Filled;
use crate::settings::LogSettings;

const LOG: &[&str] = &["policy", "log"];
const LOG_AND_DESTINATION: &[&str] = &["policy", "log", "destination"];

/// The process's metrics.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    sent_lines: IntCounterVec,
    sent_bytes: IntCounterVec,
    replayed_lines: IntCounterVec,
    confirmed_lines: IntCounterVec,
    confirmed_bytes: IntCounterVec,
    dropped_lines: IntCounterVec,
    lost_bytes: IntCounterVec,
    truncations: IntCounterVec,
    read_errors: IntCounterVec,
    refused_files: IntCounterVec,
    unreadable_names: IntGauge,
    connects: IntCounterVec,
    replays: IntCounterVec,
    /// Connection open now, by destination.
    pub connection_up: IntGaugeVec,
    /// Level of proof, by destination: 0 unknown, 1 acked, 2 confirmed.
    pub proof_level: IntGaugeVec,
    /// Bytes not yet confirmed.
    pub lag_bytes: IntGaugeVec,
    /// Age of the oldest line that is not confirmed.
    pub lag_seconds: GaugeVec,
    /// Archives there are.
    pub archives: IntGaugeVec,
    /// Their bytes on disk.
    pub archive_bytes: IntGaugeVec,
    rotations: IntCounterVec,
    reopen_seconds: Histogram,
    reopen_failures: IntCounterVec,
    signals: IntCounterVec,
    deletions: IntCounterVec,
    compress_failures: IntCounterVec,
    /// Writes of the state that failed.
    pub state_failures: IntGauge,
    /// When the configuration was last loaded.
    pub config_loaded: Gauge,
    /// Whether the last load succeeded.
    pub config_valid: IntGauge,
    listen_failures: IntCounter,
}

impl Metrics {
    /// Registers everything.
    pub fn new() -> Result<Metrics, prometheus::Error> {
        let registry = Registry::new_custom(Some("capstan_sidecar".to_owned()), None)?;
        let r = &registry;
        let metrics = Metrics {
            sent_lines: counters(
                r,
                "sent_lines_total",
                "Lines sent, replayed ones included.",
                LOG_AND_DESTINATION,
            )?,
            sent_bytes: counters(
                r,
                "sent_bytes_total",
                "Bytes of log sent, replayed ones included.",
                LOG_AND_DESTINATION,
            )?,
            replayed_lines: counters(
                r,
                "replayed_lines_total",
                "Lines sent again after a connection ended without proof.",
                LOG_AND_DESTINATION,
            )?,
            confirmed_lines: counters(
                r,
                "confirmed_lines_total",
                "Lines whose receipt is proved.",
                LOG_AND_DESTINATION,
            )?,
            confirmed_bytes: counters(
                r,
                "confirmed_bytes_total",
                "Bytes of log whose receipt is proved.",
                LOG_AND_DESTINATION,
            )?,
            dropped_lines: counters(
                r,
                "dropped_lines_total",
                "Lines not or not wholly forwarded, by reason.",
                &["policy", "log", "reason"],
            )?,
            lost_bytes: counters(
                r,
                "lost_bytes_total",
                "Bytes that went away before they were confirmed, by truncation or deletion.",
                LOG_AND_DESTINATION,
            )?,
            truncations: counters(r, "truncations_total", "Files truncated by somebody else.", LOG)?,
            read_errors: counters(r, "read_errors_total", "Reads that failed.", LOG)?,
            refused_files: counters(
                r,
                "refused_files_total",
                "Paths that match and are no plain file with one name.",
                LOG,
            )?,
            unreadable_names: gauge(
                r,
                "unreadable_names",
                "Files left alone because their names are not UTF-8.",
            )?,
            connects: counters(
                r,
                "connects_total",
                "Attempts to connect, by result.",
                &["destination", "result"],
            )?,
            replays: counters(
                r,
                "replays_total",
                "Connections that ended without proof while something was unconfirmed.",
                &["destination"],
            )?,
            connection_up: gauges(r, "connection_up", "Whether a connection is open.", &["destination"])?,
            proof_level: gauges(
                r,
                "proof_level",
                "What the receiver proves: 0 nothing yet, 1 its kernel has the bytes, 2 it has read them.",
                &["destination"],
            )?,
            lag_bytes: gauges(
                r,
                "lag_bytes",
                "Bytes written by the app and not confirmed.",
                LOG_AND_DESTINATION,
            )?,
            lag_seconds: float_gauges(
                r,
                "lag_seconds",
                "Age of the oldest line that is not confirmed.",
                LOG_AND_DESTINATION,
            )?,
            archives: gauges(r, "archives", "Archives kept.", LOG)?,
            archive_bytes: gauges(r, "archive_bytes", "Bytes of the archives kept, on disk.", LOG)?,
            rotations: counters(
                r,
                "rotations_total",
                "Rotations by method and result.",
                &["policy", "log", "method", "result"],
            )?,
            reopen_seconds: histogram(r)?,
            reopen_failures: counters(
                r,
                "reopen_failures_total",
                "Rotations after which the writer was not seen to reopen in time, by reason.",
                &["policy", "log", "reason"],
            )?,
            signals: counters(r, "signals_total", "Signals by result.", &["policy", "log", "result"])?,
            deletions: counters(
                r,
                "deletions_total",
                "Archives deleted, by reason.",
                &["policy", "log", "reason"],
            )?,
            compress_failures: counters(
                r,
                "compress_failures_total",
                "Archives that could not be compressed; tried again.",
                LOG,
            )?,
            state_failures: gauge(
                r,
                "state_write_failures",
                "Writes of the state that failed since the start.",
            )?,
            config_loaded: float_gauge(
                r,
                "config_last_load_timestamp_seconds",
                "When the configuration was last loaded.",
            )?,
            config_valid: gauge(
                r,
                "config_valid",
                "Whether the configuration that was last seen could be used.",
            )?,
            listen_failures: counter(
                r,
                "listen_failures_total",
                "Attempts to listen for this page that failed.",
            )?,
            registry: registry.clone(),
        };
        let build = gauges(r, "build_info", "Version of this sidecar.", &["version"])?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        Ok(metrics)
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
        self.sent_lines.with_label_values(&labels).inc_by(filled.lines);
        self.sent_bytes.with_label_values(&labels).inc_by(filled.bytes);
        if filled.replayed > 0 {
            self.replayed_lines.with_label_values(&labels).inc_by(filled.replayed);
        }
        if filled.cut > 0 {
            self.dropped_lines.with_label_values(&[labels[0], labels[1], "cut"]).inc_by(filled.cut);
        }
    }

    /// The receipt of lines was proved.
    pub fn confirmed(&self, log: &LogSettings, destination: &str, lines: u64, bytes: u64) {
        let labels = [log.policy.as_str(), log.log.name.as_str(), destination];
        self.confirmed_lines.with_label_values(&labels).inc_by(lines);
        self.confirmed_bytes.with_label_values(&labels).inc_by(bytes);
    }

    /// Bytes went away before they were confirmed.
    pub fn lost(&self, log: &LogSettings, destination: &str, bytes: u64) {
        let labels = [log.policy.as_str(), log.log.name.as_str(), destination];
        self.lost_bytes.with_label_values(&labels).inc_by(bytes);
    }

    /// Somebody truncated a file.
    pub fn truncated(&self, log: &LogSettings) {
        self.truncations.with_label_values(&labels(log)).inc();
    }

    /// A read failed.
    pub fn read_failed(&self, log: &LogSettings) {
        self.read_errors.with_label_values(&labels(log)).inc();
    }

    /// A path was refused.
    pub fn refused(&self, log: &LogSettings) {
        self.refused_files.with_label_values(&labels(log)).inc();
    }

    /// How many names are no UTF-8.
    pub fn unreadable_names(&self, count: u64) {
        self.unreadable_names.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// An attempt to connect ended.
    pub fn connected(&self, destination: &str, result: &str) {
        self.connects.with_label_values(&[destination, result]).inc();
    }

    /// A connection ended without proof.
    pub fn replayed(&self, destination: &str) {
        self.replays.with_label_values(&[destination]).inc();
    }

    /// A rotation was made, undone or failed.
    pub fn rotated(&self, log: &LogSettings, method: &str, result: &str) {
        self.rotations.with_label_values(&[log.policy.as_str(), log.log.name.as_str(), method, result]).inc();
    }

    /// A writer was seen to have reopened after so many seconds.
    pub fn reopened(&self, seconds: f64) {
        self.reopen_seconds.observe(seconds);
    }

    /// A writer was not seen to reopen.
    pub fn reopen_failed(&self, log: &LogSettings, reason: &str) {
        self.reopen_failures.with_label_values(&[log.policy.as_str(), log.log.name.as_str(), reason]).inc();
    }

    /// A signal was sent, or not.
    pub fn signalled(&self, log: &LogSettings, result: &str) {
        self.signals.with_label_values(&[log.policy.as_str(), log.log.name.as_str(), result]).inc();
    }

    /// An archive could not be compressed.
    pub fn compress_failed(&self, log: &LogSettings) {
        self.compress_failures.with_label_values(&labels(log)).inc();
    }

    /// An archive was deleted. See [`Metrics::lost`] for what of it was not confirmed.
    pub fn deleted(&self, log: &LogSettings, reason: &str) {
        self.deletions.with_label_values(&[log.policy.as_str(), log.log.name.as_str(), reason]).inc();
    }

    /// The address to listen on could not be had.
    pub fn listen_failed(&self) {
        self.listen_failures.inc();
    }

    /// Rotations so far that came to their end, for the status.
    pub fn rotations_of(&self, log: &LogSettings) -> u64 {
        self.rotations.with_label_values(&[log.policy.as_str(), log.log.name.as_str(), "rename", "ok"]).get()
    }
}

fn labels(log: &LogSettings) -> [&str; 2] {
    [log.policy.as_str(), log.log.name.as_str()]
}

fn counters(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> Result<IntCounterVec, prometheus::Error> {
    let metric = IntCounterVec::new(Opts::new(name, help), labels)?;
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

fn counter(registry: &Registry, name: &str, help: &str) -> Result<IntCounter, prometheus::Error> {
    let metric = IntCounter::new(name, help)?;
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

fn gauges(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> Result<IntGaugeVec, prometheus::Error> {
    let metric = IntGaugeVec::new(Opts::new(name, help), labels)?;
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

fn gauge(registry: &Registry, name: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
    let metric = IntGauge::new(name, help)?;
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

fn float_gauges(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> Result<GaugeVec, prometheus::Error> {
    let metric = GaugeVec::new(Opts::new(name, help), labels)?;
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

fn float_gauge(registry: &Registry, name: &str, help: &str) -> Result<Gauge, prometheus::Error> {
    let metric = Gauge::new(name, help)?;
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

fn histogram(registry: &Registry) -> Result<Histogram, prometheus::Error> {
    let buckets = vec![0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0];
    let options = HistogramOpts::new(
        "reopen_seconds",
        "Time from the exchange to the proof that nobody writes the old file.",
    );
    let metric = Histogram::with_opts(options.buckets(buckets))?;
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}
