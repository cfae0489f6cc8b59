//! Which of the app's volumes the sidecar mounts, and where.
//!
//! In: the pod and its app's containers. Out: mounts at the same paths, the environment that their sub-paths need, and
//! facts about the volumes. What always holds: never a Secret, ConfigMap, projected or image volume; a mount that is
//! read-only stays so; no mount propagation, which an unprivileged container may not have.

use capstan_config::VolumeKind;
use k8s_openapi::api::core::v1::{Container, EnvVar, Pod, Volume, VolumeMount};

use crate::inject::annotations::Asked;
use crate::inject::app::spec;
use crate::inject::expansion;
use crate::inject::quantity;
use crate::inject::status::{Reason, Warning};
use crate::names;

/// What is mounted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Copied {
    /// The mounts.
    pub mounts: Vec<VolumeMount>,
    /// What their sub-paths are made from.
    pub env: Vec<EnvVar>,
    /// What the sidecar is told about them, since nothing in its container shows it.
    pub facts: Vec<capstan_config::Volume>,
}

/// Kinds of volumes that apps write to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The pod's or somebody's claim.
    Pods(VolumeKind),
    /// The node's, of which the sidecar is told nothing.
    HostPath,
}

/// The kind of a volume; None for those that are never mounted.
pub fn kind(volume: &Volume) -> Option<Kind> {
    match volume {
        Volume { empty_dir: Some(_), .. } => Some(Kind::Pods(VolumeKind::EmptyDir)),
        Volume { persistent_volume_claim: Some(_), .. } => {
            Some(Kind::Pods(VolumeKind::PersistentVolumeClaim))
        }
        Volume { ephemeral: Some(_), .. } => Some(Kind::Pods(VolumeKind::Ephemeral)),
        Volume { host_path: Some(_), .. } => Some(Kind::HostPath),
        _ => None,
    }
}

/// Copies the mounts of the containers, the first of which wins where two differ.
pub fn copy(
    pod: &Pod,
    containers: &[&Container],
    asked: &Asked,
    allow_host_path: bool,
    warnings: &mut Vec<Warning>,
) -> Copied {
    let volumes = spec(pod).volumes.as_deref().unwrap_or_default();
    warn_of_unknown(volumes, asked, warnings);
    let mut copied = Copied::default();
    for container in containers {
        for mount in container.volume_mounts.as_deref().unwrap_or_default() {
            let wanted = asked.volumes.as_ref().is_none_or(|names| names.contains(&mount.name));
            let Some(volume) = volumes.iter().find(|volume| volume.name == mount.name && wanted) else {
                continue;
            };
            let kind = kind(volume).filter(|kind| *kind != Kind::HostPath || allow_host_path);
            let Some(kind) = kind else { continue };
            if let Err(problem) = add(&mut copied, container, mount, volume, kind) {
                let message = format!(
                    "container '{}': its mount at {} is not given to the sidecar, which sees no logs there: {problem}",
                    container.name, mount.mount_path
                );
                warnings.push(Warning::new(Reason::MountNotCopied, message));
            }
        }
    }
    copied
}

fn warn_of_unknown(volumes: &[Volume], asked: &Asked, warnings: &mut Vec<Warning>) {
    let names = asked.volumes.iter().flatten();
    for name in names.filter(|name| !volumes.iter().any(|volume| volume.name == **name)) {
        let message = format!(
            "annotation {}: the pod has no volume '{name}'; write names of its volumes",
            names::VOLUMES
        );
        warnings.push(Warning::new(Reason::UnknownVolume, message));
    }
}

fn add(
    copied: &mut Copied,
    container: &Container,
    mount: &VolumeMount,
    volume: &Volume,
    kind: Kind,
) -> Result<(), String> {
    let path = normal(&mount.mount_path);
    if is_own(path) {
        return Err("the path is one of the sidecar's own; mount the volume elsewhere".to_owned());
    }
    let copy = VolumeMount { mount_propagation: None, recursive_read_only: None, ..mount.clone() };
    if let Some(other) = copied.mounts.iter().find(|other| normal(&other.mount_path) == path) {
        let same =
            VolumeMount { read_only: None, ..other.clone() } == VolumeMount { read_only: None, ..copy };
        return if same {
            Ok(())
        } else {
            Err("another container mounts something else there; use another path".to_owned())
        };
    }
    if let Some(expression) = &mount.sub_path_expr {
        expansion::add_environment(&mut copied.env, container, expression)?;
    }
    if let Kind::Pods(kind) = kind {
        copied.facts.push(fact(volume, kind, &copy));
    }
    copied.mounts.push(copy);
    Ok(())
}

fn fact(volume: &Volume, kind: VolumeKind, mount: &VolumeMount) -> capstan_config::Volume {
    let empty_dir = volume.empty_dir.as_ref();
    capstan_config::Volume {
        name: volume.name.clone(),
        kind,
        medium: empty_dir.and_then(|source| source.medium.clone()).filter(|medium| !medium.is_empty()),
        size_limit_bytes: empty_dir.and_then(|source| source.size_limit.as_ref()).and_then(quantity::whole),
        mount_path: mount.mount_path.clone(),
    }
}

/// A path without the slashes at its end, by which paths are compared.
pub fn normal(path: &str) -> &str {
    path.trim_end_matches('/')
}

/// Whether a path is inside `directory`, or is it.
pub fn is_below(path: &str, directory: &str) -> bool {
    normal(path).strip_prefix(normal(directory)).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether a path is one of those that the sidecar mounts for itself.
pub fn is_own(path: &str) -> bool {
    is_below(path, names::OWN_DIRECTORY) || is_below(path, names::TOKEN_DIRECTORY)
}
