//! The metrics of reconciliation. Labels are names, of which there are as many as there are policies.

use capstan_crds::policy::PodCounts;
use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry, core::Collector};

use crate::pods::Key;

/// All of them.
#[derive(Clone, Debug)]
pub struct Metrics {
    reconciles: IntCounterVec,
    seconds: HistogramVec,
    pods: IntGaugeVec,
    pushes: IntCounterVec,
    questions: IntCounterVec,
    watch_errors: IntCounterVec,
    sweeps: IntCounterVec,
    unconfirmed: IntCounterVec,
}

impl Metrics {
    /// Makes them known to a registry.
    ///
    /// # Errors
    /// If the registry has others of these names.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counter = |name: &str, help: &str, labels: &[&str]| {
            IntCounterVec::new(Opts::new(format!("capstan_operator_{name}"), help), labels)
        };
        let buckets = vec![0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0];
        let seconds = HistogramOpts::new("capstan_operator_reconcile_duration_seconds", "How long one took.");
        let pods = Opts::new("capstan_operator_pods", "Pods that name a policy, by what is known of them.");
        let metrics = Self {
            reconciles: counter(
                "reconciles_total",
                "Reconciliations, by kind and result: ok, or the step that failed.",
                &["kind", "result"],
            )?,
            seconds: HistogramVec::new(seconds.buckets(buckets), &["kind"])?,
            pods: IntGaugeVec::new(pods, &["namespace", "policy", "state"])?,
            pushes: counter(
                "pushes_total",
                "Pods that were told their configuration, by result.",
                &["result"],
            )?,
            questions: counter(
                "feedback_reads_total",
                "Sidecars that were asked for their status, by result.",
                &["result"],
            )?,
            watch_errors: counter(
                "watch_errors_total",
                "Watches that broke, by what they watch.",
                &["kind"],
            )?,
            sweeps: counter("sweeps_total", "Searches for pods without a sidecar, by result.", &["result"])?,
            unconfirmed: counter(
                "unconfirmed_bytes_total",
                "Bytes that no receiver had confirmed when their sidecar ended, by its termination message.",
                &["namespace", "policy"],
            )?,
        };
        for collector in metrics.all() {
            registry.register(collector)?;
        }
        Ok(metrics)
    }

    fn all(&self) -> [Box<dyn Collector>; 8] {
        let Self { reconciles, seconds, pods, pushes, questions, watch_errors, sweeps, unconfirmed } =
            self.clone();
        [
            Box::new(reconciles),
            Box::new(seconds),
            Box::new(pods),
            Box::new(pushes),
            Box::new(questions),
            Box::new(watch_errors),
            Box::new(sweeps),
            Box::new(unconfirmed),
        ]
    }

    /// An object was reconciled, or a step of it failed.
    pub fn reconciled(&self, kind: &str, result: &str, seconds: f64) {
        self.reconciles.with_label_values(&[kind, result]).inc();
        self.seconds.with_label_values(&[kind]).observe(seconds);
    }

    /// A pod was told its configuration, or not.
    pub fn pushed(&self, result: &str) {
        self.pushes.with_label_values(&[result]).inc();
    }

    /// A sidecar was asked.
    pub fn asked(&self, result: &str) {
        self.questions.with_label_values(&[result]).inc();
    }

    /// A watch broke.
    pub fn watch_failed(&self, kind: &str) {
        self.watch_errors.with_label_values(&[kind]).inc();
    }

    /// Pods without a sidecar were searched.
    pub fn swept(&self, result: &str) {
        self.sweeps.with_label_values(&[result]).inc();
    }

    /// A sidecar ended with so many bytes unconfirmed.
    pub fn left_unconfirmed(&self, policy: &Key, bytes: u64) {
        self.unconfirmed.with_label_values(&[&policy.namespace, &policy.name]).inc_by(bytes);
    }

    /// The pods of a policy were counted.
    pub fn counted(&self, policy: &Key, counts: &PodCounts) {
        for (state, count) in states(counts) {
            self.pods.with_label_values(&[&policy.namespace, &policy.name, state]).set(count);
        }
    }

    /// A policy is gone.
    pub fn forget(&self, policy: &Key) {
        for (state, _) in states(&PodCounts::default()) {
            // One that was never counted is not there, which is what is wanted.
            drop(self.pods.remove_label_values(&[&policy.namespace, &policy.name, state]));
        }
        drop(self.unconfirmed.remove_label_values(&[&policy.namespace, &policy.name]));
    }

    /// Nobody leads here any more: what was counted is somebody else's to tell.
    pub fn forget_all(&self) {
        self.pods.reset();
        self.unconfirmed.reset();
    }
}

fn states(counts: &PodCounts) -> [(&'static str, i64); 6] {
    let PodCounts { matched, injected, missing, up_to_date, unobserved, need_restart } = *counts;
    [
        ("matched", matched),
        ("injected", injected),
        ("missing", missing),
        ("up_to_date", up_to_date),
        ("unobserved", unobserved),
        ("need_restart", need_restart),
    ]
}
