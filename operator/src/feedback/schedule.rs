//! When to ask which sidecar.
//!
//! In: what is known of each. Out: when to ask next. What always holds: who should have something new is asked first and
//! often, who cannot be reached less and less, and all together no more often than `MOST_PER_SECOND`.

use std::time::Duration;

/// How soon a sidecar is asked that should have something new.
pub const SOON: Duration = Duration::from_millis(300);

/// The most questions in a second when nothing is new.
pub const MOST_PER_SECOND: f64 = 50.0;

/// The longest pause between two questions about something new: kubelet brings it within about 90 s by itself.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How long until a sidecar is asked again. `in_vain` is how often in a row it could not be asked, or had not yet what
/// it should have; `pods` is how many there are.
pub fn pause(in_vain: u32, interval: Duration, pods: usize) -> Duration {
    let shared = Duration::from_secs_f64(pods as f64 / MOST_PER_SECOND);
    let slow = interval.max(shared);
    if in_vain == 0 {
        return slow;
    }
    let doubled = SOON.saturating_mul(1 << in_vain.min(10));
    // Not slower than everybody else, unless everybody is asked very often.
    doubled.min(slow.max(SOON)).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn news_are_waited_for_with_growing_pauses() {
        let pause = |in_vain| pause(in_vain, Duration::from_secs(30), 10).as_millis();
        assert_eq!([pause(1), pause(2), pause(3), pause(4)], [600, 1200, 2400, 4800]);
        assert_eq!(pause(20), 30_000);
        assert_eq!(pause(0), 30_000);
    }

    #[test]
    fn many_pods_are_asked_more_slowly() {
        assert_eq!(pause(0, Duration::from_secs(30), 10_000), Duration::from_secs(200));
        assert_eq!(pause(0, Duration::from_secs(2), 1), Duration::from_secs(2));
        assert_eq!(pause(9, Duration::from_secs(2), 1), Duration::from_secs(2));
    }
}
