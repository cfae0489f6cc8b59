//! Tells when an app has left its files: somebody had one open for writing, now nobody has, and it stays quiet. Then what
//! was sent is proved at once, for nobody may be there much longer to wait for it. Pure.
//!
//! In: what a lease said of a file that has gone quiet, and that it was written again. Out: whether somebody left. What
//! always holds: an app that opens its file for each line, and so is never seen to hold it, never leaves; where leases
//! do not work nobody does.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::sys::LeaseReply;

/// How long a file stays quiet after its writer closed it until that counts: an app that opens it for each bunch of lines
/// must not make us close connections all the time.
const QUIET: Duration = Duration::from_secs(1);

/// What is known of the writers of files; `K` names a file.
#[derive(Debug)]
pub struct Departures<K> {
    held: BTreeSet<K>,
    leaving: BTreeMap<K, Instant>,
}

impl<K> Default for Departures<K> {
    fn default() -> Self {
        Departures { held: BTreeSet::new(), leaving: BTreeMap::new() }
    }
}

impl<K: Ord + Clone> Departures<K> {
    /// A file has gone quiet, and this is what a lease says.
    pub fn quiet(&mut self, key: &K, lease: LeaseReply, now: Instant) {
        match lease {
            LeaseReply::Refused => {
                self.held.insert(key.clone());
            }
            LeaseReply::Granted if self.held.remove(key) => {
                self.leaving.insert(key.clone(), now);
            }
            LeaseReply::Granted | LeaseReply::Failed(_) => {}
        }
    }

    /// A file was written.
    pub fn written(&mut self, key: &K) {
        self.leaving.remove(key);
    }

    /// Keeps only what is known of these files.
    pub fn keep(&mut self, is_known: impl Fn(&K) -> bool) {
        self.held.retain(|key| is_known(key));
        self.leaving.retain(|key, _| is_known(key));
    }

    /// Whether somebody has left since the last call.
    pub fn take(&mut self, now: Instant) -> bool {
        let before = self.leaving.len();
        self.leaving.retain(|_, since| now < *since + QUIET);
        self.leaving.len() < before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `h` and `u`: quiet, and held or unheld; `w`: written; a digit: so many seconds later. Whether somebody left.
    fn check(script: &str) -> bool {
        let (mut departures, mut now, mut left) = (Departures::default(), Instant::now(), false);
        for step in script.chars() {
            match step {
                'h' => departures.quiet(&1, LeaseReply::Refused, now),
                'u' => departures.quiet(&1, LeaseReply::Granted, now),
                'w' => departures.written(&1),
                seconds => now += Duration::from_secs(seconds.to_digit(10).unwrap().into()),
            }
            left |= departures.take(now);
        }
        left
    }

    #[test]
    fn who_held_the_file_and_closed_it_for_good_has_left() {
        assert!(check("whu1"));
        assert!(!check("whu"), "not yet");
        assert!(!check("whu0w1u1"), "it is written again");
        assert!(check("whuwhu1"));
        assert!(!check("wh5h5"));
    }

    #[test]
    fn who_opens_the_file_for_each_line_never_leaves() {
        assert!(!check("wu5wu5wu5"));
    }
}
