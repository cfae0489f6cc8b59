//! The sidecar's own volumes: its configuration, what its destinations need, the pod's annotations, and an empty
//! directory over the place where the service account's token would be.
//!
//! What always holds: every object is optional, so that a pod starts before the objects that it names exist.

use std::collections::BTreeSet;

use capstan_config::names as contract;
use k8s_openapi::api::core::v1::{
    ConfigMapVolumeSource, DownwardAPIVolumeFile, DownwardAPIVolumeSource, ObjectFieldSelector,
    SecretVolumeSource, Volume, VolumeMount,
};
use ring::digest;

use crate::inject::Known;
use crate::names;

/// Kubernetes' default, written out so that the API server has nothing to add.
const MODE: i32 = 0o644;
/// The longest name of a volume.
const LONGEST: usize = 63;

/// A volume and where it is mounted.
#[derive(Clone, Debug, PartialEq)]
pub struct OwnVolume {
    /// The volume.
    pub volume: Volume,
    /// Its place.
    pub path: String,
}

impl OwnVolume {
    /// The mount that goes with it.
    pub fn mount(&self) -> VolumeMount {
        VolumeMount {
            name: self.volume.name.clone(),
            mount_path: self.path.clone(),
            read_only: Some(true),
            ..VolumeMount::default()
        }
    }
}

/// All of them, always in the same order.
pub fn volumes(policies: &[String], known: &Known) -> Vec<OwnVolume> {
    let mut volumes: Vec<OwnVolume> = policies.iter().map(|name| policy(name)).collect();
    let of_policies = policies.iter().filter_map(|name| known.get(name));
    let secrets: BTreeSet<&String> = of_policies.flat_map(|known| &known.secrets).collect();
    volumes.extend(secrets.into_iter().map(|name| secret(name)));
    volumes.extend([annotations(), no_token()]);
    volumes
}

fn policy(name: &str) -> OwnVolume {
    let source = config_map(&contract::config_map(name));
    let volume = Volume {
        name: label(&format!("capstan-policy-{name}")),
        config_map: Some(source),
        ..Volume::default()
    };
    OwnVolume { volume, path: contract::policy_directory(name) }
}

fn config_map(name: &str) -> ConfigMapVolumeSource {
    ConfigMapVolumeSource {
        name: name.to_owned(),
        optional: Some(true),
        default_mode: Some(MODE),
        items: None,
    }
}

fn secret(name: &str) -> OwnVolume {
    let source = SecretVolumeSource {
        secret_name: Some(name.to_owned()),
        optional: Some(true),
        default_mode: Some(MODE),
        items: None,
    };
    let volume =
        Volume { name: label(&format!("capstan-secret-{name}")), secret: Some(source), ..Volume::default() };
    OwnVolume { volume, path: contract::secret_directory(name) }
}

fn annotations() -> OwnVolume {
    let field = ObjectFieldSelector {
        api_version: Some("v1".to_owned()),
        field_path: "metadata.annotations".to_owned(),
    };
    let file = DownwardAPIVolumeFile {
        path: "annotations".to_owned(),
        field_ref: Some(field),
        ..Default::default()
    };
    let source = DownwardAPIVolumeSource { default_mode: Some(MODE), items: Some(vec![file]) };
    let volume = Volume { name: "capstan-pod".to_owned(), downward_api: Some(source), ..Volume::default() };
    OwnVolume { volume, path: contract::POD_DIRECTORY.to_owned() }
}

/// Whatever is mounted there keeps Kubernetes from mounting the token. A downward API volume without files, because
/// an emptyDir is local storage, for which the cluster autoscaler would keep a node.
fn no_token() -> OwnVolume {
    let source = DownwardAPIVolumeSource { default_mode: Some(MODE), items: None };
    let volume =
        Volume { name: "capstan-no-token".to_owned(), downward_api: Some(source), ..Volume::default() };
    OwnVolume { volume, path: names::TOKEN_DIRECTORY.to_owned() }
}

/// A name that a volume may have: a DNS label. What is too long or has dots ends in a hash of the whole.
fn label(name: &str) -> String {
    if name.len() <= LONGEST && !name.contains('.') {
        return name.to_owned();
    }
    let hash = digest::digest(&digest::SHA256, name.as_bytes());
    let hash: String = hash.as_ref().iter().take(5).map(|byte| format!("{byte:02x}")).collect();
    let room = LONGEST - hash.len() - 1;
    let start: String = name.chars().map(|c| if c == '.' { '-' } else { c }).take(room).collect();
    format!("{start}-{hash}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_no_labels_end_in_a_hash_of_the_whole() {
        assert_eq!(label("capstan-policy-web"), "capstan-policy-web");
        assert_eq!(label("capstan-secret-a.b"), "capstan-secret-a-b-fd93a53db2");
        let (one, other) = (label(&"a".repeat(64)), label(&"a".repeat(65)));
        assert_eq!((one.len(), other.len()), (63, 63));
        assert_ne!(one, other);
    }

    #[test]
    fn what_two_policies_need_is_mounted_once() {
        let known = |names: &[&str]| crate::inject::KnownPolicy {
            secrets: names.iter().map(ToString::to_string).collect(),
            logs: vec![],
        };
        let all = Known::from([("a".into(), known(&["one", "two"])), ("b".into(), known(&["two"]))]);
        let paths: Vec<String> =
            volumes(&["a".into(), "b".into()], &all).into_iter().map(|volume| volume.path).collect();
        assert_eq!(
            paths,
            [
                "/etc/capstan/policies/a",
                "/etc/capstan/policies/b",
                "/etc/capstan/secrets/secret-one",
                "/etc/capstan/secrets/secret-two",
                "/etc/capstan/pod",
                "/var/run/secrets/kubernetes.io/serviceaccount",
            ]
        );
    }
}
