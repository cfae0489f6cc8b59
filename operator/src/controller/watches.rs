//! What is watched, and what follows from each change. One function per watch.
//!
//! What always holds: a watch that breaks is counted and begun again, with growing pauses; an object that cannot be read,
//! since it was written for a later version, keeps nobody else from being read.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::pin::pin;
use std::sync::Arc;
use std::time::Instant;

use capstan_config::names::CONFIG_MAP_PREFIX;
use capstan_crds::{LogDestination, LogRotationPolicy};
use futures::{Stream, StreamExt};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Resource;
use kube::api::{Api, ObjectMeta, PartialObjectMeta};
use kube::core::DeserializeGuard;
use kube::runtime::WatchStreamExt;
use kube::runtime::reflector::store::Writer;
use kube::runtime::watcher::{self, Event};
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use super::context::Context;
use super::metrics::Metrics;
use crate::events::{self, Level, Telling};
use crate::names;
use crate::pods::Key;
use crate::pods::record::{LeftBehind, Pod, PodPart, Warning};

/// How old something may be that is told although it was there before we looked: nobody leads for a moment when the
/// leader changes.
const NEWS: SignedDuration = SignedDuration::from_secs(60);

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

/// What follows from the watch of a custom resource.
enum Change {
    /// An object is there that was not, or its specification is another.
    New(Key),
    /// An object is gone.
    Gone(Key),
    /// A list was read to its end: events may have been missed before.
    Listed,
}

/// Policies: a new generation is reconciled; one that is gone is forgotten.
pub async fn policies(
    api: Api<Guarded<LogRotationPolicy>>,
    writer: Writer<Guarded<LogRotationPolicy>>,
    context: Arc<Context>,
) {
    follow(api, writer, &context.metrics, |change| match change {
        Change::New(policy) => context.state.policies.add([policy]),
        Change::Gone(policy) => context.forget(&policy),
        Change::Listed => {}
    })
    .await;
}

/// Destinations: a new generation is reconciled, and the policies that send to it.
pub async fn destinations(
    api: Api<Guarded<LogDestination>>,
    writer: Writer<Guarded<LogDestination>>,
    context: Arc<Context>,
) {
    follow(api, writer, &context.metrics, |change| match change {
        Change::New(destination) => {
            context.state.policies.add(context.users_of(&destination));
            context.state.destinations.add([destination]);
        }
        Change::Gone(destination) => context.state.policies.add(context.users_of(&destination)),
        Change::Listed => context.state.policies.add(all_policies(&context)),
    })
    .await;
}

/// Watches a custom resource, keeps its objects for others to look up, and tells of changes once they can be looked up.
async fn follow<K>(
    api: Api<Guarded<K>>,
    writer: Writer<Guarded<K>>,
    metrics: &Metrics,
    mut tell: impl FnMut(Change),
) where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let kind = K::kind(&());
    let stream = watcher::watcher(api, watcher::Config::default()).default_backoff();
    let mut events = pin!(stream.modify(prune).reflect(writer));
    let mut known = Generations::default();
    while let Some(event) = next(&mut events, &kind, metrics).await {
        match event {
            Event::Init => known.begin(),
            Event::InitApply(object) => {
                complain(&kind, &object);
                known.listed(Key::of(&object), object.meta());
            }
            Event::InitDone => {
                known.finish().into_iter().for_each(&mut tell);
                tell(Change::Listed);
            }
            Event::Apply(object) => {
                complain(&kind, &object);
                known.applied(Key::of(&object), object.meta()).into_iter().for_each(&mut tell);
            }
            Event::Delete(object) => {
                let key = Key::of(&object);
                known.seen.remove(&key);
                tell(Change::Gone(key));
            }
        }
    }
}

fn complain<K: Resource<DynamicType = ()>>(kind: &str, object: &Guarded<K>) {
    if let Err(error) = &object.0 {
        let object = Key::of(object);
        tracing::error!(kind, %object, %error, "an object cannot be read; is its definition of a later version?");
    }
}

/// What tells a specification from the one before: the object's identity and generation.
type Generation = (Option<String>, Option<i64>);

/// The generations of all objects that were seen.
#[derive(Default)]
struct Generations {
    seen: BTreeMap<Key, Generation>,
    /// Those of a list that is being read; they can be looked up when it has ended.
    list: BTreeMap<Key, Generation>,
}

impl Generations {
    fn begin(&mut self) {
        self.list.clear();
    }

    fn listed(&mut self, key: Key, metadata: &ObjectMeta) {
        self.list.insert(key, generation(metadata));
    }

    fn finish(&mut self) -> Vec<Change> {
        let list = std::mem::take(&mut self.list);
        let gone = self.seen.keys().filter(|key| !list.contains_key(key)).cloned().map(Change::Gone);
        let new = list.iter().filter(|(key, generation)| self.seen.get(key) != Some(generation));
        let changes = gone.chain(new.map(|(key, _)| Change::New(key.clone()))).collect();
        self.seen = list;
        changes
    }

    fn applied(&mut self, key: Key, metadata: &ObjectMeta) -> Option<Change> {
        let generation = generation(metadata);
        let before = self.seen.insert(key.clone(), generation.clone());
        (before.as_ref() != Some(&generation)).then_some(Change::New(key))
    }
}

