//! What the webhook knows: policies, destinations, LimitRanges and namespaces, watched.
//!
//! What always holds: asking never waits; what is not there yet is not known, and readiness says so until it is; an
//! object that cannot be read is not known, and keeps nobody else from being read.

use std::fmt::Debug;
use std::hash::Hash;

use capstan_crds::{LogDestination, LogRotationPolicy};
use futures::StreamExt;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{LimitRange, Namespace};
use kube::core::{DeserializeGuard as Guarded, PartialObjectMeta};
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::task::JoinSet;

use crate::admin::Readiness;
use crate::inject::bounds::Bounds;
use crate::inject::{Known, KnownLog, KnownPolicy};
use crate::names;
use crate::presets;
use crate::references;
use crate::webhook::review::Knowledge;

/// The caches.
pub struct Caches {
    policies: Vec<Store<Guarded<LogRotationPolicy>>>,
    destinations: Vec<Store<Guarded<LogDestination>>>,
    limit_ranges: Vec<Store<LimitRange>>,
    /// None where only some namespaces may be seen.
    namespaces: Option<Store<PartialObjectMeta<Namespace>>>,
}

impl Caches {
    /// Begins to watch, in these namespaces or in all, in the tasks.
    pub fn watch(
        client: &Client,
        namespaces: &[String],
        tasks: &mut JoinSet<()>,
        readiness: &Readiness,
    ) -> Self {
        Self {
            policies: watch_namespaced("policies", client, namespaces, tasks, readiness),
            destinations: watch_namespaced("destinations", client, namespaces, tasks, readiness),
            limit_ranges: watch_namespaced("limit ranges", client, namespaces, tasks, readiness),
            namespaces: namespaces.is_empty().then(|| {
                let api: Api<PartialObjectMeta<Namespace>> = Api::all(client.clone());
                watch("namespaces".to_owned(), api, tasks, readiness)
            }),
        }
    }

    fn destination(&self, namespace: &str, name: &str) -> Option<LogDestination> {
        let reference = ObjectRef::new(name).within(namespace);
        let found = self.destinations.iter().find_map(|store| store.get(&reference))?;
        found.0.as_ref().ok().cloned()
    }

    fn policy(&self, namespace: &str, name: &str) -> Option<KnownPolicy> {
        let reference = ObjectRef::new(name).within(namespace);
        let found = self.policies.iter().find_map(|store| store.get(&reference))?;
        let policy = found.0.as_ref().ok()?;
        let secrets = references::of_policy(&policy.spec, |name| self.destination(namespace, name));
        let logs = policy.spec.logs.iter().map(known_log).collect();
        Some(KnownPolicy { secrets, logs })
    }
}

fn known_log(log: &capstan_crds::policy::Log) -> KnownLog {
    let reopen = log.rotate.as_ref().and_then(|rotate| rotate.reopen.as_ref());
    KnownLog {
        name: log.name.to_string(),
        include: log.files.iter().flat_map(|files| &files.include).map(ToString::to_string).collect(),
        signals: reopen.is_some_and(is_signal),
    }
}

fn is_signal(reopen: &capstan_crds::policy::Reopen) -> bool {
    let preset = reopen.preset.as_ref().and_then(|preset| presets::app(&preset.to_string()).ok());
    reopen.signal.is_some() || preset.is_some_and(|how| how.get("signal").is_some())
}

impl Knowledge for Caches {
    fn policies(&self, namespace: &str, names: &[String]) -> Known {
        names.iter().filter_map(|name| Some((name.clone(), self.policy(namespace, name)?))).collect()
    }

    fn users_are_assigned(&self, namespace: &str) -> bool {
        let found = self.namespaces.as_ref().and_then(|store| store.get(&ObjectRef::new(namespace)));
        found.is_some_and(|namespace| namespace.annotations().contains_key(names::OPENSHIFT_RANGE))
    }

    fn bounds(&self, namespace: &str) -> Bounds {
        let all: Vec<_> = self.limit_ranges.iter().flat_map(Store::state).collect();
        let here = all.iter().filter(|range| range.metadata.namespace.as_deref() == Some(namespace));
        Bounds::of(here.filter_map(|range| range.spec.as_ref()))
    }
}

fn watch_namespaced<K>(
    what: &str,
    client: &Client,
    namespaces: &[String],
    tasks: &mut JoinSet<()>,
    readiness: &Readiness,
) -> Vec<Store<K>>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + Sync
        + 'static,
{
    if namespaces.is_empty() {
        return vec![watch(what.to_owned(), Api::all(client.clone()), tasks, readiness)];
    }
    let mut stores = Vec::new();
    for namespace in namespaces {
        let api = Api::namespaced(client.clone(), namespace);
        // Each has a name of its own: the first one that is there does not make the others ready.
        stores.push(watch(format!("{what} of namespace {namespace}"), api, tasks, readiness));
    }
    stores
}

fn watch<K>(what: String, api: Api<K>, tasks: &mut JoinSet<()>, readiness: &Readiness) -> Store<K>
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    K::DynamicType: Default + Eq + Hash + Clone + Send + Sync,
{
    readiness.wait_for(what.as_str(), "not read yet");
    let (store, writer) = reflector::store();
    let readiness = readiness.clone();
    tasks.spawn(async move {
        let events = watcher(api, watcher::Config::default()).default_backoff().modify(|object| {
            object.managed_fields_mut().clear();
        });
        let mut events = std::pin::pin!(reflector::reflector(writer, events));
        let mut told = false;
        while let Some(event) = events.next().await {
            match event {
                Ok(watcher::Event::InitDone) => readiness.ready(&what),
                Ok(_) => told = false,
                Err(error) if !told => {
                    told = true;
                    tracing::warn!(%error, "cannot watch {what}; trying again");
                }
                Err(_) => {}
            }
        }
    });
    store
}
