//! All injected pods, and which of them name a policy.
//!
//! In: pods as they come and go. Out: the policies that a change is about. What always holds: after a list was read
//! again, pods that were not in it are gone.

use std::collections::{BTreeMap, BTreeSet};

use super::Key;
use super::record::Pod;
use crate::feedback::report::Observation;

/// A pod, and what its sidecar said.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The pod.
    pub pod: Pod,
    /// What its sidecar said last.
    pub seen: Observation,
}

/// All injected pods.
#[derive(Debug, Default)]
pub struct Index {
    entries: BTreeMap<Key, Entry>,
    by_policy: BTreeMap<Key, BTreeSet<Key>>,
    /// The pods of the list that is being read.
    listed: Option<BTreeSet<Key>>,
}

impl Index {
    /// A list begins.
    pub fn begin(&mut self) {
        self.listed = Some(BTreeSet::new());
    }

    /// A list is complete: returns the policies of the pods that were not in it.
    pub fn finish(&mut self) -> BTreeSet<Key> {
        let Some(listed) = self.listed.take() else { return BTreeSet::new() };
        let gone: Vec<Key> = self.entries.keys().filter(|key| !listed.contains(key)).cloned().collect();
        gone.iter().flat_map(|key| self.remove(key)).collect()
    }

    /// A pod is there or has changed: returns the policies that it named or names, if that says anything new.
    pub fn put(&mut self, pod: Pod) -> BTreeSet<Key> {
        if let Some(listed) = &mut self.listed {
            listed.insert(pod.key.clone());
        }
        let before = self.entries.get(&pod.key);
        if before.is_some_and(|before| before.pod == pod) {
            return BTreeSet::new();
        }
        // What was said belongs to the pod and not to its name.
        let seen = before.filter(|before| before.pod.uid == pod.uid).map(|before| before.seen.clone());
        let mut about = self.remove(&pod.key);
        for policy in policies(&pod) {
            self.by_policy.entry(policy.clone()).or_default().insert(pod.key.clone());
            about.insert(policy);
        }
        self.entries.insert(pod.key.clone(), Entry { pod, seen: seen.unwrap_or_default() });
        about
    }

    /// A pod is gone: returns the policies that it named.
    pub fn remove(&mut self, key: &Key) -> BTreeSet<Key> {
        let Some(entry) = self.entries.remove(key) else { return BTreeSet::new() };
        let about: BTreeSet<Key> = policies(&entry.pod).collect();
        for policy in &about {
            if let Some(pods) = self.by_policy.get_mut(policy) {
                pods.remove(key);
                if pods.is_empty() {
                    self.by_policy.remove(policy);
                }
            }
        }
        about
    }

    /// A pod.
    pub fn get(&self, key: &Key) -> Option<&Entry> {
        self.entries.get(key)
    }

    /// A pod, to note what was seen.
    pub fn get_mut(&mut self, key: &Key) -> Option<&mut Entry> {
        self.entries.get_mut(key)
    }

    /// The pods that name a policy.
    pub fn of_policy(&self, policy: &Key) -> impl Iterator<Item = &Entry> {
        self.by_policy.get(policy).into_iter().flatten().filter_map(|key| self.entries.get(key))
    }

    /// How many pods name a policy, have the label of injected ones, and miss the sidecar.
    pub fn labelled_only(&self, policy: &Key) -> i64 {
        self.of_policy(policy).map(|entry| i64::from(entry.pod.is_bare())).sum()
    }

    /// All pods.
    pub fn all(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// The policies that a pod names, by namespace and name.
pub fn policies(pod: &Pod) -> impl Iterator<Item = Key> {
    pod.policies.iter().map(|policy| Key::new(&pod.key.namespace, policy))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pods::record::PodPart;

    fn pod(name: &str, uid: &str, policies: &str) -> Pod {
        let yaml = format!(
            "metadata: {{ namespace: shop, name: {name}, uid: {uid}, annotations: {{ capstan.dev/policy: '{policies}' }} }}"
        );
        Pod::read(&serde_yaml_ng::from_str::<PodPart>(&yaml).unwrap())
    }

    fn keys(names: &[&str]) -> BTreeSet<Key> {
        names.iter().map(|name| Key::new("shop", *name)).collect()
    }

    fn names(index: &Index, policy: &str) -> Vec<String> {
        index.of_policy(&Key::new("shop", policy)).map(|entry| entry.pod.key.name.clone()).collect()
    }

    #[test]
    fn a_change_is_about_the_policies_before_and_after() {
        let mut index = Index::default();
        assert_eq!(index.put(pod("a", "1", "web")), keys(&["web"]));
        assert_eq!(index.put(pod("a", "1", "web")), keys(&[]), "nothing new");
        assert_eq!(index.put(pod("a", "1", "audit,web")), keys(&["audit", "web"]));
        assert_eq!(index.put(pod("a", "1", "audit")), keys(&["audit", "web"]));
        assert_eq!(names(&index, "web"), [""; 0]);
        assert_eq!(names(&index, "audit"), ["a"]);
        assert_eq!(index.remove(&Key::new("shop", "a")), keys(&["audit"]));
        assert!(index.is_empty());
    }

    #[test]
    fn a_list_forgets_who_is_not_in_it() {
        let mut index = Index::default();
        index.put(pod("a", "1", "web"));
        index.put(pod("b", "2", "web"));
        index.begin();
        index.put(pod("b", "2", "web"));
        index.put(pod("c", "3", "audit"));
        assert_eq!(index.finish(), keys(&["web"]));
        assert_eq!(names(&index, "web"), ["b"]);
        assert_eq!(index.len(), 2);
    }

    #[test]
    fn another_pod_of_the_same_name_has_said_nothing_yet() {
        let mut index = Index::default();
        index.put(pod("a", "1", "web"));
        let key = Key::new("shop", "a");
        index.get_mut(&key).unwrap().seen.failures = 3;
        index.put(pod("a", "1", "web,audit"));
        assert_eq!(index.get(&key).unwrap().seen.failures, 3);
        index.put(pod("a", "2", "web"));
        assert_eq!(index.get(&key).unwrap().seen.failures, 0);
    }
}
