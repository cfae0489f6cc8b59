//! When to ask which sidecar.
//!
//! In: what is known of each. Out: whom to ask next, and when. What always holds: who should have something new is asked
//! first and often, who cannot be reached less and less and by half of the hands at most, and all together no more often
//! than `ALL_PER_SECOND`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::pods::Key;

/// How soon a sidecar is asked that should have something new.
pub const SOON: Duration = Duration::from_millis(300);

/// Questions at once.
pub const AT_ONCE: usize = 16;

/// Of these, to sidecars that could not be reached: each takes until patience ends.
const UNREACHED_AT_ONCE: usize = AT_ONCE / 2;

/// The most questions in a second when nothing is new.
const MOST_PER_SECOND: f64 = 50.0;

/// The most questions in a second to those that had not yet what they should have.
const AGAIN_PER_SECOND: f64 = 200.0;

/// The most questions in a second, whatever happens.
pub const ALL_PER_SECOND: f64 = 250.0;

/// The longest pause between two questions about something new: kubelet brings it within about 90 s by itself.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How much more rarely a sidecar is asked that cannot be reached.
const UNREACHED: u32 = 8;

/// How often a sidecar is asked that has nothing new.
pub fn slow(interval: Duration, pods: usize) -> Duration {
    interval.max(shared(pods, MOST_PER_SECOND))
}

/// How long until a sidecar is asked again that had not yet what it should have, `in_vain` times in a row; `waiting` is
/// how many others are like it.
pub fn again(in_vain: u32, slow: Duration, waiting: usize) -> Duration {
    // Not slower than everybody else, unless everybody is asked very often.
    let pause = doubled(in_vain).min(slow.max(SOON)).min(LONGEST_PAUSE);
    pause.max(shared(waiting, AGAIN_PER_SECOND))
}

/// How long until a sidecar is asked again that could not be reached, `in_vain` times in a row.
pub fn unreached(in_vain: u32, slow: Duration) -> Duration {
    doubled(in_vain).min(slow.saturating_mul(UNREACHED))
}

/// When the one at this place is asked, of many that all get something new: they are told one after the other.
pub fn in_turn(place: usize) -> Duration {
    SOON + shared(place, MOST_PER_SECOND)
}

fn doubled(in_vain: u32) -> Duration {
    SOON.saturating_mul(1 << in_vain.min(16))
}

fn shared(many: usize, per_second: f64) -> Duration {
    Duration::from_secs_f64(many as f64 / per_second)
}

/// Why a sidecar is asked; earlier ones go first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// It should have something new.
    News,
    /// It had not yet what it should have.
    Again,
    /// It had all that it should have.
    Rest,
    /// It could not be reached.
    Unreached,
}

const LANES: [Lane; 4] = [Lane::News, Lane::Again, Lane::Rest, Lane::Unreached];

/// Whom to ask when. Whoever is being asked is not on it.
#[derive(Debug, Default)]
pub struct Agenda {
    places: BTreeMap<Key, (Lane, Instant)>,
    lanes: BTreeMap<Lane, BTreeSet<(Instant, Key)>>,
    /// How many are being asked that could not be reached before.
    unreached: usize,
}

impl Agenda {
    /// A sidecar is to be asked then, and at no other time.
    pub fn put(&mut self, key: &Key, lane: Lane, at: Instant) {
        self.remove(key);
        self.places.insert(key.clone(), (lane, at));
        self.lanes.entry(lane).or_default().insert((at, key.clone()));
    }

    /// The same, unless it is being asked; that will end, and it is put then.
    pub fn put_again(&mut self, key: &Key, lane: Lane, at: Instant) {
        if self.places.contains_key(key) {
            self.put(key, lane, at);
        }
    }

    /// A sidecar is not to be asked.
    pub fn remove(&mut self, key: &Key) {
        if let Some((lane, at)) = self.places.remove(key)
            && let Some(waiting) = self.lanes.get_mut(&lane)
        {
            waiting.remove(&(at, key.clone()));
        }
    }

    /// How many wait for a reason.
    pub fn waiting(&self, lane: Lane) -> usize {
        self.lanes.get(&lane).map_or(0, BTreeSet::len)
    }

