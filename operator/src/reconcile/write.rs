//! Writes status, and tells what has changed.
//!
//! What always holds: a status that says the same is not written; one with other numbers only is not written twice in a
//! second; what is told was written before.

use std::time::{Duration, Instant};

use capstan_crds::{LogDestination, LogDestinationStatus, LogRotationPolicy, LogRotationPolicyStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{Api, Patch, PatchParams};
use kube::{Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::build::MANAGER;
use super::conditions;
use crate::controller::context::Context;
use crate::events::{Level, Telling};
use crate::pods::Key;

/// The least time between two writes of one object's status that differ in numbers only: while ten thousand pods get a
/// new configuration, these change all the time.
const QUIET: Duration = Duration::from_secs(1);

/// When a status may be written, if that is not now. What users wait for is written at once.
fn held_back(urgent: bool, written: Option<Instant>, now: Instant) -> Option<Instant> {
    let at = written? + QUIET;
    (!urgent && now < at).then_some(at)
}

/// Writes the status of a policy, if it says something new.
///
/// # Errors
/// What the API server says.
pub async fn policy_status(
    context: &Context,
    policy: &LogRotationPolicy,
    before: &LogRotationPolicyStatus,
    after: LogRotationPolicyStatus,
) -> Result<(), kube::Error> {
    if *before == after {
        return Ok(());
    }
    let urgent =
        before.config_hash != after.config_hash || conditions::differ(&before.conditions, &after.conditions);
    if let Some(at) = held_back(urgent, context.policy_written(policy), Instant::now()) {
        context.state.policies.add_at(Key::of(policy), at);
        return Ok(());
    }
    write(context, policy, &after, &before.conditions, &after.conditions).await?;
    context.remember_policy(policy, after);
    Ok(())
}

/// Writes the status of a destination, if it says something new.
///
/// # Errors
/// What the API server says.
pub async fn destination_status(
    context: &Context,
    destination: &LogDestination,
    before: &LogDestinationStatus,
    after: LogDestinationStatus,
) -> Result<(), kube::Error> {
    if *before == after {
        return Ok(());
    }
    let urgent = conditions::differ(&before.conditions, &after.conditions);
    if let Some(at) = held_back(urgent, context.destination_written(destination), Instant::now()) {
        context.state.destinations.add_at(Key::of(destination), at);
        return Ok(());
    }
    write(context, destination, &after, &before.conditions, &after.conditions).await?;
    context.remember_destination(destination, after);
    Ok(())
}

/// Writes a status, then tells which conditions are new.
async fn write<K>(
    context: &Context,
    object: &K,
    status: &impl Serialize,
    before: &[Condition],
    after: &[Condition],
) -> Result<(), kube::Error>
where
    K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
    K: Clone + std::fmt::Debug + DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(context.client.clone(), &object.namespace().unwrap_or_default());
    // The identity keeps the status of an object from being written to its successor of the same name.
    let patch = json!({
        "apiVersion": K::api_version(&()),
        "kind": K::kind(&()),
        "metadata": { "uid": object.uid() },
        "status": status,
    });
    let params = PatchParams::apply(MANAGER).force();
    api.patch_status(&object.name_any(), &params, &Patch::Apply(patch)).await?;
    tell(context, object, before, after);
    Ok(())
}

fn tell<K: Resource<DynamicType = ()>>(
    context: &Context,
    object: &K,
    before: &[Condition],
    after: &[Condition],
) {
    for condition in conditions::news(before, after) {
        let wrong = condition.status == "False";
        context.tell(Telling {
            about: object.object_ref(&()),
            level: if wrong { Level::Warning } else { Level::Normal },
            reason: condition.reason.clone(),
            action: "Reconcile",
            note: format!("{}: {}", condition.type_, condition.message),
            occurrence: condition.last_transition_time.0.to_string(),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_wait_a_second_and_the_first_status_and_news_do_not() {
        let now = Instant::now();
        let second = Duration::from_secs(1);
        assert_eq!(held_back(false, None, now), None);
        assert_eq!(held_back(true, Some(now), now), None);
        assert_eq!(held_back(false, Some(now), now + second / 2), Some(now + second));
        assert_eq!(held_back(false, Some(now), now + second), None);
    }
}
