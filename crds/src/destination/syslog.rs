//! `spec.syslog`: a syslog receiver, and how messages get there.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Tls;
use crate::values::{KeyRef, Preset, Size, Span};

/// A syslog receiver.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("has(self.endpoints) || has(self.preset)", "write endpoints, or a preset that has its own"))]
#[x_kube(validation = (
    "!has(self.transport) || self.transport != 'UDP' || (has(self.delivery) && has(self.delivery.mode) && self.delivery.mode == 'BestEffort')",
    "transport UDP cannot prove delivery; write delivery.mode BestEffort, or transport TLS"
))]
#[x_kube(validation = (
    "!has(self.transport) || self.transport != 'UDP' || !has(self.framing)",
    "framing has no meaning with transport UDP; leave it out"
))]
#[x_kube(validation = (
    "!has(self.transport) || self.transport == 'TLS' || !has(self.tls)",
    "tls has a meaning only with transport TLS; leave it out"
))]
#[x_kube(validation = (
    "!has(self.transport) || self.transport == 'TLS' || !has(self.endpoints) || self.endpoints.all(e, has(e.port))",
    "endpoints need a port with transport TCP and UDP; only TLS has a usual one, 6514"
))]
pub struct Syslog {
    /// A known receiver, such as Papertrail: fills in framing, limits and more. What is written here wins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preset: Option<Preset>,
    /// Tried in order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 8))]
    pub endpoints: Option<Vec<Endpoint>>,
    /// UDP is not supported yet. Default: TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transport: Option<Transport>,
    /// RFC3164 is not supported yet. Default: RFC5424.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
    /// How messages are told apart in the stream. Default: OctetCounting (RFC 5425).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub framing: Option<Framing>,
    /// A longer message is cut, and counted. Default: 64Ki.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_message_bytes: Option<Size>,
    /// Elements that every message carries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8))]
    pub structured_data: Option<Vec<SdElement>>,
    /// Whether every message says stream, generation and position, by which duplicates can be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position_element: Option<bool>,
    /// What is asked of the receiver's certificate, and what is shown of ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// How delivery is made sure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery: Option<Delivery>,
}

/// An address of a receiver.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// A DNS name, or an IP address without brackets.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[A-Za-z0-9:]([A-Za-z0-9._:-]*[A-Za-z0-9.:])?$")
    )]
    pub host: String,
    /// Default with TLS: 6514.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<u16>,
}

/// How bytes get to the receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
#[allow(missing_docs, reason = "documented by the field; a text per variant would swell the CRD")]
pub enum Transport {
    Tls,
    Tcp,
    Udp,
}

/// How a message looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
#[allow(missing_docs, reason = "documented by the field; a text per variant would swell the CRD")]
pub enum Format {
    Rfc5424,
    Rfc3164,
}

/// How messages are told apart in the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs, reason = "documented by the field; a text per variant would swell the CRD")]
pub enum Framing {
    OctetCounting,
    LineFeed,
    #[serde(rename = "NUL")]
    Nul,
}

/// A structured-data element.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SdElement {
    /// Its name.
    pub id: SdId,
    /// Its parameters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub params: Option<Vec<Param>>,
}

/// The name of an element: literal, or a secret, as with the token of a hosted service.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("has(self.value) != has(self.secretKeyRef)", "write exactly one of value and secretKeyRef"))]
pub struct SdId {
    /// As it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32), regex(pattern = r#"^[!#-<>-\\^-~]+$"#))]
    pub value: Option<String>,
    /// A key of a Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_key_ref: Option<KeyRef>,
}

/// A parameter of an element.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Param {
    /// Its name.
    #[schemars(length(min = 1, max = 32), regex(pattern = r#"^[!#-<>-\\^-~]+$"#))]
    pub name: String,
    /// Its value.
    #[schemars(length(max = 1024))]
    pub value: String,
}

/// How delivery is made sure, and how long to wait for what.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Delivery {
    /// BestEffort is not supported yet. Default: AtLeastOnce.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<DeliveryMode>,
    /// Sent again after an unclean break, beyond what was confirmed; 0s switches it off. Default: 5s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay_margin: Option<Span>,
    /// A limit for catching up. Not supported yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_bytes_per_second: Option<Size>,
    /// A connection is closed for proof after this much. Default: 64Mi.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roll_bytes: Option<Size>,
    /// Or when its first unproved byte is this old. Default: 30s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roll_age: Option<Span>,
    /// Or when nothing was sent for this long. Default: 5s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roll_idle: Option<Span>,
    /// For an address to accept. Default: 10s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connect_timeout: Option<Span>,
    /// For the TLS handshake. Default: 10s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handshake_timeout: Option<Span>,
    /// For the receiver to take any byte. Default: 30s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub write_timeout: Option<Span>,
    /// For the receiver to close in answer. Default: 10s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub close_timeout: Option<Span>,
}

/// What is promised of delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs, reason = "documented by the field; a text per variant would swell the CRD")]
pub enum DeliveryMode {
    AtLeastOnce,
    BestEffort,
}
