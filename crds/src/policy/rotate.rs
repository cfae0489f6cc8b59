//! `spec.logs[].rotate`: when and how a log is rotated, and what becomes of its archives.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::values::{AbsolutePath, Nothing, Pattern, Preset, Size, Span};

/// When and how to rotate.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "!has(self.method) || self.method != 'InPlace' || !has(self.reopen)",
    "reopen has no meaning with method InPlace; leave it out"
))]
#[x_kube(validation = (
    "(has(self.method) && self.method == 'InPlace') || has(self.reopen)",
    "write in reopen how the app is told to open its file again, such as {preset: Gunicorn} or {none: {}}"
))]
#[x_kube(validation = (
    "!has(self.allowLoss) || !self.allowLoss || (has(self.method) && self.method == 'InPlace')",
    "allowLoss has a meaning only with method InPlace; leave it out"
))]
pub struct Rotate {
    /// When a file is due.
    pub when: When,
    /// Rename gives the path a new file, InPlace (not supported yet) empties the file. Default: Rename.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<Method>,
    /// Whether lines may be lost where a file cannot be emptied without loss. Not supported yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_loss: Option<bool>,
    /// How the app is told to reopen its file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reopen: Option<Reopen>,
    /// Where archives go, how they are named and compressed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive: Option<Archive>,
    /// How much is kept of each file's archives.
    pub retention: Retention,
    /// The permissions of the new file. Default: as the old one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^0?[0-7]{3}$"), length(max = 4))]
    pub mode: Option<String>,
}

/// When a file is due: by size, by schedule, or whichever comes first.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("has(self.size) || has(self.schedule)", "write size, schedule or both"))]
#[x_kube(validation = (
    "!has(self.timeZone) || has(self.schedule)",
    "timeZone has no meaning without schedule; leave it out or write a schedule"
))]
#[x_kube(validation = (
    "!has(self.ifEmpty) || !self.ifEmpty || !has(self.minSize)",
    "minSize contradicts ifEmpty; leave one of them out"
))]
#[x_kube(validation = (
    "!has(self.size) || !has(self.minSize) || quantity(string(self.minSize)).compareTo(quantity(string(self.size))) <= 0",
    "minSize is more than size; write at most that"
))]
pub struct When {
    /// Due once the file has this many bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<Size>,
    /// Due at these times: five fields as in a crontab, or @hourly, @daily, @weekly, @monthly, @yearly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub schedule: Option<String>,
    /// The time zone of the schedule, such as Asia/Seoul. Default: UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9+_/-]*$"))]
    pub time_zone: Option<String>,
    /// The schedule leaves a smaller file alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_size: Option<Size>,
    /// Whether the schedule also rotates an empty file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub if_empty: Option<bool>,
}

/// How a file is turned over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs, reason = "documented by the field; a text per variant would swell the CRD")]
pub enum Method {
    Rename,
    InPlace,
}

/// How the app is told to reopen its file.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "[has(self.preset), has(self.signal), has(self.http), has(self.fifo), has(self.none)].filter(one, one).size() == 1",
    "write exactly one of preset, signal, http, fifo and none"
))]
pub struct Reopen {
    /// A known app, such as Gunicorn or Nginx.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preset: Option<Preset>,
    /// A signal to a process of the app.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<Signal>,
    /// A request to 127.0.0.1. Not supported yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<Http>,
    /// Text written into a FIFO. Not supported yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fifo: Option<Fifo>,
    /// The app notices by itself, or opens its file for every line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub none: Option<Nothing>,
    /// An app that has not reopened by then is reported, and fallback is used. Default: 30s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
    /// What to do when nobody reopens. InPlace is not supported yet. Default: Wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback: Option<Fallback>,
}

/// A signal, and who gets it.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Signal {
    /// SIGUSR1, SIGUSR2 or SIGHUP.
    #[schemars(regex(pattern = r"^(SIG)?(USR1|USR2|HUP)$"), length(max = 8))]
    pub name: String,
    /// The process.
    pub process: Process,
}

/// Which process gets a signal. With both, both must fit.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "has(self.commandPattern) || has(self.pidFile)",
    "write which process gets the signal: commandPattern, pidFile or both"
))]
pub struct Process {
    /// Found in its command line, the arguments joined by spaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command_pattern: Option<Pattern>,
    /// The file that holds its id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid_file: Option<AbsolutePath>,
}

/// A request to 127.0.0.1.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Http {
    /// The port.
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,
    /// The path.
    #[schemars(length(max = 1024), regex(pattern = r"^/"))]
    pub path: String,
    /// Default: POST.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<HttpMethod>,
}

/// The method of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
#[allow(missing_docs, reason = "documented by the type; a text per variant would swell the CRD")]
pub enum HttpMethod {
    Get,
    Post,
    Put,
}

/// Text written into a FIFO.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fifo {
    /// The FIFO.
    pub path: AbsolutePath,
    /// What is written.
    #[schemars(length(min = 1, max = 64))]
    pub write: String,
}

/// What to do when nobody reopens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs, reason = "documented by the field; a text per variant would swell the CRD")]
pub enum Fallback {
    InPlace,
    Wait,
}

/// Where archives go, how they are named and compressed.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Archive {
    /// A directory below that of the log. Default: beside the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255), regex(pattern = r"^[^/]"))]
    pub directory: Option<String>,
    /// Date and Numeric are not supported yet. Default: Timestamp.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub naming: Option<Naming>,
    /// Zstd is not supported yet. Default: Gzip.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compression: Option<Compression>,
}

/// How archives are named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs, reason = "documented by the field; a text per variant would swell the CRD")]
pub enum Naming {
    Timestamp,
    Date,
    Numeric,
}

/// How archives are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs, reason = "documented by the field; a text per variant would swell the CRD")]
pub enum Compression {
    None,
    Gzip,
    Zstd,
}

/// How much is kept: an archive goes when it passes any of the limits.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "has(self.count) || has(self.age) || has(self.totalSize)",
    "write at least one limit: count, age or totalSize"
))]
pub struct Retention {
    /// How many archives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100_000))]
    pub count: Option<u32>,
    /// How old they may become.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age: Option<Span>,
    /// How many bytes they may have together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_size: Option<Size>,
    /// What happens to an archive that a destination has not confirmed. Default: Keep.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when_unconfirmed: Option<WhenUnconfirmed>,
}

/// What happens to an archive that a destination has not confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs, reason = "documented by the field; a text per variant would swell the CRD")]
pub enum WhenUnconfirmed {
    Keep,
    Delete,
}
