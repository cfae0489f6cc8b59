//! Never signals again what died of a signal.
//!
//! In: the key of what a policy names as its target, and what was seen after a signal. Out: whether it may be
//! signalled. Always: a key that was recorded stays refused until the policy names something else; the record is
//! kept with the state, so that a restart does not kill the app once more.
//!
//! A process that has outlived one of our signals handles it; that it ends soon after a later one is no sign of anything.
//!
//! The kernel's list of handlers cannot tell that an app ends in its handler: every Go program shows one for HUP.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How soon after a signal an end counts as caused by it.
pub const WATCH: Duration = Duration::from_secs(2);

/// What a policy names as its target, in a form that changes exactly when the target does.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TargetKey(String);

impl TargetKey {
    /// The key of a target. Parts that the policy does not set are `None`.
    pub fn new(policy: &str, signal: i32, command_pattern: Option<&str>, pid_file: Option<&str>) -> Self {
        // Debug escapes the quotes, so no two specifications share a key.
        TargetKey(format!("{policy:?} signal {signal} pattern {command_pattern:?} pid file {pid_file:?}"))
    }

    /// The same in a container.
    pub fn inside(self, container: Option<&str>) -> Self {
        match container {
            Some(container) => TargetKey(format!("{} container {container:?}", self.0)),
            None => self,
        }
    }
}

/// What is remembered of a target that died.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Trip {
    /// When, in milliseconds since 1970.
    pub at_unix_ms: i64,
    /// The process that died.
    pub pid: u32,
}

/// The targets that are not signalled any more.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Breaker {
    tripped: BTreeMap<TargetKey, Trip>,
}

impl Breaker {
    /// Why the target must not be signalled, if it must not.
    pub fn tripped(&self, key: &TargetKey) -> Option<&Trip> {
        self.tripped.get(key)
    }

    /// Takes down what was seen `elapsed` after a signal; `true` if the target is refused from now on.
    pub fn observe(&mut self, key: &TargetKey, exited: bool, elapsed: Duration, trip: Trip) -> bool {
        let died_of_it = exited && elapsed <= WATCH;
        if died_of_it {
            self.tripped.entry(key.clone()).or_insert(trip);
        }
        died_of_it
    }

    /// Forgets all targets that no policy names any more.
    pub fn keep_only(&mut self, current: &[TargetKey]) {
        self.tripped.retain(|key, _| current.contains(key));
    }

    /// How many targets are refused.
    pub fn count(&self) -> usize {
        self.tripped.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(pattern: &str) -> TargetKey {
        TargetKey::new("web", 10, Some(pattern), None)
    }

    fn trip(pid: u32) -> Trip {
        Trip { at_unix_ms: 1_700_000_000_000, pid }
    }

    #[test]
    fn a_target_that_died_within_two_seconds_is_refused_until_the_policy_changes() {
        let mut breaker = Breaker::default();
        assert!(breaker.observe(&key("app"), true, WATCH, trip(7)));
        assert_eq!(breaker.tripped(&key("app")), Some(&trip(7)));
        assert_eq!(breaker.tripped(&key("other")), None);
        breaker.keep_only(&[key("app"), key("other")]);
        assert_eq!(breaker.count(), 1);
        breaker.keep_only(&[key("other")]);
        assert_eq!(breaker.tripped(&key("app")), None);
    }

    #[test]
    fn a_target_that_lives_or_ends_later_is_not_refused() {
        let mut breaker = Breaker::default();
        assert!(!breaker.observe(&key("app"), false, Duration::ZERO, trip(7)));
        assert!(!breaker.observe(&key("app"), true, WATCH + Duration::from_millis(1), trip(7)));
        assert_eq!(breaker.count(), 0);
    }

    #[test]
    fn the_first_death_is_the_one_remembered() {
        let mut breaker = Breaker::default();
        breaker.observe(&key("app"), true, Duration::ZERO, trip(7));
        breaker.observe(&key("app"), true, Duration::ZERO, trip(8));
        assert_eq!(breaker.tripped(&key("app")), Some(&trip(7)));
    }

    #[test]
    fn every_part_of_a_target_counts() {
        let keys = [
            TargetKey::new("web", 10, Some("a"), None),
            TargetKey::new("web", 12, Some("a"), None),
            TargetKey::new("api", 10, Some("a"), None),
            TargetKey::new("web", 10, None, Some("a")),
            TargetKey::new("web", 10, Some("a\" pid file Some(\"b"), None),
            TargetKey::new("web", 10, Some("a"), Some("b")),
        ];
        for (index, key) in keys.iter().enumerate() {
            assert_eq!(keys.iter().position(|other| other == key), Some(index));
        }
    }

    #[test]
    fn the_record_survives_a_restart() {
        let mut breaker = Breaker::default();
        breaker.observe(&key("app \"x\""), true, Duration::ZERO, trip(7));
        let stored = serde_json::to_string(&breaker).unwrap();
        assert_eq!(serde_json::from_str::<Breaker>(&stored).unwrap(), breaker);
    }
}
