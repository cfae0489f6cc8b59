//! Conditions as the API conventions want them.
//!
//! In: what is so now, and what was said before. Out: conditions, and which of them have changed. What always holds: the
//! time of a transition changes only with the status, and a condition that says the same is the same.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// Whether something is so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truth {
    /// It is.
    True,
    /// It is not.
    False,
    /// It was not observed.
    Unknown,
}

impl Truth {
    /// As the API spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

/// What is to be said of one aspect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The aspect.
    pub kind: &'static str,
    /// Whether it is so.
    pub truth: Truth,
    /// One word.
    pub reason: &'static str,
    /// A sentence.
    pub message: String,
}

impl Finding {
    /// Something is so.
    pub fn yes(kind: &'static str, reason: &'static str, message: impl Into<String>) -> Self {
        Self { kind, truth: Truth::True, reason, message: message.into() }
    }

    /// Something is not so.
    pub fn no(kind: &'static str, reason: &'static str, message: impl Into<String>) -> Self {
        Self { kind, truth: Truth::False, reason, message: message.into() }
    }

    /// Something was not observed.
    pub fn unknown(kind: &'static str, reason: &'static str, message: impl Into<String>) -> Self {
        Self { kind, truth: Truth::Unknown, reason, message: message.into() }
    }
}

/// The longest message, in characters: the API takes 32,768 bytes, people read less.
const LONGEST_MESSAGE: usize = 4096;

/// Writes findings as conditions.
pub fn conditions(
    findings: &[Finding],
    before: &[Condition],
    generation: Option<i64>,
    now: Timestamp,
) -> Vec<Condition> {
    let condition = |finding: &Finding| {
        let known = before.iter().find(|condition| condition.type_ == finding.kind);
        let same = known.filter(|known| known.status == finding.truth.as_str());
        Condition {
            type_: finding.kind.to_owned(),
            status: finding.truth.as_str().to_owned(),
            reason: finding.reason.to_owned(),
            message: finding.message.chars().take(LONGEST_MESSAGE).collect(),
            observed_generation: generation,
            last_transition_time: same
                .map_or_else(|| Time(whole_seconds(now)), |same| same.last_transition_time.clone()),
        }
    };
    findings.iter().map(condition).collect()
}

/// The API keeps whole seconds.
fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

/// How long a new leader may take to ask the sidecars before it says that it does not know.
pub const ASKING: Duration = Duration::from_secs(15);

/// Whether it is too early to write conditions: whoever led before has written them of this generation, and somebody who
/// may still say that nothing has changed was not asked yet.
pub fn are_early(leading: Duration, unasked: bool, written: Option<i64>, generation: Option<i64>) -> bool {
    unasked && leading < ASKING && written.is_some() && written == generation
}

/// Reasons that follow from those of another condition.
const FOLLOWING: [&str; 2] = ["NothingDelivered", "LastGoodKept"];

/// The conditions that should become Events: what has become wrong, or right again. Other words for the same are told
/// only of another generation: they hold counts and examples, which change all the time.
pub fn news<'a>(before: &[Condition], after: &'a [Condition]) -> Vec<&'a Condition> {
    let is_news = |condition: &&Condition| {
        let known = before.iter().find(|known| known.type_ == condition.type_);
        match (known, condition.status.as_str()) {
            // The summary repeats the others, and what is kept follows from what was refused.
            _ if condition.type_ == "Ready" || FOLLOWING.contains(&condition.reason.as_str()) => false,
            (Some(known), "False") => {
                let edited = known.observed_generation != condition.observed_generation;
                (&known.status, &known.reason) != (&condition.status, &condition.reason)
                    || (edited && known.message != condition.message)
            }
            (None, "False") => true,
            (Some(known), "True") => known.status == "False",
            _ => false,
        }
    };
    after.iter().filter(is_news).collect()
}

