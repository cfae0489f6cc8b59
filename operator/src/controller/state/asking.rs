//! Which sidecars are asked when, and what their answers lead to.
//!
//! What always holds: an answer is decoded outside of the lock, and of what it says only that is kept which is about the
//! pod's own policies; an observation that is old counts no more.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use capstan_config::ConfigHash;
use hyper::body::Bytes;

use super::{Inner, State};
use crate::feedback::read::Question;
use crate::feedback::report::{Concern, Observation, Report};
use crate::feedback::schedule::{self, Lane};
use crate::pods::Key;
use crate::pods::index::{Entry, policies};
use crate::pods::record::{Pod, Stage};
use crate::reconcile::summary;

/// After how many times the usual pause a report is too old, and for how long it never is.
const TOO_OLD: u32 = 3;
const FRESH: Duration = Duration::from_secs(60);

/// Whether a sidecar can be asked.
fn answers(pod: &Pod) -> bool {
    pod.stage == Stage::Running && pod.address.is_some()
}

/// Counts what became of a question, and says when to ask again. `current` is whether the sidecar has all that it should
/// have, if it could be asked; `waiting` is how many others have not.
fn again(seen: &mut Observation, current: Option<bool>, slow: Duration, waiting: usize) -> (Lane, Duration) {
    let Observation { failures, unreached, .. } = seen;
    match current {
        Some(true) => {
            (*failures, *unreached) = (0, 0);
            (Lane::Rest, slow)
        }
        Some(false) => {
            (*failures, *unreached) = (failures.saturating_add(1), 0);
            (Lane::Again, schedule::again(*failures, slow, waiting))
        }
        None => {
            *unreached = unreached.saturating_add(1);
            (Lane::Unreached, schedule::unreached(*unreached, slow))
        }
    }
}

impl Inner {
    /// A pod was seen: it is asked soon, if it is there now or was told something. Returns whether anybody is.
    pub(super) fn ask_seen(&mut self, key: &Key, before: Option<&Pod>, now: Instant) -> bool {
        let Some(entry) = self.pods.get_mut(key) else { return false };
        let Entry { pod, seen } = entry;
        let before = before.filter(|before| before.uid == pod.uid);
        if !answers(pod) {
            self.agenda.remove(key);
            // Who does not run is not observed.
            if seen.report.take().is_some() {
                seen.error = None;
            }
        } else if before.is_none_or(|before| !answers(before) || before.address != pod.address) {
            seen.unreached = 0;
            self.agenda.put(key, Lane::News, now + schedule::SOON);
            return true;
        } else if before.is_some_and(|before| before.hashes != pod.hashes) && seen.unreached == 0 {
            seen.failures = 0;
            self.agenda.put_again(key, Lane::News, now + schedule::SOON);
            return true;
        }
        false
    }

    /// Pods are to have something new: they are asked as they are told, one after the other. Those that cannot be reached
    /// don't have it sooner for being asked.
    pub(super) fn ask_planned(&mut self, pods: &[Key], now: Instant) {
        let mut places = 0..;
        for key in pods {
            let place =
                self.pods.get(key).and_then(|entry| self.hashes(&entry.pod)).and_then(|_| places.next());
            let Some(entry) = self.pods.get_mut(key) else { continue };
            entry.seen.failures = 0;
            if entry.seen.unreached == 0 {
                self.agenda.put_again(key, Lane::News, now + schedule::in_turn(place.unwrap_or(0)));
            }
        }
    }

    /// What answers of a pod may be about.
    fn concern(&self, pod: &Pod) -> Concern {
        let mut concern = Concern { policies: pod.policies.clone(), ..Concern::default() };
        for policy in &pod.policies {
            let Some(plan) = self.plans.get(&Key::new(&pod.key.namespace, policy)) else { continue };
            let patience = plan.patience.iter().map(|(log, patience)| (format!("{policy}/{log}"), *patience));
            concern.patience.extend(patience);
            for name in &plan.destinations {
                concern.destinations.extend([name.clone(), format!("{policy}/{name}")]);
            }
        }
        concern
    }

    /// Whether a pod has all that it should have.
    fn is_current(&self, pod: &Pod, report: &Report) -> bool {
        pod.policies.iter().all(|policy| {
            let plan = self.plans.get(&Key::new(&pod.key.namespace, policy));
            let wanted = plan.and_then(|plan| plan.hash.as_ref()).map(ConfigHash::as_str);
            let has = report.policies.get(policy).and_then(|policy| policy.hash.as_deref());
            wanted.is_none() || wanted == has
        })
    }