fn generation(metadata: &ObjectMeta) -> Generation {
    (metadata.uid.clone(), metadata.generation)
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
    while let Some(event) = next(&mut events, "ConfigMap", &context.metrics).await {
        match event {
            Event::Apply(object) | Event::Delete(object) => {
                context.state.policies.add(about_config_map(&context, &object));
            }
            // Nobody waits for the first list, either: what changed before it may have been reconciled as it was.
            Event::InitDone => context.state.policies.add(all_policies(&context)),
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
    let mut since = Some(Timestamp::now() - NEWS);
    let config = watcher::Config::default().labels(&format!("{}=true", names::INJECTED)).page_size(200);
    let stream = watcher::watcher(api, config).default_backoff();
    let mut events = pin!(stream);
    while let Some(event) = next(&mut events, "Pod", &context.metrics).await {
        match event {
            Event::Apply(part) | Event::InitApply(part) => see(&context, &part, since),
            Event::Delete(part) => {
                // The last words are often in the last state only.
                see(&context, &part, since);
                context.state.pod_gone(&Key::of(&part));
            }
            Event::Init => context.state.pods_begin(),
            Event::InitDone => {
                context.state.pods_complete();
                since = None;
                complete.send_replace(true);
            }
        }
    }
}

/// Whether something is news. In the first list, what is older than `since` was told by who led before.
fn is_news(at: Option<&Time>, since: Option<Timestamp>) -> bool {
    since.is_none_or(|since| at.is_some_and(|at| at.0 >= since))
}

fn see(context: &Context, part: &PodPart, since: Option<Timestamp>) {
    let pod = Pod::read(part);
    let created = is_news(part.metadata.creation_timestamp.as_ref(), since);
    let before = context.state.pod_seen(pod.clone(), Instant::now());
    let before = before.filter(|before| before.uid == pod.uid);
    let warnings = before.as_ref().map(|before| &before.warnings);
    let is_new = |warning: &&Warning| warnings.map_or(created, |known| !known.contains(warning));
    for warning in pod.warnings.iter().filter(is_new) {
        context.tell(about(&pod, &warning.reason, "Inject", warning.message.clone(), String::new()));
    }
    if let Some(left) = &pod.left_behind
        && before.map_or_else(
            || is_news(left.at.as_ref(), since),
            |before| before.left_behind.as_ref() != Some(left),
        )
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
        if let Some(policy) = policy
            && let Some(reference) = context.policy_reference(&policy)
        {
            context.metrics.left_unconfirmed(&policy, what.bytes);
            context.tell(Telling { about: reference, ..telling.clone() });
        }
        context.tell(telling);
    }
}

fn about(pod: &Pod, reason: &str, action: &'static str, note: String, occurrence: String) -> Telling {
    let about = events::pod(&pod.key, &pod.uid);
    Telling { about, level: Level::Warning, reason: reason.to_owned(), action, note, occurrence }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta(uid: &str, generation: i64) -> ObjectMeta {
        ObjectMeta { uid: Some(uid.to_owned()), generation: Some(generation), ..ObjectMeta::default() }
    }

    fn told(changes: impl IntoIterator<Item = Change>) -> Vec<String> {
        let tell = |change| match change {
            Change::New(key) => format!("new {}", key.name),
            Change::Gone(key) => format!("gone {}", key.name),
            Change::Listed => "listed".to_owned(),
        };
        changes.into_iter().map(tell).collect()
    }

    fn key(name: &str) -> Key {
        Key::new("shop", name)
    }

    #[test]
    fn only_another_specification_is_news() {
        let mut known = Generations::default();
        assert_eq!(told(known.applied(key("a"), &meta("1", 1))), ["new a"]);
        assert_eq!(told(known.applied(key("a"), &meta("1", 1))), [""; 0], "its status has changed");
        assert_eq!(told(known.applied(key("a"), &meta("1", 2))), ["new a"]);
        assert_eq!(told(known.applied(key("a"), &meta("2", 2))), ["new a"], "another object of this name");
    }

    #[test]
    fn what_changed_while_nobody_watched_is_told_when_the_list_has_ended() {
        let mut known = Generations::default();
        for name in ["a", "b", "c"] {
            known.applied(key(name), &meta(name, 1));
        }
        known.begin();
        known.listed(key("a"), &meta("a", 1));
        known.listed(key("c"), &meta("c", 2));
        known.listed(key("d"), &meta("d", 1));
        assert_eq!(told(known.finish()), ["gone b", "new c", "new d"]);
        known.begin();
        known.listed(key("half"), &meta("half", 1));
        known.begin();
        for (name, generation) in [("a", 1), ("c", 2), ("d", 1)] {
            known.listed(key(name), &meta(name, generation));
        }
        assert_eq!(told(known.finish()), [""; 0], "a list that was broken off says nothing");
    }

    #[test]
    fn who_begins_to_lead_tells_only_what_is_recent() {
        let at = |second| Time(Timestamp::from_second(second).unwrap());
        let since = Some(at(100).0);
        assert!(is_news(Some(&at(100)), since));
        assert!(!is_news(Some(&at(99)), since));
        assert!(!is_news(None, since), "nobody knows");
        assert!(is_news(Some(&at(99)), None), "it has happened while we looked");
    }
}
