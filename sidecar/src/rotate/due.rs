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
    let Some(schedule) = when.schedule else {
        return Due { trigger: by_size.then_some(Trigger::Size), next: None, served: None };
    };
    let decision = schedule.decide(last, now);
    let enough = bytes >= when.min_size && (bytes > 0 || when.if_empty);
    let trigger = match (by_size, decision.due && enough) {
        (true, _) => Some(Trigger::Size),
        (false, true) => Some(Trigger::Schedule),
        (false, false) => None,
    };
    let served = (trigger.is_none() && decision.last != last).then_some(decision.last);
    Due { trigger, next: decision.next, served }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::tz::TimeZone;

    fn check(bytes: u64, minutes: i64, size: Option<u64>, min_size: u64, if_empty: bool) -> Due {
        let hourly = Schedule::new("@hourly", TimeZone::UTC).unwrap();
        let when = When { size, schedule: Some(&hourly), min_size, if_empty };
        let last: Timestamp = "2026-11-21T10:10:00Z".parse().unwrap();
        due(&when, bytes, last, Timestamp::from_second(last.as_second() + minutes * 60).unwrap())
    }

    #[test]
    fn size_is_reached_and_not_only_passed() {
        let when = When { size: Some(100), schedule: None, min_size: 0, if_empty: false };
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
}
