//! What is watched, and what follows from each change. One function per watch.
//!
//! What always holds: a watch that breaks is counted and begun again, with growing pauses; an object that cannot be read,
//! since it was written for a later version, keeps nobody else from being read.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Instant;

use capstan_config::names::CONFIG_MAP_PREFIX;
use capstan_crds::{LogDestination, LogRotationPolicy};
use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, PartialObjectMeta};
use kube::core::DeserializeGuard;
use kube::runtime::WatchStreamExt;
use kube::runtime::reflector::store::Writer;
use kube::runtime::watcher::{self, Event};
use kube::{Resource, ResourceExt};
use tokio::sync::watch;

use super::context::Context;
use super::metrics::Metrics;
use crate::events::{self, Level, Telling};
use crate::names;
use crate::pods::Key;
use crate::pods::record::{LeftBehind, Pod, PodPart};

/// An object that may be unreadable.
pub type Guarded<K> = DeserializeGuard<K>;

/// Takes the next event of a watch; counts and passes over errors.
async fn next<K>(
    events: &mut (impl Stream<Item = watcher::Result<Event<K>>> + Unpin),
    kind: &str,
    metrics: &Metrics,
) -> Option<Event<K>> {
    loop {
        match events.next().await? {
            Ok(event) => return Some(event),
            Err(error) => {
                metrics.watch_failed(kind);
                let error = events::causes(&error);
                tracing::warn!(kind, %error, "a watch broke; beginning again");
            }
        }
    }
}

/// What nobody reads and everybody would have to keep.
fn prune<K: Resource>(object: &mut K) {
    object.meta_mut().managed_fields = None;
}

/// Policies: a new generation is reconciled; one that is gone is forgotten.
pub async fn policies(
    api: Api<Guarded<LogRotationPolicy>>,
    writer: Writer<Guarded<LogRotationPolicy>>,
    context: Arc<Context>,
) {
    let stream = watcher::watcher(api, watcher::Config::default()).default_backoff();
    let mut events = pin!(stream.modify(prune).reflect(writer));
    let mut generations = BTreeMap::new();
    while let Some(event) = next(&mut events, "LogRotationPolicy", &context.metrics).await {
        match event {
            Event::Apply(policy) | Event::InitApply(policy) => {
                let key = Key::of(&policy);
                if let Err(error) = &policy.0 {
                    tracing::error!(policy = %key, %error, "a policy cannot be read; is its CRD of a later version?");
                }
                let generation = (policy.uid(), policy.meta().generation);
                if generations.insert(key.clone(), generation.clone()).as_ref() != Some(&generation) {
                    context.state.policies.add([key]);
                }
            }
            Event::Delete(policy) => {
                let key = Key::of(&policy);
                generations.remove(&key);
                gone(&context, &key);
            }
            Event::Init => {}
            Event::InitDone => {
                let there: Vec<Key> =
                    context.policies.state().iter().map(|policy| Key::of(policy.as_ref())).collect();
                let lost: Vec<Key> = generations.keys().filter(|key| !there.contains(key)).cloned().collect();
                for key in lost {
                    generations.remove(&key);
                    gone(&context, &key);
                }
            }
        }
    }
}

fn gone(context: &Context, policy: &Key) {
    context.state.policy_gone(policy);
    context.metrics.forget(policy);
}

/// Destinations: a new generation is reconciled, and the policies that send to it.
pub async fn destinations(
    api: Api<Guarded<LogDestination>>,
    writer: Writer<Guarded<LogDestination>>,
    context: Arc<Context>,
) {
    let stream = watcher::watcher(api, watcher::Config::default()).default_backoff();
    let mut events = pin!(stream.modify(prune).reflect(writer));
    let mut generations = BTreeMap::new();
    while let Some(event) = next(&mut events, "LogDestination", &context.metrics).await {
        match event {
            Event::Apply(destination) | Event::InitApply(destination) => {
                let key = Key::of(&destination);
                if let Err(error) = &destination.0 {
                    tracing::error!(destination = %key, %error, "a destination cannot be read; is its CRD of a later version?");
                }
                let generation = (destination.uid(), destination.meta().generation);
                if generations.insert(key.clone(), generation.clone()).as_ref() != Some(&generation) {
                    context.state.policies.add(context.users_of(&key));
                    context.state.destinations.add([key]);
                }
            }
            Event::Delete(destination) => {
                let key = Key::of(&destination);
                generations.remove(&key);
                context.state.policies.add(context.users_of(&key));
            }
            // Events may have been missed: everybody looks again.
            Event::InitDone => context.state.policies.add(all_policies(&context)),
            Event::Init => {}
        }
    }
}

