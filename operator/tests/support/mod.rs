//! Pods in YAML, and what becomes of them.
#![allow(clippy::unwrap_used, reason = "a test ends at the first thing that is not as it should be")]
#![allow(dead_code, reason = "each test program uses a part of it")]

use capstan_operator::inject::bounds::Bounds;
use capstan_operator::inject::resources::SidecarResources;
use capstan_operator::inject::{Context, Injection, Known, KnownLog, KnownPolicy, SidecarSettings, inject};
use k8s_openapi::api::core::v1::{LimitRangeSpec, Pod};
use serde::Deserialize;
use serde_json::Value;

/// The settings that the tests work with.
pub fn settings() -> SidecarSettings {
    SidecarSettings {
        image: "capstan-sidecar:0.1.0".to_owned(),
        image_pull_policy: "IfNotPresent".to_owned(),
        resources: SidecarResources {
            usual: r#"{"requests":{"cpu":"10m","memory":"32Mi"},"limits":{"cpu":"1","memory":"64Mi"}}"#
                .parse()
                .unwrap(),
            guaranteed: r#"{"cpu":"100m","memory":"64Mi"}"#.parse().unwrap(),
        },
        allow_host_path: false,
    }
}

/// Where a pod is created, as the second document of a test's file says it.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Surroundings {
    pub namespace: String,
    pub users_are_assigned: bool,
    pub allow_host_path: bool,
    pub limit_ranges: Vec<LimitRangeSpec>,
    pub policies: Vec<PolicyYaml>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyYaml {
    pub name: String,
    #[serde(default)]
    pub secrets: Vec<String>,
    #[serde(default)]
    pub include: Vec<String>,
    #[serde(default)]
    pub signals: bool,
}

impl Default for Surroundings {
    fn default() -> Self {
        Self {
            namespace: "shop".to_owned(),
            users_are_assigned: false,
            allow_host_path: false,
            limit_ranges: vec![],
            policies: vec![],
        }
    }
}

impl Surroundings {
    pub fn known(&self) -> Known {
        self.policies.iter().map(|policy| (policy.name.clone(), policy.known())).collect()
    }
}

impl PolicyYaml {
    fn known(&self) -> KnownPolicy {
        let log =
            KnownLog { name: "access".to_owned(), include: self.include.clone(), signals: self.signals };
        KnownPolicy { secrets: self.secrets.iter().cloned().collect(), logs: vec![log] }
    }
}

/// Injects into a pod.
pub fn inject_into(pod: &Value, surroundings: &Surroundings) -> Injection {
    let typed: Pod = serde_json::from_value(pod.clone()).unwrap();
    let known = surroundings.known();
    let context = Context {
        namespace: &surroundings.namespace,
        own_namespace: "capstan-system",
        users_are_assigned: surroundings.users_are_assigned,
        bounds: &Bounds::of(&surroundings.limit_ranges),
        known: &known,
    };
    inject(&typed, &context, &SidecarSettings { allow_host_path: surroundings.allow_host_path, ..settings() })
}

/// The pod with the patch applied.
pub fn patched(pod: &Value, injection: &Injection) -> Value {
    let mut pod = pod.clone();
    json_patch::patch(&mut pod, &injection.patch).unwrap();
    pod
}