/// Whether anything but words and numbers is new.
pub fn differ(before: &[Condition], after: &[Condition]) -> bool {
    let essence = |condition: &Condition| {
        let Condition { type_, status, reason, observed_generation, .. } = condition.clone();
        (type_, status, reason, observed_generation)
    };
    !before.iter().map(essence).eq(after.iter().map(essence))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    #[test]
    fn the_time_of_a_transition_is_that_of_the_status() {
        let first = conditions(&[Finding::no("Accepted", "Invalid", "a")], &[], Some(1), at(10));
        let same = conditions(&[Finding::no("Accepted", "NotSupported", "b")], &first, Some(2), at(20));
        let other = conditions(&[Finding::yes("Accepted", "Accepted", "")], &same, Some(3), at(30));
        let times = [&first, &same, &other].map(|it| it[0].last_transition_time.0);
        assert_eq!(times, [at(10), at(10), at(30)]);
        assert_eq!(same[0].observed_generation, Some(2));
    }

    #[test]
    fn a_new_leader_asks_before_it_says_that_it_does_not_know() {
        let (soon, late) = (Duration::from_secs(14), ASKING);
        assert!(are_early(soon, true, Some(2), Some(2)));
        assert!(!are_early(late, true, Some(2), Some(2)));
        assert!(!are_early(soon, false, Some(2), Some(2)), "everybody was asked");
        assert!(!are_early(soon, true, Some(1), Some(2)), "who has edited it waits for an answer");
        assert!(!are_early(soon, true, None, None));
    }

    #[test]
    fn an_event_tells_what_became_wrong_or_right_again() {
        let made = |generation, findings: &[Finding]| conditions(findings, &[], Some(generation), at(0));
        let between = |before: Vec<Condition>, after: Vec<Condition>| {
            news(&before, &after).into_iter().map(|it| it.reason.clone()).collect::<Vec<_>>()
        };
        let news = |before: &[Finding], after: &[Finding]| between(made(1, before), made(1, after));
        let edited = |before: &[Finding], after: &[Finding]| between(made(1, before), made(2, after));
        let wrong = Finding::no("Accepted", "Invalid", "a");
        let reworded = Finding::no("Accepted", "Invalid", "b");
        let right = Finding::yes("Accepted", "Accepted", "");
        let unknown = Finding::unknown("Accepted", "NotObserved", "");
        let none: [String; 0] = [];
        assert_eq!(news(&[], std::slice::from_ref(&wrong)), ["Invalid"]);
        assert_eq!(news(std::slice::from_ref(&wrong), std::slice::from_ref(&wrong)), none);
        assert_eq!(news(std::slice::from_ref(&wrong), std::slice::from_ref(&reworded)), none, "a count");
        assert_eq!(edited(std::slice::from_ref(&wrong), std::slice::from_ref(&reworded)), ["Invalid"]);
        assert_eq!(edited(std::slice::from_ref(&wrong), std::slice::from_ref(&wrong)), none);
        assert_eq!(
            news(std::slice::from_ref(&wrong), &[Finding::no("Accepted", "NotSupported", "a")]),
            ["NotSupported"]
        );
        assert_eq!(news(std::slice::from_ref(&wrong), std::slice::from_ref(&right)), ["Accepted"]);
        assert_eq!(news(&[], std::slice::from_ref(&right)), none);
        assert_eq!(news(std::slice::from_ref(&wrong), std::slice::from_ref(&unknown)), none);
        assert_eq!(news(&[unknown], &[right]), none);
        assert_eq!(news(&[], &[Finding::no("Ready", "Invalid", "a")]), none);
        assert_eq!(news(&[], &[Finding::no("ConfigDelivered", "LastGoodKept", "a")]), none);
    }

    #[test]
    fn another_count_is_no_difference_and_another_generation_is() {
        let made = |message: &str, generation| {
            conditions(&[Finding::no("Connected", "Unreachable", message)], &[], Some(generation), at(0))
        };
        assert!(!differ(&made("1 of 2", 1), &made("2 of 2", 1)));
        assert!(differ(&made("1 of 2", 1), &made("1 of 2", 2)));
        assert!(differ(&[], &made("1 of 2", 1)));
    }
}
