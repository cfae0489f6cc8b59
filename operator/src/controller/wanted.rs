//! What is to be looked at: a queue that is filled by many and emptied by one.
//!
//! What always holds: it is as large as there are objects, however often they are added; what was added is taken at
//! least once afterwards, and no later for being added again; namespaces take turns, so that a large one delays nobody.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::Stream;
use futures::stream;
use tokio::sync::Notify;

use crate::pods::Key;

/// Changes that come together are looked at together. Short, since users wait.
const LINGER: Duration = Duration::from_millis(50);

/// The least time between two looks at one object: with changes all the time, looking would be all that is done.
const SPACING: Duration = Duration::from_millis(200);

/// What is wanted, and when.
#[derive(Debug, Default)]
struct Queue {
    /// How long an object stays after it was first added.
    linger: Duration,
    /// How long an object is not taken again.
    spacing: Duration,
    /// When each may be taken.
    at: BTreeMap<Key, Instant>,
    /// The same, by namespace: who was added first comes first.
    namespaces: BTreeMap<String, BTreeSet<(Instant, String)>>,
    /// The namespace that had its turn last.
    last: String,
    /// When each was taken, as long as that matters.
    taken: BTreeMap<Key, Instant>,
}

impl Queue {
    fn add(&mut self, key: Key, now: Instant) -> bool {
        let spaced = self.taken.get(&key).map(|taken| *taken + self.spacing);
        let at = spaced.unwrap_or(now).max(now + self.linger);
        self.add_at(key, at)
    }

    /// Adds an object, unless it is wanted sooner anyway; returns whether anything changed.
    fn add_at(&mut self, key: Key, at: Instant) -> bool {
        let known = self.at.get(&key).copied();
        if known.is_some_and(|known| known <= at) {
            return false;
        }
        let Key { namespace, name } = key.clone();
        let waiting = self.namespaces.entry(namespace).or_default();
        if let Some(known) = known {
            waiting.remove(&(known, name.clone()));
        }
        waiting.insert((at, name));
        self.at.insert(key, at);
        true
    }

    /// Takes what may be taken, of the namespace whose turn it is; else tells when something may be.
    fn take(&mut self, now: Instant) -> Result<Key, Option<Instant>> {
        let after = (Bound::Excluded(&self.last), Bound::Unbounded);
        let before = (Bound::Unbounded, Bound::Included(&self.last));
        let turns =
            self.namespaces.range::<String, _>(after).chain(self.namespaces.range::<String, _>(before));
        let mut next = None;
        let mut found = None;
        for (namespace, waiting) in turns {
            let Some((at, name)) = waiting.first() else { continue };
            if *at <= now {
                found = Some(Key::new(namespace, name));
                break;
            }
            next = Some(next.map_or(*at, |next: Instant| next.min(*at)));
        }
        let key = found.ok_or(next)?;
        self.remove(&key);
        self.taken.retain(|_, taken| now < *taken + self.spacing);
        if !self.spacing.is_zero() {
            self.taken.insert(key.clone(), now);
        }
        self.last.clone_from(&key.namespace);
        Ok(key)
    }

    fn remove(&mut self, key: &Key) {
        let Some(at) = self.at.remove(key) else { return };
        if let Some(waiting) = self.namespaces.get_mut(&key.namespace) {
            waiting.remove(&(at, key.name.clone()));
            if waiting.is_empty() {
                self.namespaces.remove(&key.namespace);
            }
        }
    }
}

/// Objects to look at.
#[derive(Debug, Default)]
pub struct Wanted {
    queue: Mutex<Queue>,
    added: Notify,
}

impl Wanted {
    /// Objects that change often, and that are looked at whole: a moment after their first change.
    pub fn gathering() -> Self {
        let queue = Queue { linger: LINGER, spacing: SPACING, ..Queue::default() };
        Self { queue: Mutex::new(queue), added: Notify::new() }
    }

    /// Adds objects.
    pub fn add(&self, keys: impl IntoIterator<Item = Key>) {
        let now = Instant::now();
        self.fill(keys, |queue, key| queue.add(key, now));
    }

