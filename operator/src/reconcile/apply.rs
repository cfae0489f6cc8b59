//! The fourth step: desired objects -> objects in the cluster.
//!
//! What always holds: an object that is as it should be is not written; one that is not ours is left alone.

use capstan_config::{ConfigHash, names};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Client;
use kube::api::{Api, Patch, PatchParams};

use super::build::{self, Desired};

/// What became of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// It is what pods should have now.
    Applied(ConfigHash),
    /// It could not be used; what was good before stays, if there was something.
    Kept(Option<ConfigHash>),
    /// A ConfigMap of that name belongs to somebody else.
    NameTaken(String),
}

impl Delivery {
    /// What pods should have.
    pub fn hash(&self) -> Option<&ConfigHash> {
        match self {
            Self::Applied(hash) => Some(hash),
            Self::Kept(hash) => hash.as_ref(),
            Self::NameTaken(_) => None,
        }
    }
}

/// What is delivered by an object that is there, if it is ours.
pub fn kept(existing: Option<&ConfigMap>, policy: &str) -> Delivery {
    let ours = existing.filter(|existing| build::is_ours(existing, policy));
    let file = ours.and_then(|existing| existing.data.as_ref()?.get(names::FILE_NAME));
    Delivery::Kept(file.map(|file| ConfigHash::of(file.as_bytes())))
}

/// Applies the objects of a policy. `existing` is what was there a moment ago.
///
/// # Errors
/// What the API server says.
pub async fn objects(
    client: &Client,
    policy: &str,
    hash: &ConfigHash,
    desired: Desired,
    existing: Option<&ConfigMap>,
) -> Result<Delivery, kube::Error> {
    let Desired { config_map } = desired;
    let name = config_map.metadata.name.clone().unwrap_or_default();
    match existing {
        Some(existing) if !build::is_ours(existing, policy) => return Ok(Delivery::NameTaken(name)),
        Some(existing) if is_same(existing, &config_map) => return Ok(Delivery::Applied(hash.clone())),
        _ => {}
    }
    let namespace = config_map.metadata.namespace.clone().unwrap_or_default();
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), &namespace);
    api.patch(&name, &PatchParams::apply(build::MANAGER).force(), &Patch::Apply(&config_map)).await?;
    tracing::info!(namespace, policy, %hash, "configuration delivered");
    Ok(Delivery::Applied(hash.clone()))
}

/// Whether an object has all that it should have.
fn is_same(existing: &ConfigMap, desired: &ConfigMap) -> bool {
    existing.data == desired.data
        && existing.binary_data.is_none()
        && existing.metadata.owner_references == desired.metadata.owner_references
}