    /// The policies and destinations that a pod's sidecar speaks of.
    fn about(&self, pod: &Pod) -> (Vec<Key>, BTreeSet<Key>) {
        let policies: Vec<Key> = policies(pod).collect();
        let plans = policies.iter().filter_map(|policy| self.plans.get(policy));
        let destinations = plans.flat_map(|plan| &plan.destinations);
        let destinations = destinations.map(|name| Key::new(&pod.key.namespace, name)).collect();
        (policies, destinations)
    }
}

impl State {
    /// A sidecar whose time to be asked has come; else when the next one's comes, if there is one.
    pub fn take_due(&self, now: Instant) -> Result<Question, Option<Instant>> {
        let mut inner = self.lock();
        loop {
            let (key, lane) = inner.agenda.take(now)?;
            let pod = inner.pods.get(&key).map(|entry| &entry.pod).filter(|pod| answers(pod));
            if let Some(Pod { key, uid, address, .. }) = pod.cloned() {
                return Ok(Question { key, uid, address: address.unwrap_or_default(), lane });
            }
            // It went while nobody looked.
            inner.agenda.done(lane);
        }
    }

    /// A sidecar has answered, or not.
    pub fn answered(
        &self,
        question: &Question,
        answer: Result<Bytes, String>,
        now: Instant,
        interval: Duration,
    ) {
        let read = answer.and_then(|json| Report::read(&json, &self.concern(&question.key)));
        let mut inner = self.lock();
        inner.agenda.done(question.lane);
        // The question is back in the queue, which may be shorter than the one that is waited for.
        self.due_changed.notify_one();
        let known = inner.pods.get(&question.key).filter(|entry| entry.pod.uid == question.uid);
        let Some(pod) = known.map(|entry| entry.pod.clone()).filter(answers) else { return };
        let current = read.as_ref().ok().map(|report| inner.is_current(&pod, report));
        let slow = schedule::slow(interval, inner.pods.len());
        let (policies, destinations) = inner.about(&pod);
        let Inner { pods, agenda, .. } = &mut *inner;
        let Some(Entry { seen, .. }) = pods.get_mut(&pod.key) else { return };
        let failures = seen.failures;
        let (lane, pause) = again(seen, current, slow, agenda.waiting(Lane::Again));
        agenda.put(&pod.key, lane, now + pause);
        let before = (seen.report.take(), seen.error.take());
        (seen.report, seen.error) = match read {
            Ok(mut report) => {
                report.keep_failures_of(before.0.as_ref().unwrap_or(&Report::default()));
                (Some(report), None)
            }
            Err(error) => (None, Some(error)),
        };
        seen.at = Some(now);
        let refuses = seen.failures != failures && seen.failures == summary::REFUSALS;
        let news = refuses || before.0 != seen.report || before.1 != seen.error;
        drop(inner);
        if news {
            self.policies.add(policies);
            self.destinations.add(destinations);
        }
    }

    fn concern(&self, key: &Key) -> Concern {
        let inner = self.lock();
        inner.pods.get(key).map(|entry| inner.concern(&entry.pod)).unwrap_or_default()
    }

    /// Forgets what was said so long ago that it says nothing of now: there were too many to be asked.
    pub fn expire(&self, now: Instant, interval: Duration) {
        let mut inner = self.lock();
        let longest = FRESH.max(schedule::slow(interval, inner.pods.len()) * TOO_OLD);
        let old =
            |entry: &&Entry| entry.seen.report.is_some() && entry.seen.at.is_none_or(|at| at + longest < now);
        let old: Vec<Pod> = inner.pods.all().filter(old).map(|entry| entry.pod.clone()).collect();
        let mut about: BTreeMap<Key, BTreeSet<Key>> = BTreeMap::new();
        for pod in &old {
            let (policies, destinations) = inner.about(pod);
            about.extend(policies.into_iter().map(|policy| (policy, destinations.clone())));
            if let Some(entry) = inner.pods.get_mut(&pod.key) {
                let error = format!("it was not asked for {} s; there are many to ask", longest.as_secs());
                (entry.seen.report, entry.seen.error) = (None, Some(error));
            }
        }
        drop(inner);
        for (policy, destinations) in about {
            self.policies.add([policy]);
            self.destinations.add(destinations);
        }
    }
}