    /// Adds an object that is not to be looked at before its time.
    pub fn add_at(&self, key: Key, at: Instant) {
        self.fill([key], |queue, key| queue.add_at(key, at));
    }

    fn fill(&self, keys: impl IntoIterator<Item = Key>, add: impl Fn(&mut Queue, Key) -> bool) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let mut changed = false;
        for key in keys {
            changed |= add(&mut queue, key);
        }
        if changed {
            self.added.notify_one();
        }
    }

    /// Takes one whose time has come; else tells when the next one's comes, if there is one.
    pub fn take_due(&self, now: Instant) -> Result<Key, Option<Instant>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).take(now)
    }

    /// Takes one; waits if there is none.
    async fn take(&self) -> Key {
        loop {
            // Made before looking, so that what is added in between is not slept over.
            let added = self.added.notified();
            match self.take_due(Instant::now()) {
                Ok(key) => return key,
                Err(None) => added.await,
                Err(Some(at)) => tokio::select! {
                    () = tokio::time::sleep_until(at.into()) => {}
                    () = added => {}
                },
            }
        }
    }

    /// All that is added, for ever. There must be only one such stream at a time.
    pub fn stream(&self) -> impl Stream<Item = Key> {
        stream::unfold(self, |wanted| async move { Some((wanted.take().await, wanted)) })
    }
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt, StreamExt};

    use super::*;

    fn key(name: &str) -> Key {
        Key::new("shop", name)
    }

    const TICK: Duration = Duration::from_millis(20);

    #[test]
    fn what_is_added_twice_is_taken_once_and_later_additions_wake() {
        let wanted = Wanted::default();
        wanted.add([key("a"), key("b"), key("a")]);
        let mut taken = Box::pin(wanted.stream());
        assert_eq!(taken.next().now_or_never(), Some(Some(key("a"))));
        assert_eq!(taken.next().now_or_never(), Some(Some(key("b"))));
        assert_eq!(taken.next().now_or_never(), None);
        wanted.add([key("a")]);
        assert_eq!(taken.next().now_or_never(), Some(Some(key("a"))));
    }

    #[test]
    fn what_is_added_all_the_time_is_taken_all_the_same() {
        let mut queue = Queue { linger: LINGER, spacing: SPACING, ..Queue::default() };
        let start = Instant::now();
        let mut taken = Vec::new();
        for tick in 0..50 {
            let now = start + TICK * tick;
            queue.add(key("busy"), now);
            taken.extend(queue.take(now).is_ok().then_some(TICK * tick));
        }
        let taken: Vec<u128> = taken.iter().map(Duration::as_millis).collect();
        assert_eq!(taken, [60, 260, 460, 660, 860]);
    }

    #[test]
    fn what_may_wait_is_taken_sooner_if_it_is_added_again() {
        let mut queue = Queue::default();
        let now = Instant::now();
        queue.add_at(key("a"), now + TICK * 2);
        assert_eq!(queue.take(now), Err(Some(now + TICK * 2)));
        assert!(!queue.add_at(key("a"), now + TICK * 3), "it is wanted sooner");
        queue.add(key("a"), now + TICK);
        assert_eq!(queue.take(now + TICK), Ok(key("a")));
        assert_eq!(queue.take(now + TICK * 9), Err(None));
    }

    #[test]
    fn a_large_namespace_delays_no_other_and_in_each_the_first_comes_first() {
        let mut queue = Queue::default();
        let now = Instant::now();
        for (index, name) in ["c", "b", "a"].into_iter().enumerate() {
            queue.add(Key::new("large", name), now + TICK * u32::try_from(index).unwrap());
        }
        queue.add(Key::new("small", "z"), now + TICK * 5);
        let later = now + TICK * 9;
        let taken: Vec<String> =
            std::iter::from_fn(|| queue.take(later).ok()).map(|key| key.to_string()).collect();
        assert_eq!(taken, ["large/c", "small/z", "large/b", "large/a"]);
    }
}
