//! Which pods are told their configuration, and when again, if that did not work.
//!
//! What always holds: who could not be told is in the queue until he is told or gone, however long that takes.

use std::time::{Duration, Instant};

use super::{Inner, State};
use crate::pods::Key;
use crate::pods::record::Pod;

/// How long a pod that may not be told its configuration is left alone.
const REFUSED: Duration = Duration::from_secs(600);

/// Pauses before a push that failed is tried again; then the pod is left alone as if it had been refused.
const PAUSES: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(30)];

/// A pod that was not told these hashes.
#[derive(Debug)]
pub(super) struct Untold {
    hashes: String,
    failures: usize,
    until: Instant,
}

impl Inner {
    /// The annotation that a pod should have, if it has another one.
    pub(super) fn hashes(&self, pod: &Pod) -> Option<String> {
        let plan = |policy: &str| self.plans.get(&Key::new(&pod.key.namespace, policy));
        pod.new_hashes(|policy| plan(policy)?.hash.as_ref())
    }
}

impl State {
    /// Pods may have to be told their configuration.
    pub(super) fn push(&self, pods: impl IntoIterator<Item = Key>) {
        if !self.left_to_kubelet {
            self.pushes.add(pods);
        }
    }

    /// The annotation that a pod should get now, if it should get another one. One that was not told a moment ago comes
    /// back into the queue.
    pub fn new_hashes(&self, key: &Key, now: Instant) -> Option<String> {
        let inner = self.lock();
        let pod = &inner.pods.get(key)?.pod;
        let hashes = inner.hashes(pod)?;
        let untold = inner.untold.get(key).filter(|untold| untold.hashes == hashes && now < untold.until);
        let Some(until) = untold.map(|untold| untold.until) else { return Some(hashes) };
        drop(inner);
        self.pushes.add_at(key.clone(), until);
        None
    }

    /// A pod was told, or is gone.
    pub fn push_done(&self, key: &Key) {
        self.lock().untold.remove(key);
    }

    /// A pod may not be told its configuration.
    pub fn push_refused(&self, key: &Key, hashes: String, now: Instant) {
        self.push_again(key, hashes, now, |_| REFUSED);
    }

    /// A pod could not be told its configuration.
    pub fn push_failed(&self, key: &Key, hashes: String, now: Instant) {
        self.push_again(key, hashes, now, |failures| PAUSES.get(failures).copied().unwrap_or(REFUSED));
    }

    fn push_again(&self, key: &Key, hashes: String, now: Instant, pause: impl Fn(usize) -> Duration) {
        let mut inner = self.lock();
        let Inner { pods, untold, .. } = &mut *inner;
        if pods.get(key).is_none() {
            return;
        }
        let before = untold.get(key).filter(|before| before.hashes == hashes);
        let failures = before.map_or(0, |before| before.failures);
        let until = now + pause(failures);
        untold.insert(key.clone(), Untold { hashes, failures: failures + 1, until });
        drop(inner);
        self.pushes.add_at(key.clone(), until);
    }
}
