//! `spec.logs[]`: the files of one kind, and what is done with them.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Forward, Rotate};
use crate::values::{AbsolutePath, Name, Size};

/// Files of one kind, and what is done with them.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("has(self.rotate) || has(self.forward)", "write rotate, forward or both"))]
#[x_kube(validation = ("has(self.files) != has(self.syslog)", "write exactly one of files and syslog"))]
#[x_kube(validation = (
    "!has(self.rotate) || !has(self.rotate.retention.count) || self.rotate.retention.count > 0 || has(self.forward)",
    "rotate.retention.count is 0 for a log that is not forwarded, so every archive would be lost; write at least 1"
))]
pub struct Log {
    /// Becomes the MSGID of messages and a label of metrics.
    pub name: Name,
    /// Which files belong to the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<Files>,
    /// What the app sends to a local syslog. Not supported yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub syslog: Option<SyslogInput>,
    /// The container whose processes are told to reopen. Default: the pod's annotation, else its first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub container: Option<String>,
    /// Where to begin in files that are found at the very first start. Default: Beginning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_from: Option<ReadFrom>,
    /// A longer line is cut, marked and counted. Default: 1Mi.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_line_bytes: Option<Size>,
    /// When and how to rotate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotate: Option<Rotate>,
    /// Where to send the lines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forward: Option<Forward>,
}

/// Which files belong to a log. Archives never do.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Files {
    /// Absolute paths, as the app's container sees them; *, ?, [a-z], {a,b} and /**/ are patterns.
    #[schemars(length(min = 1, max = 32))]
    pub include: Vec<AbsolutePath>,
    /// Absolute, or without a slash: then matched against the file's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), inner(length(min = 1, max = 1024)))]
    pub exclude: Option<Vec<String>>,
}

/// Where to begin in files that are found at the very first start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs, reason = "documented by the type; a text per variant would swell the CRD")]
pub enum ReadFrom {
    Beginning,
    End,
}

/// A local syslog that the app sends to.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "has(self.udpPort) || has(self.tcpPort) || has(self.socketDirectory)",
    "write at least one of udpPort, tcpPort and socketDirectory"
))]
pub struct SyslogInput {
    /// A port of 127.0.0.1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub udp_port: Option<u16>,
    /// A port of 127.0.0.1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub tcp_port: Option<u16>,
    /// A directory for the socket `log`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub socket_directory: Option<AbsolutePath>,
}
