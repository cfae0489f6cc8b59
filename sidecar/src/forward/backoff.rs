//! How long to wait before the next try to connect.
//!
//! In: that a try failed, or how a connection ended, and a random number. Out: a delay.
//!
//! What always holds: a delay lies between zero and a ceiling that doubles with each failure, up to 30 seconds. The whole
//! range is drawn from ("full jitter"), so that a thousand senders do not return to a restarted receiver at once.

use std::time::Duration;

/// The ceiling of the first delay.
pub const FIRST_CEILING: Duration = Duration::from_millis(250);
/// The ceiling of every delay.
pub const LAST_CEILING: Duration = Duration::from_secs(30);

/// The failures since a connection last proved itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// Counts one more failure and says how long to wait; `random` is uniform over all of `u64`.
    pub fn next_delay(&mut self, random: u64) -> Duration {
        let ceiling = FIRST_CEILING.saturating_mul(2_u32.saturating_pow(self.failures)).min(LAST_CEILING);
        self.failures = self.failures.saturating_add(1);
        let nanos = (ceiling.as_nanos() * u128::from(random)) >> u64::BITS;
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// Looks at a connection that has ended, and starts over if it proved itself.
    ///
    /// It did if the receiver confirmed what it was sent, or if it lasted longer than the longest delay. Merely having
    /// been opened proves nothing: a receiver that accepts and closes at once would else be called without pause.
    pub fn connection_ended(&mut self, confirmed: bool, lasted: Duration) {
        if confirmed || lasted > LAST_CEILING {
            self.failures = 0;
        }
    }

    /// The failures since a connection last proved itself.
    pub fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_ceiling_doubles_up_to_thirty_seconds_and_stays_there() {
        let mut backoff = Backoff::default();
        let ceilings: Vec<_> = (0..100)
            .map(|_| backoff.next_delay(u64::MAX).as_secs_f64().mul_add(1000.0, 0.01) as u64)
            .collect();
        assert_eq!(ceilings[..8], [250, 500, 1000, 2000, 4000, 8000, 16000, 30000]);
        assert!(ceilings[8..].iter().all(|&ceiling| ceiling == 30000));
    }

    #[test]
    fn only_a_connection_that_proved_itself_starts_it_over() {
        let mut backoff = Backoff::default();
        backoff.next_delay(0);
        backoff.next_delay(0);
        backoff.connection_ended(false, Duration::from_secs(1));
        assert_eq!(backoff.failures(), 2, "opened, then closed without a confirmation");
        backoff.connection_ended(true, Duration::from_secs(1));
        assert_eq!(backoff.failures(), 0);
        backoff.next_delay(0);
        backoff.connection_ended(false, Duration::from_secs(31));
        assert_eq!(backoff.failures(), 0);
    }

    proptest! {
        #[test]
        fn the_delay_follows_the_random_number(random: u64, failures in 0u32..200) {
            let mut backoff = Backoff { failures };
            let longest = Backoff { failures }.next_delay(u64::MAX);
            let delay = backoff.next_delay(random);
            prop_assert!(delay <= longest && longest <= LAST_CEILING);
            let share = random as f64 / u64::MAX as f64;
            prop_assert!((delay.as_secs_f64() - longest.as_secs_f64() * share).abs() < 1e-5);
        }
    }
}
