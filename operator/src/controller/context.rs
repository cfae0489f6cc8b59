//! What reconciling needs beside the object: a client, what is watched, what is known.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use capstan_crds::{LogDestination, LogDestinationStatus, LogRotationPolicy, LogRotationPolicyStatus};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Client, Resource, ResourceExt};
use tokio::sync::mpsc;

use super::metrics::Metrics;
use super::state::State;
use super::watches::Guarded;
use crate::events::Telling;
use crate::pods::Key;
use crate::reconcile::conditions::ASKING;
use crate::reconcile::fetch::Lookup;
use crate::reconcile::validate::Absent;
use crate::references;

/// How long what was written counts more than what is watched, which may lag behind.
const LAG: Duration = Duration::from_secs(10);

/// The first pause after an error; it doubles with each.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// What was written last, by the object's identity.
#[derive(Debug)]
struct Written<T>(Mutex<BTreeMap<String, (T, Instant)>>);

impl<T> Default for Written<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Clone> Written<T> {
    fn remember(&self, uid: Option<String>, status: T) {
        let mut written = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        written.retain(|_, (_, at)| at.elapsed() < LAG);
        written.insert(uid.unwrap_or_default(), (status, Instant::now()));
    }

    fn recent(&self, uid: Option<String>) -> Option<T> {
        let written = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let recent = written.get(&uid.unwrap_or_default()).filter(|(_, at)| at.elapsed() < LAG);
        recent.map(|(status, _)| status.clone())
    }

    fn at(&self, uid: Option<String>) -> Option<Instant> {
        let written = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        written.get(&uid.unwrap_or_default()).map(|(_, at)| *at)
    }
}

/// What reconciling needs.
pub struct Context {
    /// Speaks to the API server.
    pub client: Client,
    /// What is known.
    pub state: Arc<State>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// All policies of the scope.
    pub policies: Store<Guarded<LogRotationPolicy>>,
    /// All destinations of the scope.
    pub destinations: Store<Guarded<LogDestination>>,
    tellings: mpsc::Sender<Telling>,
    policy_statuses: Written<LogRotationPolicyStatus>,
    destination_statuses: Written<LogDestinationStatus>,
    /// How often in a row an object could not be reconciled.
    failures: Mutex<BTreeMap<(&'static str, Key), u32>>,
    began: Instant,
}

impl Context {
    /// Puts it together. What is told goes into `tellings`.
    pub fn new(
        client: Client,
        state: Arc<State>,
        metrics: Arc<Metrics>,
        policies: Store<Guarded<LogRotationPolicy>>,
        destinations: Store<Guarded<LogDestination>>,
        tellings: mpsc::Sender<Telling>,
    ) -> Self {
        let (policy_statuses, destination_statuses) = (Written::default(), Written::default());
        Self {
            client,
            state,
            metrics,
            policies,
            destinations,
            tellings,
            policy_statuses,
            destination_statuses,
            failures: Mutex::default(),
            began: Instant::now(),
        }
    }

    /// How long we lead.
    pub fn leading(&self) -> Duration {
        self.began.elapsed()
    }

    /// When sidecars had the time to answer: what is not known by then is unknown.
    pub fn asked_by(&self) -> Instant {
        self.began + ASKING
    }

    /// An object could not be reconciled: returns when to try again.
    pub fn failed(&self, kind: &'static str, key: Key) -> Duration {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let count = failures.entry((kind, key)).or_default();
        *count = count.saturating_add(1);
        FIRST_PAUSE.saturating_mul(1 << (*count - 1).min(16)).min(LONGEST_PAUSE)
    }

    /// An object was reconciled.
    pub fn succeeded(&self, kind: &'static str, key: Key) {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).remove(&(kind, key));
    }

    /// A destination, or why it cannot be looked at.
    pub fn destination(&self, key: &Key) -> Lookup {
        let found = self.destinations.get(&ObjectRef::new(&key.name).within(&key.namespace));
        match &found.ok_or(Absent::Missing)?.0 {
            Ok(destination) => Ok(Arc::new(destination.clone())),
            Err(error) => Err(Absent::Unreadable(error.error.clone())),
        }
    }

    /// A policy, as Events name it.
    pub fn policy_reference(&self, key: &Key) -> Option<ObjectReference> {
        let found = self.policies.get(&ObjectRef::new(&key.name).within(&key.namespace))?;
        Some(found.0.as_ref().ok()?.object_ref(&()))
    }

    /// Whether there is such a policy, readable or not.
    pub fn has_policy(&self, key: &Key) -> bool {
        self.policies.get(&ObjectRef::new(&key.name).within(&key.namespace)).is_some()
    }

    /// A policy is gone.
    pub fn forget(&self, policy: &Key) {
        self.state.policy_gone(policy);
        self.metrics.forget(policy);
    }

    /// How many policies send to a destination.
    pub fn users(&self, destination: &Key) -> usize {
        self.users_of(destination).len()
    }

    /// The policies that send to a destination.
    pub fn users_of(&self, destination: &Key) -> Vec<Key> {
        let users = self.policies.state().into_iter().filter_map(|policy| {
            let policy = policy.0.as_ref().ok()?;
            let key = Key::of(policy);
            let sends = references::destinations(&policy.spec).contains(destination.name.as_str());
            (sends && key.namespace == destination.namespace).then_some(key)
        });
        users.collect()
    }

    /// The policies whose destinations take their authorities from a ConfigMap.
    pub fn trusting(&self, config_map: &Key) -> Vec<Key> {
        let destinations = self.destinations.state().into_iter().filter_map(|destination| {
            let destination = destination.0.as_ref().ok()?;
            let key = Key::of(destination);
            let authority = references::authority(&destination.spec)?;
            (key.namespace == config_map.namespace && authority.name.0 == config_map.name).then_some(key)
        });
        destinations.flat_map(|destination| self.users_of(&destination)).collect()
    }

    /// Tells something. If there is too much to tell, it is only logged.
    pub fn tell(&self, telling: Telling) {
        let level = telling.level;
        tracing::info!(?level, reason = %telling.reason, about = ?telling.about.name, note = %telling.note, "event");
        if self.tellings.try_send(telling).is_err() {
            tracing::warn!("too many Events at once; this one is not written");
        }
    }

    /// The status of a policy as it was written or seen last.
    pub fn last_status(&self, policy: &LogRotationPolicy) -> LogRotationPolicyStatus {
        let written = self.policy_statuses.recent(policy.uid());
        written.or_else(|| policy.status.clone()).unwrap_or_default()
    }

    /// The status of a policy was written.
    pub fn remember_policy(&self, policy: &LogRotationPolicy, status: LogRotationPolicyStatus) {
        self.policy_statuses.remember(policy.uid(), status);
    }

    /// When the status of a policy was written last, if that is not long ago.
    pub fn policy_written(&self, policy: &LogRotationPolicy) -> Option<Instant> {
        self.policy_statuses.at(policy.uid())
    }

    /// The status of a destination as it was written or seen last.
    pub fn last_destination_status(&self, destination: &LogDestination) -> LogDestinationStatus {
        let written = self.destination_statuses.recent(destination.uid());
        written.or_else(|| destination.status.clone()).unwrap_or_default()
    }

    /// When the status of a destination was written last, if that is not long ago.
    pub fn destination_written(&self, destination: &LogDestination) -> Option<Instant> {
        self.destination_statuses.at(destination.uid())
    }

    /// The status of a destination was written.
    pub fn remember_destination(&self, destination: &LogDestination, status: LogDestinationStatus) {
        self.destination_statuses.remember(destination.uid(), status);
    }
}