    /// Takes a sidecar whose time has come; else tells when the next one's comes, if there is one. `done` has to follow.
    pub fn take(&mut self, now: Instant) -> Result<(Key, Lane), Option<Instant>> {
        let full = self.unreached >= UNREACHED_AT_ONCE;
        let lanes = LANES.into_iter().filter(|lane| *lane != Lane::Unreached || !full);
        let firsts = lanes.filter_map(|lane| Some((lane, self.lanes.get(&lane)?.first()?)));
        let firsts: Vec<(Lane, &(Instant, Key))> = firsts.collect();
        let due = firsts.iter().find(|(_, (at, _))| *at <= now);
        let (lane, (_, key)) = due.ok_or_else(|| firsts.iter().map(|(_, (at, _))| *at).min())?;
        let (key, lane) = (key.clone(), *lane);
        self.remove(&key);
        self.unreached += usize::from(lane == Lane::Unreached);
        Ok((key, lane))
    }

    /// A question was answered, or not.
    pub fn done(&mut self, lane: Lane) {
        self.unreached -= usize::from(lane == Lane::Unreached && self.unreached > 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HALF_A_MINUTE: Duration = Duration::from_secs(30);

    #[test]
    fn news_are_waited_for_with_growing_pauses() {
        let pause = |in_vain| again(in_vain, slow(HALF_A_MINUTE, 10), 1).as_millis();
        assert_eq!([pause(1), pause(2), pause(3), pause(4)], [600, 1200, 2400, 4800]);
        assert_eq!(pause(20), 30_000);
        assert_eq!(again(9, slow(Duration::from_secs(2), 1), 1), Duration::from_secs(2));
        assert_eq!(again(1, slow(HALF_A_MINUTE, 10_000), 2_000), Duration::from_secs(10), "many wait");
    }

    #[test]
    fn many_pods_are_asked_more_slowly() {
        assert_eq!(slow(HALF_A_MINUTE, 10), HALF_A_MINUTE);
        assert_eq!(slow(HALF_A_MINUTE, 10_000), Duration::from_secs(200));
        assert_eq!(slow(Duration::from_secs(2), 1), Duration::from_secs(2));
        assert_eq!(in_turn(0), SOON);
        assert_eq!(in_turn(9_985), Duration::from_secs(200), "they are told one after the other");
    }

    #[test]
    fn who_cannot_be_reached_is_asked_ever_more_rarely() {
        assert_eq!(unreached(1, HALF_A_MINUTE), SOON * 2);
        assert_eq!(unreached(20, HALF_A_MINUTE), Duration::from_secs(240));
    }

    fn key(name: &str) -> Key {
        Key::new("shop", name)
    }

    #[test]
    fn who_should_have_something_new_goes_first() {
        let mut agenda = Agenda::default();
        let now = Instant::now();
        agenda.put(&key("rest"), Lane::Rest, now);
        agenda.put(&key("again"), Lane::Again, now + SOON);
        agenda.put(&key("news"), Lane::News, now + SOON * 2);
        assert_eq!(agenda.take(now), Ok((key("rest"), Lane::Rest)));
        assert_eq!(agenda.take(now), Err(Some(now + SOON)));
        assert_eq!(agenda.take(now + SOON * 2), Ok((key("news"), Lane::News)));
        assert_eq!(agenda.take(now + SOON * 2), Ok((key("again"), Lane::Again)));
        agenda.put_again(&key("again"), Lane::News, now);
        assert_eq!(agenda.take(now + SOON * 2), Err(None), "it is being asked");
    }

    #[test]
    fn who_cannot_be_reached_takes_half_of_the_hands() {
        let mut agenda = Agenda::default();
        let now = Instant::now();
        for pod in 0..160 {
            agenda.put(&key(&format!("lost-{pod}")), Lane::Unreached, now);
        }
        let asked = std::iter::from_fn(|| agenda.take(now).ok()).count();
        assert_eq!(asked, AT_ONCE / 2);
        agenda.put(&key("rest"), Lane::Rest, now + SOON);
        assert_eq!(agenda.take(now + SOON), Ok((key("rest"), Lane::Rest)));
        agenda.done(Lane::Rest);
        assert!(agenda.take(now + SOON).is_err());
        agenda.done(Lane::Unreached);
        assert!(agenda.take(now + SOON).is_ok());
    }
}
