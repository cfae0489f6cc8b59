//! What the controller knows of one scope (the cluster, or one namespace), and what it has to look at next.
//!
//! In: what watches, sweeps and sidecars say. Out: answers, and the queues that follow from them. What always holds: one
//! lock, held for moments and never over a wait; what changes leads to the policies and destinations it is about.

mod asking; // E
mod pushing; // E

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use capstan_config::ConfigHash;
use capstan_crds::destination::LastError;
use tokio::sync::Notify;

use super::wanted::Wanted;
use crate::feedback::schedule;
use crate::pods::Key;
use crate::pods::index::{Entry, Index};
use crate::pods::missing::Bare;
use crate::pods::record::Pod;
use crate::reconcile::summary::{self, DestinationSummary, PodSummary};

/// What is known of a policy since it was reconciled.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// What its sidecars should have.
    pub hash: Option<ConfigHash>,
    /// The Secrets that they need.
    pub secrets: BTreeSet<String>,
    /// The destinations that it sends to.
    pub destinations: BTreeSet<String>,
    /// How long the app of each log may take to reopen.
    pub patience: BTreeMap<String, Duration>,
}

#[derive(Debug, Default)]
struct Inner {
    pods: Index,
    plans: BTreeMap<Key, Plan>,
    /// Pods without a sidecar, by policy; `None` until somebody has looked.
    missing: Option<BTreeMap<Key, BTreeSet<String>>>,
    /// Whose sidecar is asked when.
    agenda: schedule::Agenda,
    /// Pods that could not be told what they should have.
    untold: BTreeMap<Key, pushing::Untold>,
}

/// What is known, and what follows.
#[derive(Debug, Default)]
pub struct State {
    inner: Mutex<Inner>,
    /// Policies to reconcile.
    pub policies: Wanted,
    /// Destinations to reconcile.
    pub destinations: Wanted,
    /// Pods to tell their configuration.
    pub pushes: Wanted,
    /// Nobody tells pods: none are kept to be told.
    left_to_kubelet: bool,
    /// Somebody is to be asked sooner than was thought.
    pub due_changed: Notify,
}

