//! All metrics and their names. Labels are names of policies, logs and destinations, never paths.

use prometheus::core::Collector;
use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry,
};

const LOG: &[&str] = &["policy", "log"];
const LOG_AND_DESTINATION: &[&str] = &["policy", "log", "destination"];
const DESTINATION: &[&str] = &["destination"];
const NONE: &[&str] = &[];

/// Seconds until a writer has reopened: most do at once, some only when a long request ends.
const REOPEN_BUCKETS: &[f64] = &[0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0];

/// What can be made from a name, a help text and labels.
trait Family: Collector + Clone + Sized + 'static {
    fn make(options: Opts, labels: &[&str]) -> Result<Self, prometheus::Error>;
}

macro_rules! family {
    ($type:ty, |$options:ident, $labels:ident| $make:expr) => {
        impl Family for $type {
            fn make($options: Opts, $labels: &[&str]) -> Result<Self, prometheus::Error> {
                $make
            }
        }
    };
}

family!(IntCounterVec, |options, labels| IntCounterVec::new(options, labels));
family!(IntGaugeVec, |options, labels| IntGaugeVec::new(options, labels));
family!(GaugeVec, |options, labels| GaugeVec::new(options, labels));
family!(IntCounter, |options, _labels| IntCounter::with_opts(options));
family!(IntGauge, |options, _labels| IntGauge::with_opts(options));
family!(Gauge, |options, _labels| Gauge::with_opts(options));
family!(Histogram, |options, _labels| {
    Histogram::with_opts(HistogramOpts::from(options).buckets(REOPEN_BUCKETS.to_vec()))
});

/// Declares all families, one row each: field, type, name, labels, help.
macro_rules! families {
    ($( $field:ident: $type:ty = $name:literal, $labels:expr, $help:literal; )*) => {
        /// Every family, registered.
        #[derive(Debug)]
        pub struct Families {
            $( #[doc = $help] pub $field: $type, )*
        }

        impl Families {
            /// Registers all of them.
            ///
            /// # Errors
            ///
            /// A name that is wrong or taken twice: a bug.
            pub fn register(registry: &Registry) -> Result<Families, prometheus::Error> {
                Ok(Families { $( $field: register(registry, $name, $labels, $help)?, )* })
            }
        }
    };
}

fn register<F: Family>(
    registry: &Registry,
    name: &str,
    labels: &[&str],
    help: &str,
) -> Result<F, prometheus::Error> {
    let family = F::make(Opts::new(name, help), labels)?;
    registry.register(Box::new(family.clone()))?;
    Ok(family)
}

families! {
    sent_lines: IntCounterVec = "sent_lines_total", LOG_AND_DESTINATION,
        "Lines sent, replayed ones included.";
    sent_bytes: IntCounterVec = "sent_bytes_total", LOG_AND_DESTINATION,
        "Bytes of log sent, replayed ones included.";
    replayed_lines: IntCounterVec = "replayed_lines_total", LOG_AND_DESTINATION,
        "Lines sent again after a connection ended without proof.";
    confirmed_lines: IntCounterVec = "confirmed_lines_total", LOG_AND_DESTINATION,
        "Lines whose receipt is proved.";
    confirmed_bytes: IntCounterVec = "confirmed_bytes_total", LOG_AND_DESTINATION,
        "Bytes of log whose receipt is proved.";
    dropped_lines: IntCounterVec = "dropped_lines_total", &["policy", "log", "reason"],
        "Lines not or not wholly forwarded, by reason.";
    lost_bytes: IntCounterVec = "lost_bytes_total", LOG_AND_DESTINATION,
        "Bytes that went away before they were confirmed, by truncation or deletion.";
    truncations: IntCounterVec = "truncations_total", LOG,
        "Files truncated by somebody else.";
    read_errors: IntCounterVec = "read_errors_total", LOG,
        "Reads that failed.";
    refused_files: IntCounterVec = "refused_files_total", LOG,
        "Paths that match and are no plain file with one name.";
    unreadable_names: IntGauge = "unreadable_names", NONE,
        "Files left alone because their names are not UTF-8.";
    connects: IntCounterVec = "connects_total", &["destination", "result"],
        "Attempts to connect, by result.";
    replays: IntCounterVec = "replays_total", DESTINATION,
        "Connections that ended without proof while something was unconfirmed.";
    connection_up: IntGaugeVec = "connection_up", DESTINATION,
        "Whether a connection is open.";
    proof_level: IntGaugeVec = "proof_level", DESTINATION,
        "What the receiver proves: 0 nothing yet, 1 its kernel has the bytes, 2 it has read them.";
    lag_bytes: IntGaugeVec = "lag_bytes", LOG_AND_DESTINATION,
        "Bytes written by the app and not confirmed.";
    lag_seconds: GaugeVec = "lag_seconds", LOG_AND_DESTINATION,
        "Age of the oldest line that is not confirmed.";
    archives: IntGaugeVec = "archives", LOG,
        "Archives kept.";
    archive_bytes: IntGaugeVec = "archive_bytes", LOG,
        "Bytes of the archives kept, on disk.";
    rotations: IntCounterVec = "rotations_total", &["policy", "log", "method", "result"],
        "Rotations by method and result.";
    reopen_seconds: Histogram = "reopen_seconds", NONE,
        "Time from the exchange to the proof that nobody writes the old file.";
    reopen_failures: IntCounterVec = "reopen_failures_total", &["policy", "log", "reason"],
        "Rotations after which the writer was not seen to reopen in time, by reason.";
    signals: IntCounterVec = "signals_total", &["policy", "log", "result"],
        "Signals by result.";
    deletions: IntCounterVec = "deletions_total", &["policy", "log", "reason"],
        "Archives deleted, by reason.";
    compress_failures: IntCounterVec = "compress_failures_total", LOG,
        "Archives that could not be compressed; tried again.";
    state_failures: IntGauge = "state_write_failures", NONE,
        "Writes of the state that failed since the start.";
    config_loaded: GaugeVec = "config_last_reload_success_timestamp_seconds", &["policy"],
        "When the policy's configuration last came into effect.";
    config_reload_ok: IntGaugeVec = "config_last_reload_successful", &["policy"],
        "Whether the policy's file, as it was last seen, could be used.";
    config_hash_match: IntGaugeVec = "config_hash_match", &["policy"],
        "Whether the configuration in effect is the one that should be, where that is known.";
    config_valid: IntGauge = "config_valid", NONE,
        "Whether the configuration that was last seen could be used, all policies of it.";
    listen_failures: IntCounter = "listen_failures_total", NONE,
        "Attempts to listen for this page that failed.";
    build_info: IntGaugeVec = "build_info", &["version"],
        "Version of this sidecar.";
}
