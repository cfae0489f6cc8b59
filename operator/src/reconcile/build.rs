//! The third step: a validated configuration -> the objects that carry it.
//!
//! What always holds: the object is owned by the policy, so that it goes when the policy goes, and does not hold the
//! policy's deletion up; labels and annotations of the policy are not copied, since tools that manage the policy by them
//! would take the object for theirs.

use std::collections::BTreeMap;

use capstan_config::names;
use capstan_crds::LogRotationPolicy;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Resource;
use kube::api::ObjectMeta;

use super::validate::Validated;

/// Who writes: the field manager of what is applied, and the value of [`MANAGED_BY`].
pub const MANAGER: &str = "capstan-operator";
/// The label that says whose the object is.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// The label that names the policy.
pub const POLICY_LABEL: &str = "capstan.dev/policy";

/// The objects of a policy, as they should be.
#[derive(Clone, Debug, PartialEq)]
pub struct Desired {
    /// What sidecars mount.
    pub config_map: ConfigMap,
}

/// Builds the objects of a policy.
pub fn objects(policy: &LogRotationPolicy, validated: &Validated) -> Desired {
    let name = policy.metadata.name.clone().unwrap_or_default();
    let config_map = ConfigMap {
        metadata: ObjectMeta {
            name: Some(names::config_map(&name)),
            namespace: policy.metadata.namespace.clone(),
            labels: Some(labels(&name)),
            owner_references: Some(vec![owner(policy, &name)]),
            ..ObjectMeta::default()
        },
        data: Some(data(validated)),
        ..ConfigMap::default()
    };
    Desired { config_map }
}

/// The files: the configuration, and the authorities that it names.
fn data(validated: &Validated) -> BTreeMap<String, String> {
    let mut files = validated.authorities.clone();
    files.insert(names::FILE_NAME.to_owned(), validated.file.clone());
    files
}

/// The labels of a policy's objects.
pub fn labels(policy: &str) -> BTreeMap<String, String> {
    [(MANAGED_BY, MANAGER), (POLICY_LABEL, policy)]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
}

/// Whether an object is one of ours for this policy: written by an operator, if not by this one.
pub fn is_ours(config_map: &ConfigMap, policy: &str) -> bool {
    let wanted = labels(policy);
    let found = config_map.metadata.labels.as_ref();
    wanted.iter().all(|(key, value)| found.and_then(|labels| labels.get(key)) == Some(value))
}

fn owner(policy: &LogRotationPolicy, name: &str) -> OwnerReference {
    OwnerReference {
        api_version: LogRotationPolicy::api_version(&()).into_owned(),
        kind: LogRotationPolicy::kind(&()).into_owned(),
        name: name.to_owned(),
        uid: policy.metadata.uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: None,
    }
}
