//! `spec.syslog.tls`: what is asked of the receiver's certificate, and what is shown of ours.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::values::{KeyRef, ObjectRef};

/// What is asked of the receiver's certificate, and what is shown of ours.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "!has(self.ca) || !has(self.fingerprints) || size(self.fingerprints) == 0",
    "write ca or fingerprints, not both; a fingerprint needs no authority"
))]
pub struct Tls {
    /// The name the certificate must carry. Default: the endpoint's host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub server_name: Option<String>,
    /// The authorities to trust. Default: the public ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<Authority>,
    /// For mutual TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_certificate: Option<ClientCertificate>,
    /// The certificate must be one of these, as openssl x509 -fingerprint -sha256 prints them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 16),
        inner(length(max = 128), regex(pattern = r"^sha-(1|256):[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2})*$"))
    )]
    pub fingerprints: Option<Vec<String>>,
    /// The lowest version to accept. Default: TLS1.2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_version: Option<TlsVersion>,
}

/// Where the PEM file of the authorities is.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "has(self.configMapKeyRef) != has(self.secretKeyRef)",
    "write exactly one of configMapKeyRef and secretKeyRef"
))]
pub struct Authority {
    /// A key of a ConfigMap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map_key_ref: Option<KeyRef>,
    /// A key of a Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_key_ref: Option<KeyRef>,
}

/// The certificate by which sidecars show who they are.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClientCertificate {
    /// A Secret of type kubernetes.io/tls.
    pub secret_ref: ObjectRef,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs, reason = "documented by the field; a text per variant would swell the CRD")]
pub enum TlsVersion {
    #[serde(rename = "TLS1.2")]
    Tls12,
    #[serde(rename = "TLS1.3")]
    Tls13,
}
