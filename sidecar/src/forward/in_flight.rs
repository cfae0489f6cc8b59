//! What was sent and is not confirmed yet, and from where to go on after a break. Pure: time is passed in.
//!
//! For every generation `confirmed <= sent` holds, and both only mean unbroken prefixes: bytes are sent in order,
//! and a connection's bytes are confirmed all together, when it was closed for proof. So a generation's state is
//! two positions, whatever happened in between.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// Positions are noted this far apart in time, which makes a replay this much longer at most.
const GRAIN: Duration = Duration::from_millis(250);

/// One generation on one destination.
#[derive(Debug, Default)]
struct Span {
    confirmed: u64,
    sent: u64,
    /// From which position on bytes were sent at which time; ascending in both.
    history: VecDeque<(Instant, u64)>,
}

/// All generations on one destination. `K` names a generation.
#[derive(Debug)]
pub struct InFlight<K: Ord + Clone> {
    spans: BTreeMap<K, Span>,
    /// When the oldest byte that is not confirmed was sent.
    oldest: Option<Instant>,
    bytes: u64,
}

impl<K: Ord + Clone> Default for InFlight<K> {
    fn default() -> Self {
        InFlight { spans: BTreeMap::new(), oldest: None, bytes: 0 }
    }
}

impl<K: Ord + Clone> InFlight<K> {
    /// Starts to keep a generation, everything before `confirmed` being confirmed.
    pub fn begin(&mut self, key: K, confirmed: u64) {
        self.spans.insert(key, Span { confirmed, sent: confirmed, history: VecDeque::new() });
    }

    /// Stops keeping a generation.
    pub fn end(&mut self, key: &K) {
        self.spans.remove(key);
    }

    /// The position to send next.
    pub fn sent(&self, key: &K) -> u64 {
        self.spans.get(key).map_or(0, |span| span.sent)
    }

    /// The position before which all is confirmed.
    pub fn confirmed(&self, key: &K) -> u64 {
        self.spans.get(key).map_or(0, |span| span.confirmed)
    }

    /// Whether a generation may have to be sent again although it is confirmed.
    pub fn is_recent(&self, key: &K, now: Instant, margin: Duration) -> bool {
        let last = self.spans.get(key).and_then(|span| span.history.back());
        last.is_some_and(|(at, _)| *at + margin + GRAIN >= now)
    }

    /// Notes that a generation was sent up to `to`.
    pub fn send(&mut self, key: &K, to: u64, now: Instant) {
        let Some(span) = self.spans.get_mut(key) else { return };
        if span.history.back().is_none_or(|(at, _)| now.duration_since(*at) >= GRAIN) {
            span.history.push_back((now, span.sent));
        }
        self.bytes += to.saturating_sub(span.sent);
        span.sent = to;
        self.oldest.get_or_insert(now);
    }

    /// Bytes sent since the last confirmation or break, replayed ones among them.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// When the oldest of them was sent.
    pub fn oldest(&self) -> Option<Instant> {
        self.oldest
    }

    /// Everything sent is confirmed. Returns the generations that moved and how far they are now.
    pub fn confirm(&mut self, now: Instant, margin: Duration) -> Vec<(K, u64)> {
        self.oldest = None;
        self.bytes = 0;
        let mut moved = Vec::new();
        for (key, span) in &mut self.spans {
            if span.sent > span.confirmed {
                span.confirmed = span.sent;
                moved.push((key.clone(), span.confirmed));
            }
            // What is older than the margin is never sent again once confirmed; one entry before it covers it.
            let old = |at: Option<&(Instant, u64)>| at.is_some_and(|(at, _)| *at + margin < now);
            while old(span.history.front()) && old(span.history.get(1)) {
                span.history.pop_front();
            }
        }
        moved
    }

    /// The connection broke without proof: all that was sent since the last confirmation is sent again, and before
    /// it what was sent within `margin` of the moment up to which the receiver is known to have been well. That is
    /// when the oldest unconfirmed byte was sent, else now. Returns the positions that moved back, as
    /// (key, from, to).
    pub fn rewind(&mut self, now: Instant, margin: Duration) -> Vec<(K, u64, u64)> {
        let well = self.oldest.take().unwrap_or(now);
        let mut moved = Vec::new();
        self.bytes = 0;
        for (key, span) in &mut self.spans {
            let target = if margin.is_zero() { span.confirmed } else { replay_from(span, well, margin) };
            // What an earlier break called for and was not sent since is still called for.
            let target = target.min(span.sent);
            span.history.retain(|(_, position)| *position < target);
            if target < span.sent {
                moved.push((key.clone(), span.sent, target));
            }
            // Positions below `confirmed` are sent again though they stay confirmed.
            span.sent = target;
        }
        moved
    }
}

