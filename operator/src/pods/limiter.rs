//! How often something may be done: a bucket of tokens that fills at a steady rate.

use std::time::{Duration, Instant};

/// A bucket that holds the tokens of one second.
#[derive(Debug)]
pub struct Limiter {
    per_second: f64,
    tokens: f64,
    at: Instant,
}

impl Limiter {
    /// A full bucket.
    pub fn new(per_second: f64, now: Instant) -> Self {
        Self { per_second, tokens: per_second.max(1.0), at: now }
    }

    /// Takes a token; returns how long to wait until it is there.
    pub fn take(&mut self, now: Instant) -> Duration {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.tokens = (self.tokens + passed * self.per_second).min(self.per_second.max(1.0)) - 1.0;
        self.at = now;
        Duration::from_secs_f64((-self.tokens / self.per_second).max(0.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_second_is_free_and_the_rest_is_spread() {
        let start = Instant::now();
        let mut limiter = Limiter::new(50.0, start);
        let waits: Vec<Duration> = (0..60).map(|_| limiter.take(start)).collect();
        assert!(waits[..50].iter().all(Duration::is_zero));
        assert_eq!(waits[50], Duration::from_millis(20));
        assert_eq!(waits[59], Duration::from_millis(200));
        assert_eq!(limiter.take(start + Duration::from_secs(10)), Duration::ZERO);
    }

    #[test]
    fn a_rate_below_one_still_goes_on() {
        let start = Instant::now();
        let mut limiter = Limiter::new(0.5, start);
        assert_eq!(limiter.take(start), Duration::ZERO);
        assert_eq!(limiter.take(start), Duration::from_secs(2));
    }
}
