//! The operator's metrics: all names of this part in one place. The controller registers its own.

use prometheus::{
    Gauge, Histogram, HistogramOpts, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

/// Upper bounds in seconds: an admission takes well under a millisecond, and the API server gives it five seconds.
const ADMISSION_BUCKETS: [f64; 9] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 1.0, 5.0];

/// What is counted here.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Where all of them are, the controller's too.
    pub registry: Registry,
    /// Pods that were looked at, by result and reason.
    pub injections: IntCounterVec,
    /// How long that took.
    pub admission_seconds: Histogram,
    /// Connections that came to nothing, by reason.
    pub connections_failed: IntCounterVec,
    /// When the webhook's certificate ends.
    pub certificate_expiry: Gauge,
    /// Whether this process leads.
    pub leader: IntGauge,
}

impl Metrics {
    /// Registers everything.
    ///
    /// # Errors
    /// If two have the same name: a bug.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let histogram = HistogramOpts::new(
            "capstan_operator_admission_duration_seconds",
            "Time to answer an admission request.",
        );
        let metrics = Self {
            injections: IntCounterVec::new(
                Opts::new(
                    "capstan_operator_injections_total",
                    "Pods that asked for a sidecar, by what became of it.",
                ),
                &["result", "reason"],
            )?,
            admission_seconds: Histogram::with_opts(histogram.buckets(ADMISSION_BUCKETS.to_vec()))?,
            connections_failed: IntCounterVec::new(
                Opts::new(
                    "capstan_operator_webhook_failed_connections_total",
                    "Connections to the webhook that failed, by reason.",
                ),
                &["reason"],
            )?,
            certificate_expiry: Gauge::new(
                "capstan_operator_certificate_expiry_timestamp_seconds",
                "When the webhook's certificate ends; 0 without one.",
            )?,
            leader: IntGauge::new("capstan_operator_leader", "1 while this process leads.")?,
            registry,
        };
        metrics.register()?;
        Ok(metrics)
    }

    fn register(&self) -> Result<(), prometheus::Error> {
        let build = IntGaugeVec::new(Opts::new("capstan_operator_build_info", "Always 1."), &["version"])?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        self.registry.register(Box::new(build))?;
        self.registry.register(Box::new(self.injections.clone()))?;
        self.registry.register(Box::new(self.admission_seconds.clone()))?;
        self.registry.register(Box::new(self.connections_failed.clone()))?;
        self.registry.register(Box::new(self.certificate_expiry.clone()))?;
        self.registry.register(Box::new(self.leader.clone()))
    }

    /// Everything in the text format.
    ///
    /// # Errors
    /// If a metric cannot be written: a bug.
    pub fn render(&self) -> Result<String, prometheus::Error> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}
