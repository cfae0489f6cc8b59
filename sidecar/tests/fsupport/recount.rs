//! The recount of what arrived.

use std::sync::{Arc, Mutex};

use capstan_peers::collector::{Collector, OnMessage, Store};
use capstan_peers::lines::{Comparison, Numbering, Tally};

use super::LONG;

/// A tally of messages.
pub fn tally_of<'a>(messages: impl IntoIterator<Item = &'a [u8]>) -> Tally {
    let mut tally = Tally::new(Numbering::Writer);
    messages.into_iter().for_each(|message| tally.add_line(message));
    tally
}

fn compare(collector: &Collector, written: &[(&str, u64)]) -> Comparison {
    let messages = collector.messages();
    tally_of(messages.iter().map(|message| &message.bytes[..])).compare(written.iter().copied())
}

/// How often number `number` of `writer` arrived.
pub fn count_of(collector: &Collector, writer: usize, number: u64) -> usize {
    let text = format!("w{writer:02} {number:09}").into_bytes();
    let messages = collector.messages();
    messages.iter().filter(|message| memchr::memmem::find(&message.bytes, &text).is_some()).count()
}

/// Waits until everything that was written has arrived at least once.
pub fn assert_complete(collector: &Collector, written: &[(&str, u64)]) -> Comparison {
    let at_least: u64 = written.iter().map(|(_, count)| count).sum();
    // Counting is cheap, comparing is not.
    let arrived = || collector.message_count() >= at_least && compare(collector, written).is_complete();
    let waited = capstan_peers::ports::wait_until(LONG, "all lines", arrived);
    let comparison = compare(collector, written);
    assert!(waited.is_ok(), "{comparison}");
    comparison
}

/// As [`assert_complete`], and nothing arrived twice or out of order so far.
pub fn assert_exact(collector: &Collector, written: &[(&str, u64)]) {
    let comparison = assert_complete(collector, written);
    assert!(comparison.is_exact() && comparison.out_of_order == 0, "{comparison}");
}

/// A tally that a collector fills, for more messages than should be kept.
#[derive(Clone)]
pub struct Tallied(Arc<Mutex<Tally>>);

impl Tallied {
    pub fn new() -> Tallied {
        Tallied(Arc::new(Mutex::new(Tally::new(Numbering::Writer))))
    }

    /// To be given to the collector.
    pub fn store(&self) -> Store {
        let tally = self.0.clone();
        let add: OnMessage = Arc::new(move |message: &[u8]| tally.lock().unwrap().add_line(message));
        Store::Call(add)
    }

    pub fn distinct(&self) -> u64 {
        self.0.lock().unwrap().distinct()
    }

    pub fn compare(&self, written: &[(&str, u64)]) -> Comparison {
        self.0.lock().unwrap().compare(written.iter().copied())
    }

    /// Waits until everything has arrived.
    pub fn wait_for(&self, written: &[(&str, u64)]) -> Comparison {
        let total: u64 = written.iter().map(|(_, count)| count).sum();
        let waited = capstan_peers::ports::wait_until(LONG, "all lines", || self.distinct() >= total);
        let comparison = self.compare(written);
        assert!(waited.is_ok() && comparison.is_complete(), "{comparison}");
        comparison
    }
}
