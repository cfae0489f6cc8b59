//! `spec.logs[].forward`: where the lines of a log go, and what their messages say about them.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::values::{Name, Pattern, Span};

/// Where the lines go, and what their messages say about them.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Forward {
    /// LogDestinations of this namespace. More than one is not supported yet.
    #[schemars(length(min = 1, max = 8))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub destinations: Vec<DestinationRef>,
    /// Pod, Node, Workload, or a literal. Default: Pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255), regex(pattern = r"^[!-~]+$"))]
    pub hostname: Option<String>,
    /// APP-NAME. Default: the policy's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 48), regex(pattern = r"^[!-~]+$"))]
    pub app_name: Option<String>,
    /// Default: Local0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub facility: Option<Facility>,
    /// Default: Info.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<Severity>,
    /// What every message says about its origin, in one structured-data element.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub metadata: Option<Vec<Metadata>>,
    /// Only lines in which one of these is found. Not supported yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub include: Option<Vec<Pattern>>,
    /// No line in which one of these is found. Not supported yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub exclude: Option<Vec<Pattern>>,
    /// Joins lines. Not supported yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub multiline: Option<Multiline>,
    /// Takes severity and time from the line. Not supported yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parse: Option<Parse>,
    /// Replaces text. Not supported yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub redact: Option<Vec<Redact>>,
}

/// A LogDestination of the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DestinationRef {
    /// Its name.
    pub name: Name,
}

/// What a message can say about its origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs, reason = "documented by the type; a text per variant would swell the CRD")]
pub enum Metadata {
    Namespace,
    Pod,
    PodUid,
    Container,
    Node,
    Workload,
}

/// Joins lines into one message.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Multiline {
    /// Found in the first line of each message.
    pub start_pattern: Pattern,
    /// A message is complete when nothing came for this long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
}

/// What is taken from the line.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Parse {
    /// The severity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<ParseSeverity>,
    /// The time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<ParseTimestamp>,
}

/// How the severity is found.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ParseSeverity {
    /// Its first group is the severity's name.
    pub pattern: Pattern,
}

/// How the time is found.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ParseTimestamp {
    /// Its first group is the time.
    pub pattern: Pattern,
    /// As in strftime(3). Default: RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub format: Option<String>,
}

/// A replacement.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Redact {
    /// What is replaced.
    pub pattern: Pattern,
    /// By what.
    #[schemars(length(max = 256))]
    pub with: String,
}

/// A syslog facility (RFC 5424 section 6.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs, reason = "documented by the RFC; a text per variant would swell the CRD")]
pub enum Facility {
    Kern,
    User,
    Mail,
    Daemon,
    Auth,
    Syslog,
    Lpr,
    News,
    Uucp,
    Cron,
    AuthPriv,
    Ftp,
    Ntp,
    Audit,
    Alert,
    Clock,
    Local0,
    Local1,
    Local2,
    Local3,
    Local4,
    Local5,
    Local6,
    Local7,
}

/// A syslog severity (RFC 5424 section 6.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs, reason = "documented by the RFC; a text per variant would swell the CRD")]
pub enum Severity {
    Emergency,
    Alert,
    Critical,
    Error,
    Warning,
    Notice,
    Info,
    Debug,
}
