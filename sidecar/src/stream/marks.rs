//! When a line was first seen: marks of (position, wall-clock time) for one generation. Pure.
//!
//! A message without a time of its own gets the time of the mark before it. Marks are stored before the first
//! line under them is sent, so a replay, also one after a restart, sends the same bytes again.

use serde::{Deserialize, Serialize};

/// Marks closer together than this are one: it bounds how often the state is written, and a message's time
/// is at most this much too early.
pub const SPACING_MICROS: i64 = 100_000;

/// How many marks are kept per generation for bytes that were not sent yet: 40 s at the closest spacing. Beyond
/// that, older ones are thinned. Those of bytes that were sent are never changed; for each so many of them the
/// spacing doubles, so that a day without confirmation makes a few thousand.
pub const CAPACITY: usize = 400;

/// The widest spacing is this power of two of the closest.
const WIDEST: u32 = 16;

/// From this position on, bytes were first seen at this time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark(pub u64, pub i64);

/// The marks of one generation, ascending in position.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(from = "Vec<Mark>", into = "Vec<Mark>")]
pub struct Marks {
    marks: Vec<Mark>,
    /// Bytes before this position may have been sent with the time of their mark.
    given: u64,
}

impl From<Vec<Mark>> for Marks {
    /// Stored marks: what was sent under them before the restart is not known, so all of them count as given.
    fn from(marks: Vec<Mark>) -> Marks {
        let given = marks.last().map_or(0, |mark| mark.0 + 1);
        Marks { marks, given }
    }
}

impl From<Marks> for Vec<Mark> {
    fn from(marks: Marks) -> Vec<Mark> {
        marks.marks
    }
}

impl PartialEq for Marks {
    fn eq(&self, other: &Marks) -> bool {
        self.marks == other.marks
    }
}

impl Eq for Marks {}

impl Marks {
    /// Notes that the bytes from `position` on were first seen at `now` (microseconds since the epoch).
    /// Returns whether a mark was added. A clock that went backwards gets no earlier mark: time stays monotone
    /// within a generation only as far as the clock does, so the new time is taken as it is.
    pub fn observe(&mut self, position: u64, now: i64) -> bool {
        let given = self.given_marks();
        if let Some(Mark(at, time)) = self.marks.last().copied() {
            let doublings = u32::try_from(given / CAPACITY).unwrap_or(WIDEST).min(WIDEST);
            let close = (now - time).abs() < SPACING_MICROS << doublings;
            if position <= at || close {
                return false;
            }
        }
        if self.marks.len() - given >= CAPACITY {
            self.thin(given);
        }
        self.marks.push(Mark(position, now));
        true
    }

    /// Notes that bytes up to `position` may be sent with the times of their marks: from now on these do not change,
    /// so that a replay sends the same.
    pub fn give(&mut self, position: u64) {
        self.given = self.given.max(position);
    }

    /// How many marks have bytes that may have been sent.
    fn given_marks(&self) -> usize {
        self.marks.partition_point(|mark| mark.0 < self.given)
    }

    /// Drops every second mark of the older half of those that nothing was sent under.
    fn thin(&mut self, given: usize) {
        let half = (self.marks.len() - given) / 2;
        let mut index = 0;
        self.marks.retain(|_| {
            index += 1;
            index <= given || index > given + half || (index - given) % 2 == 1
        });
    }

    /// The time of the byte at `position`, and the position at which the next mark begins (`u64::MAX` after the
    /// last one). A position before the first mark takes the first mark's time. None without marks.
    pub fn at(&self, position: u64) -> Option<(i64, u64)> {
        let after = self.marks.partition_point(|mark| mark.0 <= position);
        let mark = self.marks.get(after.saturating_sub(1))?;
        let next = self.marks.get(after.max(1)).map_or(u64::MAX, |mark| mark.0);
        Some((mark.1, next))
    }

    /// Forgets marks that neither bytes from `position` on nor anything seen since `since` need.
    pub fn forget_before(&mut self, position: u64, since: i64) {
        let keep_from =
            self.marks.partition_point(|mark| mark.0 <= position && mark.1 < since).saturating_sub(1);
        self.marks.drain(..keep_from);
    }

    /// Forgets all marks of bytes that are all sent for good, once they are older than `since`.
    pub fn forget_all_before(&mut self, since: i64) {
        if self.marks.last().is_some_and(|mark| mark.1 < since) {
            self.marks = Vec::new();
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.marks.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.marks.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_has_the_time_of_the_mark_before_it() {
        let mut marks = Marks::default();
        assert_eq!(marks.at(0), None);
        marks.observe(0, 1_000_000);
        marks.observe(50, 2_000_000);
        assert_eq!(marks.at(0), Some((1_000_000, 50)));
        assert_eq!(marks.at(49), Some((1_000_000, 50)));
        assert_eq!(marks.at(50), Some((2_000_000, u64::MAX)));
    }

    #[test]
    fn marks_closer_than_the_spacing_are_one() {
        let mut marks = Marks::default();
        assert!(marks.observe(0, 0));
        assert!(!marks.observe(10, SPACING_MICROS - 1));
        assert!(marks.observe(20, SPACING_MICROS));
        assert!(!marks.observe(20, 9 * SPACING_MICROS), "no bytes, no mark");
    }

    #[test]
    fn their_number_is_bounded_and_the_newest_stay_exact() {
        let mut marks = Marks::default();
        for i in 0..10_000_u64 {
            marks.observe(i * 10, i as i64 * SPACING_MICROS);
        }
        assert!(marks.len() <= CAPACITY);
        for i in 9_900..10_000_u64 {
            assert_eq!(marks.at(i * 10 + 3).map(|m| m.0), Some(i as i64 * SPACING_MICROS));
        }
    }

    #[test]
    fn what_was_sent_keeps_its_time_however_long_it_waits_for_proof() {
        let mut marks = Marks::default();
        let time = |i: u64| i as i64 * SPACING_MICROS;
        let mut sent = Vec::new();
        // A day of writing, all of it sent at once and none of it confirmed.
        for i in 0..864_000_u64 {
            marks.observe(i * 10, time(i));
            if i % 1000 == 0 {
                marks.give(i * 10 + 10);
                sent.push((i * 10, marks.at(i * 10).unwrap().0));
            }
        }
        marks.give(8_640_000);
        assert!(sent.iter().all(|(position, time)| marks.at(*position).unwrap().0 == *time));
        assert!(marks.len() < 20 * CAPACITY, "{}", marks.len());
        // What a restart reads counts as sent.
        let stored = serde_json::to_string(&marks).unwrap();
        let mut read: Marks = serde_json::from_str(&stored).unwrap();
        for i in 864_000..900_000_u64 {
            read.observe(i * 10, time(i));
        }
        assert!(sent.iter().all(|(position, time)| read.at(*position).unwrap().0 == *time));
    }

    #[test]
    fn forgetting_keeps_the_mark_that_still_covers_the_position() {
        let mut marks = Marks::default();
        for i in 0..10_u64 {
            marks.observe(i * 10, i as i64 * 1_000_000);
        }
        marks.forget_before(55, i64::MAX);
        assert_eq!(marks.at(55), Some((5_000_000, 60)));
        assert_eq!(marks.len(), 5);
        marks.forget_before(u64::MAX, 8_000_000);
        assert_eq!(marks.at(85), Some((8_000_000, 90)), "recent marks stay for the replay margin");
    }
}
