//! LogRotationPolicy: which logs a pod has, when and how they are rotated, and where their lines go.

mod forward;
mod log;
mod rotate;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

pub use forward::{
    DestinationRef, Facility, Forward, Metadata, Multiline, Parse, ParseSeverity, ParseTimestamp, Redact,
    Severity,
};
pub use log::{Files, Log, ReadFrom, SyslogInput};
pub use rotate::{
    Archive, Compression, Fallback, Fifo, Http, HttpMethod, Method, Naming, Process, Reopen, Retention,
    Rotate, Signal, When, WhenUnconfirmed,
};

use crate::values::{Size, conditions};

/// Which logs a pod has, when and how they are rotated, and where their lines go.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "capstan.dev",
    version = "v1alpha1",
    kind = "LogRotationPolicy",
    plural = "logrotationpolicies",
    namespaced,
    shortname = "lrp",
    category = "logging",
    status = "LogRotationPolicyStatus",
    derive = "PartialEq",
    doc = "Rotates and forwards the log files of the pods that carry the annotation capstan.dev/policy with its name.",
    validation = (
        "size(self.metadata.name) <= 55 && self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",
        "metadata.name must be lower-case letters, digits and inner hyphens, at most 55 characters"
    ),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].reason"),
    printcolumn(name = "Pods", type_ = "integer", json_path = ".status.pods.matched"),
    printcolumn(name = "Injected", type_ = "integer", json_path = ".status.pods.injected"),
    printcolumn(name = "Up-To-Date", type_ = "integer", json_path = ".status.pods.upToDate"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct LogRotationPolicySpec {
    /// The logs, each with a name of its own.
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub logs: Vec<Log>,
    /// Limits for all archives of one volume together. Not supported yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
}

/// Limits for all archives of one volume together.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Budget {
    /// How many bytes they may have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_size: Option<Size>,
    /// How much of the volume stays free: bytes, or a share such as 15%.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = r"^[0-9]+(\.[0-9]+)?(%|[kMGTPE]|[KMGTPE]i)?$"))]
    pub min_free: Option<String>,
    /// What happens to archives that a destination has not confirmed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when_unconfirmed: Option<WhenUnconfirmed>,
}

/// What was seen of a policy. Written by the operator.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LogRotationPolicyStatus {
    /// The generation that all of this is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Accepted, DestinationsResolved, ConfigDelivered, Rotating, Forwarding, and Ready, their summary.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions")]
    pub conditions: Vec<Condition>,
    /// The hash of the configuration that sidecars should have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_hash: Option<String>,
    /// The pods that name this policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pods: Option<PodCounts>,
}

/// Counts of the pods that name a policy.
#[derive(KubeSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodCounts {
    /// All of them.
    pub matched: i64,
    /// Those with the sidecar.
    pub injected: i64,
    /// Those without it.
    pub missing: i64,
    /// Those whose sidecar was seen to run the configuration of `configHash`.
    pub up_to_date: i64,
    /// Those whose sidecar could not be asked.
    pub unobserved: i64,
    /// Those that lack a volume which the configuration needs.
    pub need_restart: i64,
}