impl State {
    /// Nothing is known yet. `pushes` is whether pods are told their configuration.
    pub fn new(pushes: bool) -> Self {
        let (policies, destinations) = (Wanted::gathering(), Wanted::gathering());
        Self { policies, destinations, left_to_kubelet: !pushes, ..Self::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A list of pods begins.
    pub fn pods_begin(&self) {
        self.lock().pods.begin();
    }

    /// A list of pods is complete.
    pub fn pods_complete(&self) {
        let mut inner = self.lock();
        let gone = inner.pods.finish();
        let Inner { pods, untold, .. } = &mut *inner;
        untold.retain(|key, _| pods.get(key).is_some());
        drop(inner);
        self.policies.add(gone);
    }

    /// A pod is there or has changed; returns what it was before.
    pub fn pod_seen(&self, pod: Pod, now: Instant) -> Option<Pod> {
        let key = pod.key.clone();
        let mut inner = self.lock();
        let before = inner.pods.get(&key).map(|entry| entry.pod.clone());
        let about = inner.pods.put(pod);
        if inner.ask_seen(&key, before.as_ref(), now) {
            self.due_changed.notify_one();
        }
        drop(inner);
        if !about.is_empty() {
            self.push([key]);
            self.policies.add(about);
        }
        before
    }

    /// A pod is gone.
    pub fn pod_gone(&self, key: &Key) {
        let mut inner = self.lock();
        let about = inner.pods.remove(key);
        inner.untold.remove(key);
        inner.agenda.remove(key);
        drop(inner);
        self.policies.add(about);
    }

    /// A policy was reconciled: its pods are told and asked, if there is something new.
    pub fn planned(&self, policy: &Key, plan: Plan, now: Instant) {
        let mut inner = self.lock();
        let before = inner.plans.insert(policy.clone(), plan.clone());
        // Pods that come or change later are told when they are seen.
        let new_hash = before.as_ref().map(|before| &before.hash) != Some(&plan.hash);
        let mut pods = Vec::new();
        if new_hash {
            pods.extend(inner.pods.of_policy(policy).map(|entry| entry.pod.key.clone()));
            inner.ask_planned(&pods, now);
            self.due_changed.notify_one();
        }
        drop(inner);
        self.push(pods);
        let destinations = before.map(|before| before.destinations).unwrap_or_default();
        let changed = plan.destinations.symmetric_difference(&destinations).cloned();
        self.destinations.add(changed.map(|name| Key::new(&policy.namespace, name)));
    }

    /// A policy is gone: its pods keep what they have.
    pub fn policy_gone(&self, policy: &Key) {
        let plan = self.lock().plans.remove(policy).unwrap_or_default();
        self.destinations.add(plan.destinations.into_iter().map(|name| Key::new(&policy.namespace, name)));
    }

    /// Pods without a sidecar were looked for; returns those that were not known yet.
    pub fn swept(&self, bare: Vec<Bare>) -> Vec<Bare> {
        let mut missing: BTreeMap<Key, BTreeSet<String>> = BTreeMap::new();
        for pod in &bare {
            for policy in &pod.policies {
                let policy = Key::new(&pod.key.namespace, policy);
                missing.entry(policy).or_default().insert(pod.uid.clone());
            }
        }
        let mut inner = self.lock();
        // That nobody is missing is news, too, if nobody has looked before.
        let first = inner.missing.is_none().then(|| inner.plans.keys().cloned().collect());
        let before = inner.missing.replace(missing.clone()).unwrap_or_default();
        let known: BTreeSet<String> = before.values().flatten().cloned().collect();
        let changed = |policy: &&Key| before.get(*policy) != missing.get(*policy);
        let mut about: BTreeSet<Key> = first.unwrap_or_default();
        about.extend(before.keys().chain(missing.keys()).filter(changed).cloned());
        drop(inner);
        self.policies.add(about);
        bare.into_iter().filter(|pod| !known.contains(&pod.uid)).collect()
    }

    /// What the pods of a policy amount to. `missing` is how many had no sidecar when somebody looked last, which counts
    /// until we have looked.
    pub fn summary(&self, policy: &Key, plan: &Plan, missing: Option<i64>) -> PodSummary {
        let inner = self.lock();
        let question = summary::Question {
            policy: &policy.name,
            hash: plan.hash.as_ref(),
            secrets: plan.secrets.clone(),
            destinations: plan.destinations.clone(),
        };
        let found = |all: &BTreeMap<Key, BTreeSet<String>>| all.get(policy).map_or(0, BTreeSet::len);
        let found = inner.missing.as_ref().map(found);
        let missing = match found {
            Some(found) => i64::try_from(found).ok(),
            // These are counted by themselves below.
            None => missing.map(|all| (all - inner.pods.labelled_only(policy)).max(0)),
        };
        summary::of_policy(&question, inner.pods.of_policy(policy), missing)
    }

    /// What the sidecars that send to a destination amount to; `told` is the failure that its status has.
    pub fn destination_summary(&self, destination: &Key, told: Option<&LastError>) -> DestinationSummary {
        let inner = self.lock();
        let senders = inner.plans.iter().filter(|(policy, plan)| {
            policy.namespace == destination.namespace && plan.destinations.contains(&destination.name)
        });
        let mut seen = BTreeSet::new();
        let mut policies = 0;
        let entries: Vec<(&Entry, &str)> = senders
            .inspect(|_| policies += 1)
            .flat_map(|(policy, _)| inner.pods.of_policy(policy).map(|entry| (entry, policy.name.as_str())))
            // A pod with two such policies sends once.
            .filter(|(entry, _)| seen.insert(&entry.pod.key))
            .collect();
        let summary = summary::of_destination(&destination.name, entries.into_iter(), told);
        DestinationSummary { policies, ..summary }
    }
}

#[cfg(test)]
mod tests;
