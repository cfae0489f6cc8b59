//! Reads the two clocks that retention compares.
//!
//! In: nothing. Out: a [`Moment`]. Always: both clocks are read at about one moment, and a boot that cannot be
//! told from another is said to be unknown.

use jiff::Timestamp;
use rustix::time::ClockId;

use super::retention::{BootTime, Moment};

/// Which boot of the system this is; read it once. random(4).
pub fn boot_id() -> Option<u64> {
    parse_boot_id(&std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?)
}

/// The moment that is now, in the boot that [`boot_id`] told.
pub fn now(boot: Option<u64>) -> Moment {
    let since = rustix::time::clock_gettime(ClockId::Boottime);
    let since = std::time::Duration::try_from(since).ok();
    Moment { wall: Timestamp::now(), boot: boot.zip(since).map(|(boot, since)| BootTime { boot, since }) }
}

fn parse_boot_id(text: &str) -> Option<u64> {
    let digits: String = text.trim().chars().filter(|letter| *letter != '-').collect();
    u64::from_str_radix(digits.get(..16)?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rotate::retention::{WallClock, wall_clock_between};

    #[test]
    fn both_clocks_go_forward_together() {
        let boot = boot_id();
        assert!(boot.is_some());
        let earlier = now(boot);
        assert_eq!(wall_clock_between(earlier, now(boot)), WallClock::Steady);
        assert_eq!(now(None).boot, None);
    }

    #[test]
    fn a_boot_is_named_by_the_first_half_of_its_number() {
        assert_eq!(parse_boot_id("0123abcd-0000-4000-8000-000000000001\n"), Some(0x0123_abcd_0000_4000));
        assert_eq!(parse_boot_id("short"), None);
        assert_eq!(parse_boot_id("xyz3abcd-0000-4000-8000-000000000001"), None);
    }
}
