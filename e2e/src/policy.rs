//! Capstan's custom resources as a user sees them: conditions and counts.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kube::ResourceExt;
use kube::api::DynamicObject;
use serde_json::Value;

use crate::namespace::Namespace;
use crate::wait;

/// One condition of a custom resource.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// `Accepted`, `Ready`, …
    pub r#type: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// One word in CamelCase.
    pub reason: String,
    /// A sentence.
    #[serde(default)]
    pub message: String,
    /// The generation of the spec that it is about.
    #[serde(default)]
    pub observed_generation: Option<i64>,
}

/// Waits until a condition of the newest generation has this status; returns it.
///
/// # Errors
///
/// It does not come; the error shows the conditions there are.
pub async fn condition(
    namespace: &Namespace,
    kind: &str,
    name: &str,
    wanted: &str,
    status: &str,
) -> Result<Condition> {
    wait::until(&format!("{kind} {name} to have {wanted}={status}"), wait::LIMIT, async || {
        let object = namespace.custom(kind).get(name).await?;
        let all = conditions(&object)?;
        let found = all.iter().find(|condition| condition.r#type == wanted);
        let found = found.filter(|condition| condition.observed_generation == object.metadata.generation);
        let found = found.filter(|condition| condition.status == status);
        found.cloned().with_context(|| format!("conditions of {}: {all:#?}", object.name_any()))
    })
    .await
}

/// Waits until a policy says `Ready`.
///
/// # Errors
///
/// It does not, in time.
pub async fn ready(namespace: &Namespace, name: &str) -> Result<Condition> {
    condition(namespace, "LogRotationPolicy", name, "Ready", "True").await
}

/// All conditions of an object; none if it has no status yet.
pub fn conditions(object: &DynamicObject) -> Result<Vec<Condition>> {
    match object.data.pointer("/status/conditions") {
        Some(conditions) => Ok(serde_json::from_value(conditions.clone())?),
        None => Ok(Vec::new()),
    }
}

/// Waits until one of a policy's counts of pods has this value.
///
/// # Errors
///
/// It does not, in time; the error shows all counts.
pub async fn pods(namespace: &Namespace, policy: &str, count: &str, value: u64) -> Result<()> {
    pods_within(namespace, policy, count, value, wait::LIMIT).await
}

/// As [`pods`], with a limit of one's own.
///
/// # Errors
///
/// It does not, in time; the error shows all counts.
pub async fn pods_within(
    namespace: &Namespace,
    policy: &str,
    count: &str,
    value: u64,
    limit: Duration,
) -> Result<()> {
    wait::until(&format!("policy {policy} to count {value} pods {count}"), limit, async || {
        let object = namespace.custom("LogRotationPolicy").get(policy).await?;
        let pods = object.data.pointer("/status/pods").cloned().unwrap_or(Value::Null);
        ensure!(pods.get(count).and_then(Value::as_u64) == Some(value), "pods: {pods}");
        Ok(())
    })
    .await
}
