//! Which destinations a generation has cursors for, when the settings of its log change.
//!
//! In comes a generation and the names of its destinations now, out comes the same with a cursor for each. What always
//! holds: a destination that was there before goes on where it stood; one that is named no more is remembered for a
//! day, so that one that comes back does not begin anew, and holds nothing up meanwhile.

use std::collections::BTreeMap;

use super::ledger::{Cursor, Generation};

/// How long a cursor outlives its destination, in microseconds: a day.
const TOMBSTONE_MICROS: i64 = 86_400_000_000;

impl Generation {
    /// Makes `destinations` those that the generation goes to. A new one begins with what comes next, which is what
    /// `begin` says.
    pub fn enlist(&mut self, destinations: &[String], now: i64, begin: impl FnOnce(u64) -> Cursor) {
        let mut fresh = None;
        let mut begin = Some(begin);
        for name in destinations {
            let known = same_destination(&self.cursors, name);
            let cursor = match known {
                Some(cursor) => Cursor { left_at: None, ..cursor },
                None => *fresh.get_or_insert_with(|| {
                    begin.take().map_or_else(Cursor::default, |begin| begin(self.length))
                }),
            };
            self.cursors.insert(name.clone(), cursor);
        }
        let moved = |key: &String| {
            !destinations.contains(key) && destinations.iter().any(|name| bare(name) == bare(key))
        };
        self.cursors.retain(|key, _| !moved(key));
        for (name, cursor) in &mut self.cursors {
            if !destinations.contains(name) {
                cursor.left_at.get_or_insert(now);
            }
        }
    }

    /// Forgets destinations that were named for the last time more than a day ago.
    pub fn forget_left(&mut self, now: i64) {
        self.cursors.retain(|_, cursor| cursor.left_at.is_none_or(|at| at > now - TOMBSTONE_MICROS));
    }
}

/// Two policies that name the same destination differently make its key carry the policy's name, and lose it again
/// when they agree: the cursor goes with the name, and the one that went furthest tells the truth.
fn same_destination(cursors: &BTreeMap<String, Cursor>, name: &str) -> Option<Cursor> {
    let same = cursors.iter().filter(|(key, _)| bare(key) == bare(name));
    same.map(|(_, cursor)| *cursor).max_by_key(|cursor| cursor.confirmed)
}

fn bare(key: &str) -> &str {
    key.rsplit('/').next().unwrap_or(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::identity::FileId;
    use crate::stream::ledger::Stage;

    const HOUR: i64 = 3_600_000_000;

    fn generation(cursors: &[(&str, u64)]) -> Generation {
        let at = |confirmed| Cursor { confirmed, ..Cursor::default() };
        Generation {
            number: 1,
            id: FileId { dev: 1, ino: 1, born: None, handle: None },
            path: "a.log".to_owned(),
            stage: Stage::Live,
            length: 100,
            retired_at: None,
            retired_boot: None,
            ours: false,
            cursors: cursors.iter().map(|(name, confirmed)| ((*name).to_owned(), at(*confirmed))).collect(),
            marks: Default::default(),
        }
    }

    fn enlist(generation: &mut Generation, names: &[&str], now: i64) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        generation.enlist(&names, now, |length| Cursor { confirmed: length, ..Cursor::default() });
    }

    fn cursors(generation: &Generation) -> Vec<(&str, u64, bool)> {
        let all = generation.cursors.iter();
        all.map(|(name, cursor)| (name.as_str(), cursor.confirmed, cursor.left_at.is_some())).collect()
    }

    #[test]
    fn a_new_destination_begins_with_what_comes_next() {
        let mut generation = generation(&[("a", 40)]);
        enlist(&mut generation, &["a", "b"], 0);
        assert_eq!(cursors(&generation), [("a", 40, false), ("b", 100, false)]);
    }

    #[test]
    fn one_that_is_named_no_more_comes_back_within_a_day_to_where_it_stood() {
        let mut generation = generation(&[("a", 40), ("b", 60)]);
        enlist(&mut generation, &["a"], 0);
        assert_eq!(cursors(&generation), [("a", 40, false), ("b", 60, true)]);
        enlist(&mut generation, &["a"], 5 * HOUR);
        generation.forget_left(23 * HOUR);
        enlist(&mut generation, &["a", "b"], 23 * HOUR);
        assert_eq!(cursors(&generation), [("a", 40, false), ("b", 60, false)]);
        enlist(&mut generation, &["a"], 24 * HOUR);
        generation.forget_left(49 * HOUR);
        assert_eq!(cursors(&generation), [("a", 40, false)]);
    }

    #[test]
    fn a_destination_whose_key_changes_takes_its_cursor_along() {
        let mut generation = generation(&[("to", 40)]);
        enlist(&mut generation, &["web/to"], 0);
        assert_eq!(cursors(&generation), [("web/to", 40, false)]);
        generation.cursors.insert("to".to_owned(), Cursor { confirmed: 10, ..Cursor::default() });
        enlist(&mut generation, &["to"], 0);
        assert_eq!(cursors(&generation), [("to", 40, false)]);
    }
}
