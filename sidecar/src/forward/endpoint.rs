//! Which of a destination's endpoints to try next.
//!
//! In: what became of the tries, and the time. Out: the index of an endpoint, or that all of them failed.
//!
//! What always holds: they are tried in their order, each once per round; one that works is kept; after some time away
//! from the first, the next connection tries it again.

use std::time::{Duration, Instant};

/// How long a destination stays with a later endpoint before the first is tried again.
pub const RETURN_AFTER: Duration = Duration::from_secs(300);

/// What to do after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Try the endpoint with this index, at once.
    Endpoint(usize),
    /// All have failed: wait, then go on with [`Endpoints::current`].
    Wait,
}

/// The endpoints of one destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoints {
    count: usize,
    current: usize,
    /// Failures in this round.
    failed: usize,
    /// Since when a later endpoint than the first is used.
    away_since: Option<Instant>,
}

impl Endpoints {
    /// `count` endpoints, of which the first is tried first; none counts as one.
    pub fn new(count: usize) -> Self {
        Self { count: count.max(1), current: 0, failed: 0, away_since: None }
    }

    /// The endpoint to connect to.
    pub fn current(&self) -> usize {
        self.current
    }

    /// The endpoint for a connection that is opened `now` while, or after, another one works.
    pub fn for_next_connection(&mut self, now: Instant) -> usize {
        if self.away_since.is_some_and(|since| now.saturating_duration_since(since) >= RETURN_AFTER) {
            self.current = 0;
            self.failed = 0;
            // If it fails, the destination is away from now on, and not at once due to return again.
            self.away_since = None;
        }
        self.current
    }

    /// The current endpoint could not be reached, or its connection broke.
    pub fn failed(&mut self, now: Instant) -> Next {
        self.failed += 1;
        self.current = (self.current + 1) % self.count;
        self.away_since = (self.current != 0).then(|| self.away_since.unwrap_or(now));
        if self.failed >= self.count {
            self.failed = 0;
            self.current = 0;
            self.away_since = None;
            return Next::Wait;
        }
        Next::Endpoint(self.current)
    }

    /// The current endpoint's connection proved itself: a later failure begins a new round.
    pub fn proved(&mut self) {
        self.failed = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_tried_once_in_order_before_the_wait() {
        let now = Instant::now();
        let mut endpoints = Endpoints::new(3);
        assert_eq!(endpoints.current(), 0);
        assert_eq!(endpoints.failed(now), Next::Endpoint(1));
        assert_eq!(endpoints.failed(now), Next::Endpoint(2));
        assert_eq!(endpoints.failed(now), Next::Wait);
        assert_eq!(endpoints.current(), 0);
        assert_eq!(Endpoints::new(1).failed(now), Next::Wait);
        assert_eq!(Endpoints::new(0).failed(now), Next::Wait);
    }

    #[test]
    fn one_that_works_is_kept_and_its_failure_begins_a_new_round() {
        let now = Instant::now();
        let mut endpoints = Endpoints::new(3);
        endpoints.failed(now);
        endpoints.proved();
        assert_eq!(endpoints.for_next_connection(now), 1);
        assert_eq!(endpoints.failed(now), Next::Endpoint(2));
        assert_eq!(endpoints.failed(now), Next::Endpoint(0));
        assert_eq!(endpoints.failed(now), Next::Wait);
    }

    #[test]
    fn the_first_is_tried_again_after_a_while() {
        let now = Instant::now();
        let mut endpoints = Endpoints::new(2);
        endpoints.failed(now);
        endpoints.proved();
        assert_eq!(endpoints.for_next_connection(now + RETURN_AFTER / 2), 1);
        let later = now + RETURN_AFTER;
        assert_eq!(endpoints.for_next_connection(later), 0);
        assert_eq!(endpoints.failed(later), Next::Endpoint(1));
        assert_eq!(endpoints.for_next_connection(later + RETURN_AFTER / 2), 1, "it had just been tried");
    }
}