/// All policies of the scope.
pub fn all_policies(context: &Context) -> Vec<Key> {
    context.policies.state().iter().map(|policy| Key::of(policy.as_ref())).collect()
}

/// ConfigMaps, of which only metadata is read: our own, which somebody may have changed or deleted, and those with
/// authorities that destinations trust.
pub async fn config_maps(api: Api<PartialObjectMeta<ConfigMap>>, context: Arc<Context>) {
    let stream = watcher::watcher(api, watcher::Config::default()).default_backoff();
    let mut events = pin!(stream);
    let mut complete = false;
    while let Some(event) = next(&mut events, "ConfigMap", &context.metrics).await {
        match event {
            Event::Apply(object) | Event::Delete(object) => {
                context.state.policies.add(about_config_map(&context, &object));
            }
            // The first list is read before anything is reconciled. After a later one, everybody looks again.
            Event::InitDone if complete => context.state.policies.add(all_policies(&context)),
            Event::InitDone => complete = true,
            Event::Init | Event::InitApply(_) => {}
        }
    }
}

fn about_config_map(context: &Context, object: &PartialObjectMeta<ConfigMap>) -> Vec<Key> {
    let key = Key::of(object);
    // By name and not by label: one that is not ours stands in the way of a policy until it is gone.
    let policy = key.name.strip_prefix(CONFIG_MAP_PREFIX).map(|policy| Key::new(&key.namespace, policy));
    let known = policy.filter(|policy| context.policy_reference(policy).is_some());
    known.into_iter().chain(context.trusting(&key)).collect()
}

/// Injected pods. They come whole over the wire, since their metadata alone has neither address nor what a sidecar left
/// behind, which is there for a moment only; what is kept of them is small.
pub async fn pods(api: Api<PodPart>, context: Arc<Context>, complete: watch::Sender<bool>) {
    let config = watcher::Config::default().labels(&format!("{}=true", names::INJECTED)).page_size(200);
    let stream = watcher::watcher(api, config).default_backoff();
    let mut events = pin!(stream);
    while let Some(event) = next(&mut events, "Pod", &context.metrics).await {
        match event {
            Event::Apply(part) | Event::InitApply(part) => see(&context, &part),
            Event::Delete(part) => {
                // The last words are often in the last state only.
                see(&context, &part);
                context.state.pod_gone(&Key::of(&part));
            }
            Event::Init => context.state.pods_begin(),
            Event::InitDone => {
                context.state.pods_complete();
                complete.send_replace(true);
            }
        }
    }
}

fn see(context: &Context, part: &PodPart) {
    let pod = Pod::read(part);
    let before = context.state.pod_seen(pod.clone(), Instant::now());
    let before = before.filter(|before| before.uid == pod.uid);
    let warnings = before.as_ref().map(|before| &before.warnings);
    for warning in pod.warnings.iter().filter(|warning| warnings.is_none_or(|known| !known.contains(warning)))
    {
        context.tell(about(&pod, &warning.reason, "Inject", warning.message.clone(), String::new()));
    }
    if let Some(left) = &pod.left_behind
        && before.is_none_or(|before| before.left_behind.as_ref() != Some(left))
    {
        last_words(context, &pod, left);
    }
}

/// Lines that nobody has confirmed are told where people look: at the pod, and, since it may be gone, at the policies.
fn last_words(context: &Context, pod: &Pod, left: &LeftBehind) {
    let at = left.at.as_ref().map(|at| at.0.to_string()).unwrap_or_default();
    for what in &left.message.unconfirmed {
        let note = format!(
            "the sidecar of pod {} ended with {} bytes of {} that {} had not confirmed, the oldest {:.1} s old",
            pod.key.name, what.bytes, what.log, what.destination, what.seconds
        );
        let telling = about(pod, "LinesUnconfirmed", "Forward", note, at.clone());
        let policy = what.log.split_once('/').map(|(policy, _)| Key::new(&pod.key.namespace, policy));
        if let Some(reference) = policy.and_then(|policy| context.policy_reference(&policy)) {
            context.tell(Telling { about: reference, ..telling.clone() });
        }
        context.tell(telling);
    }
}

fn about(pod: &Pod, reason: &str, action: &'static str, note: String, occurrence: String) -> Telling {
    let about = events::pod(&pod.key, &pod.uid);
    Telling { about, level: Level::Warning, reason: reason.to_owned(), action, note, occurrence }
}
