//! When a line was first seen: marks of (position, wall-clock time) for one generation. Pure.
//!
//! A message without a time of its own gets the time of the mark before it. Marks are stored before the first
//! line under them is sent, so a replay, also one after a restart, sends the same bytes again.

use serde::{Deserialize, Serialize};

/// Marks closer together than this are one: it bounds how often the state is written, and a message's time
/// is at most this much too early.
pub const SPACING_MICROS: i64 = 100_000;

/// How many marks are kept per generation: 40 s at the closest spacing, longer than data may stay unconfirmed
/// on a healthy connection (30 s) plus the replay margin (5 s).
pub const CAPACITY: usize = 400;

/// From this position on, bytes were first seen at this time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark(pub u64, pub i64);

/// The marks of one generation, ascending in position.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Marks(Vec<Mark>);

impl Marks {
    /// Notes that the bytes from `position` on were first seen at `now` (microseconds since the epoch).
    /// Returns whether a mark was added. A clock that went backwards gets no earlier mark: time stays monotone
    /// within a generation only as far as the clock does, so the new time is taken as it is.
    pub fn observe(&mut self, position: u64, now: i64) -> bool {
        if let Some(Mark(at, time)) = self.0.last().copied() {
            let close = (now - time).abs() < SPACING_MICROS;
            if position <= at || close {
                return false;
            }
        }
        if self.0.len() >= CAPACITY {
            self.thin();
        }
        self.0.push(Mark(position, now));
        true
    }

    /// Drops every second mark of the older half. Only lines that wait for a receiver that has been away for
    /// long are that old, and those were not sent yet, so nothing that was sent changes its time.
    fn thin(&mut self) {
        let half = self.0.len() / 2;
        let mut index = 0;
        self.0.retain(|_| {
            index += 1;
            index > half || index % 2 == 1
        });
    }

    /// The time of the byte at `position`, and the position at which the next mark begins (`u64::MAX` after the
    /// last one). A position before the first mark takes the first mark's time. None without marks.
    pub fn at(&self, position: u64) -> Option<(i64, u64)> {
        let after = self.0.partition_point(|mark| mark.0 <= position);
        let mark = self.0.get(after.saturating_sub(1))?;
        let next = self.0.get(after.max(1)).map_or(u64::MAX, |mark| mark.0);
        Some((mark.1, next))
    }

    /// Forgets marks that neither bytes from `position` on nor anything seen since `since` need.
    pub fn forget_before(&mut self, position: u64, since: i64) {
        let keep_from = self.0.partition_point(|mark| mark.0 <= position && mark.1 < since).saturating_sub(1);
        self.0.drain(..keep_from);
    }

    /// Forgets all marks of bytes that are all sent for good, once they are older than `since`.
    pub fn forget_all_before(&mut self, since: i64) {
        if self.0.last().is_some_and(|mark| mark.1 < since) {
            self.0 = Vec::new();
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
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
