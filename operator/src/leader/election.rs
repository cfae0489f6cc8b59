//! The election, as client-go does it, as a function of what was seen and when.
//!
//! In: records of a lease and two clocks. Out: what to write, and whether we lead. What always holds: times that others
//! wrote are never compared with our clock. A lease that does not change for its whole duration on *our* clock has been
//! left; we lead for less than that after the moment at which our last successful change was *begun*. So whoever takes
//! over saw the last change after it was begun, waits for the whole duration, and comes later than our end.

use std::time::Duration;

use jiff::Timestamp;

/// How long a lease counts without being renewed.
pub const LEASE: Duration = Duration::from_secs(15);
/// How long its holder believes to lead without having renewed it.
pub const RENEW_DEADLINE: Duration = Duration::from_secs(10);
/// How often it is looked at.
pub const RETRY: Duration = Duration::from_secs(2);

/// Our clocks.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// Since some moment, never going back: the one that decides.
    pub boot: Duration,
    /// The time that people read in the Lease.
    pub wall: Timestamp,
}

/// What a Lease says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Who holds it; nobody if empty.
    pub holder: String,
    /// How long it counts after a change.
    pub duration: Duration,
    /// When the holder took it.
    pub acquired: Timestamp,
    /// When the holder renewed it.
    pub renewed: Timestamp,
    /// How often it went to somebody else.
    pub transitions: i32,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// There is no lease: make it.
    Create(Record),
    /// Change the lease that was seen, if it still is that one.
    Change(Record),
    /// Somebody else leads.
    Wait,
}

/// One of those who want to lead.
#[derive(Clone, Debug)]
pub struct Candidate {
    id: String,
    /// What was seen last, and when it was seen first.
    observed: Option<(Record, Duration)>,
    /// When our last change that succeeded was begun.
    renewed: Option<Duration>,
}

impl Candidate {
    /// One that has seen nothing. The identity must not be used by anybody else.
    pub fn new(id: String) -> Self {
        Self { id, observed: None, renewed: None }
    }

    /// Its identity.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Takes note of a look at the lease.
    pub fn saw(&mut self, record: Option<Record>, now: Now) {
        match record {
            None => self.observed = None,
            Some(record) if self.observed.as_ref().is_some_and(|(seen, _)| *seen == record) => {}
            Some(record) => self.observed = Some((record, now.boot)),
        }
    }

    /// What follows from it.
    pub fn decide(&self, now: Now) -> Decision {
        let Some((record, since)) = &self.observed else {
            return Decision::Create(self.record(now, now.wall, 0));
        };
        if record.holder == self.id {
            return Decision::Change(self.record(now, record.acquired, record.transitions));
        }
        let left = record.holder.is_empty() || now.boot.saturating_sub(*since) > record.duration;
        if left {
            return Decision::Change(self.record(now, now.wall, record.transitions.saturating_add(1)));
        }
        Decision::Wait
    }

    fn record(&self, now: Now, acquired: Timestamp, transitions: i32) -> Record {
        Record { holder: self.id.clone(), duration: LEASE, acquired, renewed: now.wall, transitions }
    }

    /// Takes note of a change that succeeded and was begun at `started`.
    pub fn wrote(&mut self, record: Record, started: Now) {
        self.renewed = Some(started.boot);
        self.observed = Some((record, started.boot));
    }

    /// Whether we lead.
    pub fn leads(&self, boot: Duration) -> bool {
        self.remaining(boot).is_some()
    }

    /// For how long we lead if nothing is heard; None if we do not.
    pub fn remaining(&self, boot: Duration) -> Option<Duration> {
        let holds = self.observed.as_ref().is_some_and(|(record, _)| record.holder == self.id);
        let end = self.renewed.filter(|_| holds)? + RENEW_DEADLINE;
        end.checked_sub(boot).filter(|remaining| !remaining.is_zero())
    }

    /// How long to wait before the next look: no longer than we lead.
    pub fn wait(&self, boot: Duration) -> Duration {
        self.remaining(boot).map_or(RETRY, |remaining| remaining.min(RETRY))
    }

