//! When to close a connection for proof, and when to open the next one. Pure.
//!
//! Closing is the only way to learn that the receiver has read what it was sent, so connections are rolled: not
//! too often, because each costs a handshake, and not too seldom, because what is not confirmed cannot be deleted
//! and is sent again after a break.

use std::time::{Duration, Instant};

/// When connections are rolled.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// At so many bytes sent and not confirmed.
    pub bytes: u64,
    /// So long after the first of them was sent.
    pub age: Duration,
    /// So long after the last of them was sent, when nothing more came.
    pub idle: Duration,
}

/// What is known when it is to be decided.
#[derive(Clone, Copy, Debug)]
pub struct Situation {
    /// Bytes sent and not confirmed.
    pub bytes: u64,
    /// When the oldest of them was sent.
    pub oldest: Option<Instant>,
    /// When the last byte was sent.
    pub last_sent: Option<Instant>,
    /// Whether everything that can be read was sent.
    pub caught_up: bool,
    /// Whether somebody waits for the proof: a sealed generation was sent to its end, or we are stopping.
    pub awaited: bool,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Roll {
    /// Go on; look again at this time, if nothing happens before.
    Keep(Option<Instant>),
    /// Open the next connection, go on meanwhile, and close this one when the next is there.
    OpenAhead,
    /// Close now; whether the next connection is there no longer matters.
    Close,
}

/// Decides. Twice the limits are reached only when no next connection can be had: then this one is closed
/// without, because proof is worth more than a gap.
pub fn decide(situation: &Situation, limits: &Limits, now: Instant) -> Roll {
    let Some(oldest) = situation.oldest else { return Roll::Keep(None) };
    if situation.bytes >= 2 * limits.bytes || now >= oldest + 2 * limits.age {
        return Roll::Close;
    }
    if situation.bytes >= limits.bytes || now >= oldest + limits.age {
        return Roll::OpenAhead;
    }
    if situation.caught_up {
        let idle_at = situation.last_sent.unwrap_or(oldest) + limits.idle;
        if situation.awaited || now >= idle_at {
            return Roll::OpenAhead;
        }
        return Roll::Keep(Some(idle_at.min(oldest + limits.age)));
    }
    Roll::Keep(Some(oldest + limits.age))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { bytes: 1000, age: Duration::from_secs(30), idle: Duration::from_secs(5) };

    fn check(bytes: u64, age: u64, since_last: u64, caught_up: bool, awaited: bool) -> Roll {
        let start = Instant::now();
        let now = start + Duration::from_secs(1000);
        let situation = Situation {
            bytes,
            oldest: (bytes > 0).then(|| now - Duration::from_secs(age)),
            last_sent: Some(now - Duration::from_secs(since_last)),
            caught_up,
            awaited,
        };
        decide(&situation, &LIMITS, now)
    }

    #[test]
    fn nothing_unconfirmed_needs_no_proof() {
        assert_eq!(check(0, 0, 100, true, true), Roll::Keep(None));
    }

    #[test]
    fn bytes_age_idleness_and_somebody_waiting_each_roll() {
        assert!(matches!(check(999, 29, 0, false, false), Roll::Keep(Some(_))));
        assert_eq!(check(1000, 0, 0, false, false), Roll::OpenAhead);
        assert_eq!(check(1, 30, 0, false, false), Roll::OpenAhead);
        assert_eq!(check(1, 6, 5, true, false), Roll::OpenAhead);
        assert!(matches!(check(1, 6, 4, true, false), Roll::Keep(Some(_))));
        assert_eq!(check(1, 0, 0, true, true), Roll::OpenAhead);
        assert!(matches!(check(1, 0, 0, false, true), Roll::Keep(Some(_))), "what is there is sent first");
    }

    #[test]
    fn without_a_next_connection_the_proof_is_not_put_off_forever() {
        assert_eq!(check(2000, 0, 0, false, false), Roll::Close);
        assert_eq!(check(1, 60, 0, true, false), Roll::Close);
    }
}
