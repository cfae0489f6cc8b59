//! The volumes that a sidecar finds mounted, as the operator tells it.

use serde::{Deserialize, Serialize};

use crate::units::ValueError;

/// A volume that is mounted in the sidecar, as in [`VOLUMES_VARIABLE`](crate::names::VOLUMES_VARIABLE).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Volume {
    /// The name that the pod gives it.
    pub name: String,
    /// What it is.
    pub kind: VolumeKind,
    /// The medium of an emptyDir, such as `Memory`; missing is the node's disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub medium: Option<String>,
    /// The size limit of an emptyDir, or what a claim asked for, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_limit_bytes: Option<u64>,
    /// Where it is mounted.
    pub mount_path: String,
}

/// The kinds of volumes that logs may be on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum VolumeKind {
    /// Lives as long as the pod.
    EmptyDir,
    /// Outlives the pod.
    PersistentVolumeClaim,
    /// A claim that is made for the pod.
    Ephemeral,
}

impl Volume {
    /// Writes the value of the environment variable.
    pub fn render(volumes: &[Self]) -> String {
        // Serializing fails only for maps with keys that are no text, and there are none.
        serde_json::to_string(volumes).unwrap_or_default()
    }

    /// Reads the value of the environment variable.
    ///
    /// # Errors
    /// If it is not a list of volumes in JSON.
    pub fn parse(text: &str) -> Result<Vec<Self>, ValueError> {
        serde_json::from_str(text).map_err(|error| ValueError::new(format!("is no list of volumes: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_are_written_as_the_pod_spells_them_and_read_back() {
        let volumes = [
            Volume {
                name: "logs".to_owned(),
                kind: VolumeKind::EmptyDir,
                medium: Some("Memory".to_owned()),
                size_limit_bytes: Some(1 << 20),
                mount_path: "/var/log/app".to_owned(),
            },
            Volume {
                name: "data".to_owned(),
                kind: VolumeKind::PersistentVolumeClaim,
                medium: None,
                size_limit_bytes: None,
                mount_path: "/data".to_owned(),
            },
        ];
        let text = Volume::render(&volumes);
        assert_eq!(
            text,
            r#"[{"name":"logs","kind":"emptyDir","medium":"Memory","sizeLimitBytes":1048576,"mountPath":"/var/log/app"},{"name":"data","kind":"persistentVolumeClaim","mountPath":"/data"}]"#
        );
        assert_eq!(Volume::parse(&text), Ok(volumes.to_vec()));
        assert!(Volume::parse(r#"[{"name":"x","kind":"hostPath","mountPath":"/x"}]"#).is_err());
    }
}
