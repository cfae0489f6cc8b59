//! A pod in, and what to change about it out.
//!
//! In: the pod as the API server shows it, its namespace, what is known of its policies, and the operator's settings.
//! Out: a JSON patch, the status that it writes, and warnings. What always holds: nothing but the pod, its namespace and
//! the settings decides what the sidecar looks like, apart from which Secrets it mounts; containers of others are never
//! changed; a pod that was injected before comes out the same; a result that the API server would refuse is never given.

pub mod annotations; // P
pub mod app; // P
pub mod skip; // P
pub mod user; // P
pub mod mounts; // P
pub mod expansion; // P
pub mod quantity; // P
pub mod bounds; // P
pub mod resources; // P
pub mod own; // P
pub mod sidecar; // P
pub mod advice; // P
pub mod merge; // P
pub mod check; // P
pub mod patch; // P
pub mod status; // P

use std::collections::{BTreeMap, BTreeSet};

use json_patch::Patch;
use k8s_openapi::api::core::v1::Pod;

use crate::inject::annotations::Asked;
use crate::inject::bounds::Bounds;
use crate::inject::merge::Earlier;
use crate::inject::resources::SidecarResources;
use crate::inject::skip::Skip;
use crate::inject::status::{Reason, Status, Warning};

/// What the operator's settings say about sidecars.
#[derive(Clone, Debug, PartialEq)]
pub struct SidecarSettings {
    /// The image.
    pub image: String,
    /// `Always`, `IfNotPresent` or `Never`.
    pub image_pull_policy: String,
    /// Requests and limits.
    pub resources: SidecarResources,
    /// Whether hostPath volumes of the app are mounted too.
    pub allow_host_path: bool,
}

/// Where the pod is to be created.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The namespace of the request; a pod's own is often empty at admission.
    pub namespace: &'a str,
    /// The operator's namespace, in which nothing is injected.
    pub own_namespace: &'a str,
    /// Whether users of this namespace are assigned by OpenShift.
    pub users_are_assigned: bool,
    /// What the namespace's LimitRanges leave to a container.
    pub bounds: &'a Bounds,
    /// What is known of the policies of this namespace that the pod names.
    pub known: &'a Known,
}

/// What is known of policies, by name.
pub type Known = BTreeMap<String, KnownPolicy>;

/// What is known of one policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownPolicy {
    /// The Secrets that its destinations name.
    pub secrets: BTreeSet<String>,
    /// Its logs.
    pub logs: Vec<KnownLog>,
}

/// What is known of one log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownLog {
    /// The log's name.
    pub name: String,
    /// The patterns of its files, absolute.
    pub include: Vec<String>,
    /// Whether an app is told to reopen by a signal.
    pub signals: bool,
}

/// What to do with a pod.
#[derive(Clone, Debug)]
pub struct Injection {
    /// What happens to the pod.
    pub outcome: Outcome,
    /// The changes; may be empty.
    pub patch: Patch,
    /// What the pod's author should know, the reason of a skip first.
    pub warnings: Vec<Warning>,
    /// Policies that the pod names and nobody knows yet.
    pub missing: Vec<String>,
}

/// Whether the pod gets a sidecar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It does.
    Injected,
    /// It does not.
    Skipped(Reason),
}

/// Decides about one pod.
pub fn inject(pod: &Pod, context: &Context<'_>, settings: &SidecarSettings) -> Injection {
    if let Some(reason) = skip::untouchable(pod, context) {
        return Injection {
            outcome: Outcome::Skipped(reason),
            patch: Patch::default(),
            warnings: Vec::new(),
            missing: Vec::new(),
        };
    }
    let (asked, mut warnings) = annotations::read(pod);
    let missing: Vec<String> =
        asked.policies.iter().filter(|name| !context.known.contains_key(*name)).cloned().collect();
    match build(pod, &asked, context, settings, &mut warnings) {
        Ok(desired) => {
            let warnings = status::bounded(warnings);
            let status = Status::injected(&asked.policies, &desired, &warnings);
            Injection {
                outcome: Outcome::Injected,
                patch: patch::injected(pod, &desired, &status),
                warnings,
                missing,
            }
        }
        Err(skip) => {
            let reason = skip.reason();
            warnings.insert(0, Warning::new(reason, skip.to_string()));
            let warnings = status::bounded(warnings);
            let status = Status::skipped(&asked.policies, &warnings);
            Injection {
                outcome: Outcome::Skipped(reason),
                patch: patch::skipped(pod, merge::find(pod).as_ref(), &status),
                warnings,
                missing,
            }
        }
    }
}

/// What an injected pod shall hold.
#[derive(Clone, Debug)]
pub struct Desired {
    /// The sidecar.
    pub container: k8s_openapi::api::core::v1::Container,
    /// Where among the init containers, the sidecar itself not counted.
    pub position: usize,
    /// The sidecar's own volumes.
    pub volumes: Vec<k8s_openapi::api::core::v1::Volume>,
    /// Set on the pod, if it is not already.
    pub share_process_namespace: bool,
    /// The image of the settings, which somebody may have rewritten in the container.
    pub image: String,
    /// The user that was chosen.
    pub user: user::User,
    /// What an earlier call put in.
    pub earlier: Option<Earlier>,
}

fn build(
    pod: &Pod,
    asked: &Asked,
    context: &Context<'_>,
    settings: &SidecarSettings,
    warnings: &mut Vec<Warning>,
) -> Result<Desired, Skip> {
    skip::unsuitable(pod, asked)?;
    let (bare, earlier) = merge::separate(pod)?;
    let containers = app::select(&bare, &asked.containers)?;
    let copied = mounts::copy(&bare, &containers, asked, settings.allow_host_path, warnings);
    if copied.mounts.is_empty() {
        return Err(Skip::NoSharedVolume { container: containers[0].name.clone() });
    }
    let user = user::choose(&bare, &containers, asked, context.users_are_assigned, &copied, warnings);
    let resources = resources::choose(&bare, asked, &settings.resources, context.bounds);
    let volumes = own::volumes(&asked.policies, context.known);
    let container = sidecar::build(&sidecar::Parts {
        pod: &bare,
        app: &containers,
        settings,
        user: &user,
        resources,
        copied: &copied,
        own: &volumes,
    });
    advice::give(&bare, asked, context.known, &copied, warnings);
    let desired = Desired {
        position: app::position(&bare),
        share_process_namespace: app::shares_processes(&bare, asked, warnings),
        container: merge::keep_foreign(container, earlier.as_ref(), &bare),
        volumes: volumes.into_iter().map(|volume| volume.volume).collect(),
        image: settings.image.clone(),
        user,
        earlier,
    };
    check::result(&bare, &desired)?;
    Ok(desired)
}
