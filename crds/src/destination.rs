//! LogDestination: a receiver of lines.

mod syslog;
mod tls;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

pub use syslog::{
    Delivery, DeliveryMode, Endpoint, Format, Framing, Param, SdElement, SdId, Syslog, Transport,
};
pub use tls::{Authority, ClientCertificate, Tls, TlsVersion};

use crate::values::conditions;

/// A receiver of lines: exactly one kind of it.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "capstan.dev",
    version = "v1alpha1",
    kind = "LogDestination",
    plural = "logdestinations",
    namespaced,
    shortname = "ld",
    category = "logging",
    status = "LogDestinationStatus",
    derive = "PartialEq",
    doc = "A receiver of log lines, to which LogRotationPolicies of its namespace refer.",
    validation = (
        "size(self.metadata.name) <= 32 && self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",
        "metadata.name must be lower-case letters, digits and inner hyphens, at most 32 characters"
    ),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].reason"),
    printcolumn(name = "Used-By", type_ = "integer", json_path = ".status.usedBy"),
    printcolumn(name = "Connected", type_ = "integer", json_path = ".status.sidecars.connected"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("has(self.syslog)", "write exactly one kind of destination; there is syslog"))]
pub struct LogDestinationSpec {
    /// A syslog receiver.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub syslog: Option<Syslog>,
}

/// What was seen of a destination. Written by the operator.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LogDestinationStatus {
    /// The generation that all of this is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Accepted, Connected, and Ready, their summary.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions")]
    pub conditions: Vec<Condition>,
    /// How many policies send to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_by: Option<i64>,
    /// The sidecars that send to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sidecars: Option<SidecarCounts>,
    /// What went wrong last, as far as sidecars told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<LastError>,
}

/// Counts of the sidecars that send to a destination.
#[derive(KubeSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SidecarCounts {
    /// Those that were asked and answered.
    pub observed: i64,
    /// Those of them with a connection, or with all that they sent confirmed.
    pub connected: i64,
    /// Those of them that cannot reach it.
    pub failing: i64,
}

/// An error that a sidecar told.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastError {
    /// The pod.
    #[schemars(length(max = 253))]
    pub pod: String,
    /// What happened.
    #[schemars(length(max = 1024))]
    pub message: String,
    /// When it did.
    #[schemars(length(max = 64))]
    pub time: String,
}
