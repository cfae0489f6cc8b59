//! A pod that is only asked for, in a dry run, to see whether it would get the sidecar.
//!
//! What always holds: every level of Pod Security admits it, and it has a volume that the sidecar can share.

use k8s_openapi::api::core::v1::{Container, Pod};
use serde_json::{Value, json};

use crate::names;

/// The pod, with these metadata and this image, which nobody pulls.
pub fn pod(metadata: &Value, image: &str) -> Value {
    json!({
        "metadata": metadata,
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": false,
            "securityContext": {
                "runAsNonRoot": true,
                "runAsUser": names::DEFAULT_USER,
                "seccompProfile": { "type": "RuntimeDefault" },
            },
            "containers": [{
                "name": "app",
                "image": image,
                "resources": {
                    "requests": { "cpu": "1m", "memory": "1Mi" },
                    "limits": { "cpu": "1m", "memory": "1Mi" },
                },
                "securityContext": { "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] } },
                "volumeMounts": [{ "name": "logs", "mountPath": "/var/log/app" }],
            }],
            "volumes": [{ "name": "logs", "emptyDir": {} }],
        },
    })
}

/// The sidecar in the pod that came back, if it has one.
pub fn sidecar(pod: &Pod) -> Option<&Container> {
    let containers = pod.spec.iter().flat_map(|spec| spec.init_containers.iter().flatten());
    containers.into_iter().find(|container| container.name == capstan_config::names::CONTAINER)
}