    /// What to write when we go; None if the lease is not ours.
    pub fn resignation(&mut self, seen: &Record, now: Now) -> Option<Record> {
        self.renewed = None;
        let record = self.record(now, seen.acquired, seen.transitions);
        (seen.holder == self.id).then(|| Record {
            holder: String::new(),
            duration: Duration::from_secs(1),
            ..record
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(seconds: u64) -> Now {
        Now { boot: Duration::from_secs(seconds), wall: Timestamp::UNIX_EPOCH + Duration::from_secs(seconds) }
    }

    fn held_by(holder: &str) -> Record {
        Candidate::new(holder.to_owned()).record(at(0), at(0).wall, 3)
    }

    #[test]
    fn without_a_lease_one_is_made() {
        let candidate = Candidate::new("a".into());
        assert!(
            matches!(candidate.decide(at(7)), Decision::Create(record) if record.holder == "a" && record.transitions == 0)
        );
    }

    #[test]
    fn a_lease_of_somebody_else_is_left_alone_until_it_has_not_changed_for_its_duration() {
        let mut candidate = Candidate::new("a".into());
        candidate.saw(Some(held_by("b")), at(100));
        candidate.saw(Some(held_by("b")), at(115));
        assert_eq!(candidate.decide(at(115)), Decision::Wait);
        assert!(
            matches!(candidate.decide(at(116)), Decision::Change(record) if record.holder == "a" && record.transitions == 4)
        );
        candidate.saw(Some(Record { renewed: at(9).wall, ..held_by("b") }), at(116));
        assert_eq!(candidate.decide(at(131)), Decision::Wait);
    }

    #[test]
    fn a_lease_that_was_given_up_is_taken_at_once() {
        let mut candidate = Candidate::new("a".into());
        candidate.saw(Some(held_by("")), at(100));
        assert!(matches!(candidate.decide(at(100)), Decision::Change(_)));
    }

    #[test]
    fn who_cannot_renew_stops_leading_before_the_lease_ends() {
        let mut candidate = Candidate::new("a".into());
        candidate.wrote(held_by("a"), at(50));
        assert!(candidate.leads(Duration::from_millis(59_999)));
        assert!(!candidate.leads(Duration::from_secs(60)));
        assert_eq!(candidate.wait(Duration::from_secs(59)), Duration::from_secs(1));
    }

    #[test]
    fn who_sees_another_holder_stops_leading_at_once() {
        let mut candidate = Candidate::new("a".into());
        candidate.wrote(held_by("a"), at(50));
        candidate.saw(Some(held_by("b")), at(51));
        assert!(!candidate.leads(Duration::from_secs(51)));
    }

    #[test]
    fn a_lease_is_only_given_up_by_its_holder() {
        let mut candidate = Candidate::new("a".into());
        assert_eq!(candidate.resignation(&held_by("b"), at(1)), None);
        let given_up = candidate.resignation(&held_by("a"), at(1)).unwrap();
        assert_eq!((given_up.holder.as_str(), given_up.duration), ("", Duration::from_secs(1)));
    }

    /// What a candidate waits for.
    #[derive(Clone, Debug)]
    enum Waits {
        ForNothing,
        /// Has seen this version, and has begun to write.
        ToBeHeard(Record, Now, u64),
        /// Has written, and has not heard so.
        ForAnswer(Record, Now),
    }

    /// One moment of the simulation: time passes, then one candidate comes one step further, or its request is lost.
    #[derive(Clone, Debug)]
    struct Moment {
        passes: u64,
        who: usize,
        lost: bool,
    }

    fn moment() -> impl Strategy<Value = Moment> {
        (0u64..4_000, 0usize..3, prop::bool::weighted(0.1)).prop_map(|(passes, who, lost)| Moment {
            passes,
            who,
            lost,
        })
    }

    /// Three candidates whose clocks began at different moments and show different days, over a lease that is changed
    /// only by who has seen its last version. How many led in each moment.
    fn simulate(moments: &[Moment]) -> Vec<usize> {
        let offsets = [0u64, 5_000_000, 90_000_000];
        let clock = |who: usize, now: u64| Now {
            boot: Duration::from_millis(now + offsets[who]),
            wall: Timestamp::UNIX_EPOCH + Duration::from_millis(now + offsets[2 - who]),
        };
        let mut candidates = ["a", "b", "c"].map(|id| (Candidate::new(id.to_owned()), Waits::ForNothing));
        let (mut lease, mut version, mut now) = (None::<Record>, 0u64, 0u64);
        let step = |moment: &Moment| {
            now += moment.passes;
            let (candidate, waits) = &mut candidates[moment.who];
            let clock_now = clock(moment.who, now);
            *waits = match std::mem::replace(waits, Waits::ForNothing) {
                _ if moment.lost => Waits::ForNothing,
                Waits::ForNothing => {
                    candidate.saw(lease.clone(), clock_now);
                    match candidate.decide(clock_now) {
                        Decision::Wait => Waits::ForNothing,
                        Decision::Create(record) | Decision::Change(record) => {
                            Waits::ToBeHeard(record, clock_now, version)
                        }
                    }
                }
                Waits::ToBeHeard(record, started, seen) if seen == version => {
                    (lease, version) = (Some(record.clone()), version + 1);
                    Waits::ForAnswer(record, started)
                }
                Waits::ToBeHeard(..) => Waits::ForNothing,
                Waits::ForAnswer(record, started) => {
                    candidate.wrote(record, started);
                    Waits::ForNothing
                }
            };
            (0..3).filter(|who| candidates[*who].0.leads(clock(*who, now).boot)).count()
        };
        moments.iter().map(step).collect()
    }

    proptest! {
        #[test]
        fn never_do_two_believe_that_they_lead(moments in prop::collection::vec(moment(), 1..300)) {
            prop_assert!(simulate(&moments).into_iter().all(|leaders| leaders <= 1));
        }

        #[test]
        fn somebody_leads_once_requests_get_through(moments in prop::collection::vec(moment(), 1..100)) {
            let quiet = (0..300).map(|index| Moment { passes: 300, who: index % 3, lost: false });
            let leaders = simulate(&moments.into_iter().chain(quiet).collect::<Vec<_>>());
            prop_assert!(leaders[leaders.len() - 30..].iter().all(|leaders| *leaders == 1));
        }
    }
}
