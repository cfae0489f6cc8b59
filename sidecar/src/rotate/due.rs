//! Is a log due to be rotated? Pure.

use jiff::Timestamp;

use super::schedule::Schedule;

/// What a policy says about when.
#[derive(Clone, Debug)]
pub struct When<'a> {
    /// At this size, in bytes.
    pub size: Option<u64>,
    /// At these times.
    pub schedule: Option<&'a Schedule>,
    /// By schedule only from this size on, in bytes.
    pub min_size: u64,
    /// Whether an empty file is rotated by schedule.
    pub if_empty: bool,
    /// At this time, once: somebody asked for it.
    pub asked: Option<Timestamp>,
}

/// Why a log is rotated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// It has reached its size.
    Size,
    /// Its time has come.
    Schedule,
    /// Somebody asked for it.
    Request,
}

/// What to do about a log now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// Why it is due, if it is.
    pub trigger: Option<Trigger>,
    /// When its time comes next.
    pub next: Option<Timestamp>,
    /// A time that came while there was nothing to rotate counts as served: to be remembered as the last rotation.
    pub served: Option<Timestamp>,
}

/// Decides. `last` is the last rotation, or the first sight of the log.
pub fn due(when: &When<'_>, bytes: u64, last: Timestamp, now: Timestamp) -> Due {
    let by_size = when.size.is_some_and(|limit| bytes >= limit && bytes > 0);
    let is_worth_it = bytes > 0 || when.if_empty;
    let decision = when.schedule.map(|schedule| schedule.decide(last, now));
    let by_schedule = decision.as_ref().is_some_and(|decision| decision.due);
    // A wish is served by any rotation after its time, so it needs no record of its own.
    let wish = when.asked.filter(|at| last < *at);
    let by_wish = wish.is_some_and(|at| at <= now);
    let trigger = if by_size {
        Some(Trigger::Size)
    } else if by_schedule && is_worth_it && bytes >= when.min_size {
        Some(Trigger::Schedule)
    } else if by_wish && is_worth_it {
        Some(Trigger::Request)
    } else {
        None
    };
    let passed = [decision.as_ref().map(|decision| decision.last), wish.filter(|_| by_wish)];
    let passed = passed.into_iter().flatten().max().filter(|passed| *passed != last);
    let coming = [decision.and_then(|decision| decision.next), wish.filter(|_| !by_wish)];
    Due { trigger, next: coming.into_iter().flatten().min(), served: passed.filter(|_| trigger.is_none()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::tz::TimeZone;

    fn check(bytes: u64, minutes: i64, size: Option<u64>, min_size: u64, if_empty: bool) -> Due {
        let hourly = Schedule::new("@hourly", TimeZone::UTC).unwrap();
        let when = When { size, schedule: Some(&hourly), min_size, if_empty, asked: None };
        let last: Timestamp = "2026-11-21T10:10:00Z".parse().unwrap();
        due(&when, bytes, last, Timestamp::from_second(last.as_second() + minutes * 60).unwrap())
    }

    #[test]
    fn size_is_reached_and_not_only_passed() {
        let when = When { size: Some(100), schedule: None, min_size: 0, if_empty: false, asked: None };
        let now = Timestamp::UNIX_EPOCH;
        assert_eq!(due(&when, 99, now, now).trigger, None);
        assert_eq!(due(&when, 100, now, now).trigger, Some(Trigger::Size));
    }

    #[test]
    fn the_time_comes_once_and_says_when_it_comes_next() {
        assert_eq!(check(5, 49, None, 0, false).trigger, None);
        let at_eleven = check(5, 50, None, 0, false);
        assert_eq!(at_eleven.trigger, Some(Trigger::Schedule));
        assert_eq!(at_eleven.next, Some("2026-11-21T12:00:00Z".parse().unwrap()));
        assert_eq!(check(5, 600, None, 0, false).trigger, Some(Trigger::Schedule), "a missed time runs late");
    }

    #[test]
    fn a_small_or_empty_file_lets_its_time_pass() {
        let small = check(5, 50, None, 6, false);
        assert_eq!(small.trigger, None);
        assert!(
            small.served.is_some(),
            "the time is served: the file is not rotated as soon as it has grown"
        );
        assert_eq!(check(0, 50, None, 0, false).trigger, None);
        assert_eq!(check(0, 50, None, 0, true).trigger, Some(Trigger::Schedule));
    }

    #[test]
    fn size_does_not_wait_for_the_time() {
        assert_eq!(check(100, 1, Some(100), 0, false).trigger, Some(Trigger::Size));
    }

    #[test]
    fn a_wish_is_served_once_when_its_time_has_come() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let check = |bytes, last, now| {
            let when =
                When { size: None, schedule: None, min_size: 10, if_empty: false, asked: Some(at(100)) };
            due(&when, bytes, at(last), at(now))
        };
        let waits = Due { trigger: None, next: Some(at(100)), served: None };
        let nothing = Due { trigger: None, next: None, served: None };
        assert_eq!(check(5, 50, 99), waits);
        assert_eq!(check(5, 50, 100), Due { trigger: Some(Trigger::Request), ..nothing });
        assert_eq!(check(5, 50, 5000), Due { trigger: Some(Trigger::Request), ..nothing }, "after a restart");
        assert_eq!(check(5, 100, 101), nothing, "rotated since");
        assert_eq!(check(5, 200, 5000), nothing, "first seen later");
        assert_eq!(check(0, 50, 101), Due { served: Some(at(100)), ..nothing }, "nothing to rotate");
    }
}
