//! One object from what the user wrote to what sidecars have: fetch, validate, build, apply, status.
//!
//! What always holds: it does not matter why it is called, or how often; a step that fails names itself and is tried
//! again; what cannot be used changes nothing but the status.

pub mod fetch; // E
pub mod resolve; // P
pub mod validate; // P
pub mod build; // P
pub mod apply; // E
pub mod summary; // P
pub mod conditions; // P
pub mod status; // P
pub mod destination; // E
pub mod write; // E

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use capstan_config::{Config, ConfigHash};
use capstan_crds::LogRotationPolicy;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;

use crate::controller::context::Context;
use crate::controller::state::Plan;
use crate::pods::Key;
use crate::references;
use apply::Delivery;
use validate::{Problem, Validated};

/// Which step failed. All of them are tried again.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// A referenced object could not be read.
    #[error("fetching what it refers to: {0}")]
    Fetch(#[source] kube::Error),
    /// The configuration could not be written.
    #[error("applying its ConfigMap: {0}")]
    Apply(#[source] kube::Error),
    /// The status could not be written.
    #[error("writing its status: {0}")]
    Status(#[source] kube::Error),
}

impl ReconcileError {
    /// The step, for metrics.
    pub fn step(&self) -> &'static str {
        match self {
            Self::Fetch(_) => "fetch",
            Self::Apply(_) => "apply",
            Self::Status(_) => "status",
        }
    }

    /// Whether the object was deleted meanwhile.
    pub fn is_gone(&self) -> bool {
        let (Self::Fetch(error) | Self::Apply(error) | Self::Status(error)) = self;
        matches!(error, kube::Error::Api(status) if status.is_not_found())
    }
}

/// Reconciles a policy.
///
/// # Errors
/// The step that failed.
pub async fn policy(policy: &LogRotationPolicy, context: &Context) -> Result<(), ReconcileError> {
    let key = Key::of(policy);
    let before = context.last_status(policy);
    let fetched = fetch::all(&context.client, policy, |key| context.destination(key))
        .await
        .map_err(ReconcileError::Fetch)?;
    let validated = validate::policy(policy, &fetched.destinations);
    let last = before.config_hash.as_deref().and_then(|hash| hash.parse().ok());
    let (delivery, refused) = deliver(policy, &validated, fetched.existing, last, context).await?;
    let plan = plan(policy, validated.as_ref().ok(), &delivery);
    context.state.planned(&key, plan.clone(), Instant::now());
    let pods = context.state.summary(&key, &plan, status::missing(&before));
    context.metrics.counted(&key, &pods.counts);
    let generation = policy.metadata.generation;
    if conditions::are_early(context.leading(), pods.unasked > 0, before.observed_generation, generation) {
        context.state.policies.add_at(key, context.asked_by());
    } else {
        let problems: &[Problem] = validated.as_ref().err().map(Vec::as_slice).unwrap_or_default();
        let seen = status::Seen { problems, delivery: &delivery, pods: &pods };
        let after = status::policy(&policy.spec, generation, &before.conditions, &seen, Timestamp::now());
        write::policy_status(context, policy, &before, after).await.map_err(ReconcileError::Status)?;
    }
    refused.map_or(Ok(()), |error| Err(ReconcileError::Apply(error)))
}

/// Applies what is valid; else says what stays. A refusal of the API server is told in the status, and is an error too,
/// so that it is tried again. `last` is what was delivered last.
async fn deliver(
    policy: &LogRotationPolicy,
    validated: &Result<Validated, Vec<Problem>>,
    existing: Result<Option<ConfigMap>, kube::Error>,
    last: Option<ConfigHash>,
    context: &Context,
) -> Result<(Delivery, Option<kube::Error>), ReconcileError> {
    let name = Key::of(policy).name;
    let delivery = match (existing, validated) {
        (Err(error), _) => Err(error),
        (Ok(existing), Ok(validated)) => {
            let desired = build::objects(policy, validated);
            apply::objects(&context.client, &name, &validated.hash, desired, existing.as_ref()).await
        }
        (Ok(existing), Err(_)) => Ok(apply::kept(existing.as_ref(), &name, last.clone())),
    };
    match delivery {
        Ok(delivery) => Ok((delivery, None)),
        Err(error) => match apply::refusal(&error) {
            Some(message) => Ok((Delivery::Refused { message, last }, Some(error))),
            None => Err(ReconcileError::Apply(error)),
        },
    }
}

/// What the rest of the controller should know of a policy.
fn plan(policy: &LogRotationPolicy, validated: Option<&Validated>, delivery: &Delivery) -> Plan {
    let names = references::destinations(&policy.spec);
    Plan {
        hash: delivery.hash().cloned(),
        secrets: validated.map(|validated| validated.secrets.clone()).unwrap_or_default(),
        destinations: names.into_iter().map(str::to_owned).collect(),
        patience: validated.map(|validated| patience(&validated.config)).unwrap_or_default(),
    }
}

fn patience(config: &Config) -> BTreeMap<String, Duration> {
    let rotated = config.logs.iter().filter_map(|log| Some((log, log.rotate.as_ref()?)));
    rotated.map(|(log, rotate)| (log.name.to_string(), rotate.reopen.timeout)).collect()
}