fn replay_from(span: &Span, well: Instant, margin: Duration) -> u64 {
    // The entry that began before the window may reach into it.
    let reaches = |(at, _): &&(Instant, u64)| *at + margin + GRAIN >= well;
    let first = span.history.iter().find(reaches).map(|(_, position)| *position);
    first.unwrap_or(span.confirmed).min(span.confirmed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MARGIN: Duration = Duration::from_secs(5);

    fn at(base: Instant, millis: u64) -> Instant {
        base + Duration::from_millis(millis)
    }

    fn flight() -> InFlight<&'static str> {
        let mut flight = InFlight::default();
        flight.begin("a", 0);
        flight
    }

    #[test]
    fn confirmation_moves_every_generation_to_what_was_sent() {
        let (mut flight, t) = (flight(), Instant::now());
        flight.begin("b", 7);
        flight.send(&"a", 100, t);
        assert_eq!((flight.bytes(), flight.oldest()), (100, Some(t)));
        assert_eq!(flight.confirm(t, MARGIN), vec![("a", 100)]);
        assert_eq!((flight.bytes(), flight.oldest(), flight.confirmed(&"b")), (0, None, 7));
    }

    #[test]
    fn without_margin_a_break_goes_back_to_what_is_confirmed() {
        let (mut flight, t) = (flight(), Instant::now());
        flight.send(&"a", 100, t);
        flight.confirm(t, Duration::ZERO);
        flight.send(&"a", 250, t);
        assert_eq!(flight.rewind(t, Duration::ZERO), vec![("a", 250, 100)]);
        assert_eq!((flight.sent(&"a"), flight.bytes()), (100, 0));
    }

    #[test]
    fn a_second_break_before_anything_was_sent_still_owes_the_margin() {
        let (mut flight, t) = (flight(), Instant::now());
        flight.send(&"a", 100, t);
        flight.confirm(t, MARGIN);
        assert_eq!(flight.rewind(at(t, 10), MARGIN), vec![("a", 100, 0)]);
        assert_eq!(flight.rewind(at(t, 20), MARGIN), vec![]);
        assert_eq!((flight.sent(&"a"), flight.confirmed(&"a")), (0, 100));
    }

    #[test]
    fn the_margin_reaches_back_behind_what_is_confirmed_but_no_further() {
        let (mut flight, t) = (flight(), Instant::now());
        for second in 0..20 {
            flight.send(&"a", (second + 1) * 100, at(t, second * 1000));
        }
        flight.confirm(at(t, 19_500), MARGIN);
        flight.send(&"a", 2100, at(t, 20_000));
        // Unconfirmed since 20 s, so from 15 s (less one grain) on: that is position 1500.
        assert_eq!(flight.rewind(at(t, 21_000), MARGIN), vec![("a", 2100, 1500)]);
        assert_eq!(flight.confirmed(&"a"), 2000, "what is confirmed stays confirmed");
    }

    #[test]
    fn a_receiver_that_goes_away_long_after_the_last_line_gets_nothing_twice() {
        let (mut flight, t) = (flight(), Instant::now());
        flight.send(&"a", 100, t);
        flight.confirm(at(t, 5000), MARGIN);
        assert_eq!(flight.rewind(at(t, 900_000), MARGIN), vec![]);
        assert_eq!(flight.sent(&"a"), 100);
    }

    #[test]
    fn a_receiver_that_dies_just_after_a_confirmation_gets_the_last_lines_again() {
        let (mut flight, t) = (flight(), Instant::now());
        flight.send(&"a", 100, t);
        flight.confirm(at(t, 100), MARGIN);
        assert_eq!(flight.rewind(at(t, 2000), MARGIN), vec![("a", 100, 0)]);
    }

    proptest! {
        #[test]
        fn nothing_unconfirmed_is_ever_skipped(steps in proptest::collection::vec((0_u8..4, 0_u64..3000, 0_u64..500), 1..200)) {
            let base = Instant::now();
            let (mut flight, mut clock, mut confirmed) = (flight(), 0, 0);
            for (what, wait, bytes) in steps {
                clock += wait;
                let now = at(base, clock);
                match what {
                    0 | 1 => { let to = flight.sent(&"a") + bytes; flight.send(&"a", to, now); }
                    2 => { confirmed = confirmed.max(flight.sent(&"a")); flight.confirm(now, MARGIN); }
                    _ => { flight.rewind(now, MARGIN); }
                }
                prop_assert!(flight.confirmed(&"a") <= confirmed);
                prop_assert!(what != 3 || flight.sent(&"a") <= flight.confirmed(&"a"), "after a break nothing above the confirmed is skipped");
            }
        }
    }
}
