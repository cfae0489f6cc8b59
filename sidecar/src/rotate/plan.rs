//! What to do next about an old file that may still be written. Pure.

use std::time::Duration;

use super::reopen::{Verdict, signal_due};
use crate::stream::ledger::SealedBy;

/// What is known about one old file.
#[derive(Clone, Copy, Debug)]
pub struct Waiting {
    /// What the probes say.
    pub verdict: Verdict,
    /// Whether somebody is to be signalled at all.
    pub signals: bool,
    /// Signals sent in this rotation so far.
    pub sent: u32,
    /// Time since the first of them, or since the exchange.
    pub elapsed: Duration,
    /// How long the writer has to reopen.
    pub timeout: Duration,
    /// Whether it was said already that it did not.
    pub gave_up: bool,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nobody writes it any more.
    Seal(SealedBy),
    /// Signal again.
    Signal,
    /// Say that nobody reopened, and use the fallback.
    GiveUp,
    /// Look again after this long.
    Wait(Duration),
}

/// Decides.
pub fn next(waiting: &Waiting) -> Step {
    match waiting.verdict {
        Verdict::Unheld => return Step::Seal(SealedBy::Proof),
        Verdict::PresumedUnheld { .. } => return Step::Seal(SealedBy::Quiet),
        Verdict::Held { .. } | Verdict::Unknown { .. } => {}
    }
    if waiting.gave_up {
        return Step::Wait(Duration::from_secs(5));
    }
    if waiting.elapsed >= waiting.timeout {
        return Step::GiveUp;
    }
    // None was sent yet if the sidecar was killed between the exchange and the signal.
    let due = waiting.sent == 0 || signal_due(waiting.sent, waiting.elapsed, waiting.timeout);
    if waiting.signals && due {
        return Step::Signal;
    }
    Step::Wait(pause(waiting.elapsed).min(waiting.timeout - waiting.elapsed))
}

/// Most apps reopen within milliseconds; those that don't are looked at less and less often.
fn pause(elapsed: Duration) -> Duration {
    (elapsed / 4).clamp(Duration::from_millis(5), Duration::from_millis(500))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rotate::reopen::Blind;

    const HELD: Verdict = Verdict::Held { overdue: false, growing: true };

    fn waiting(verdict: Verdict, sent: u32, elapsed: u64, gave_up: bool) -> Waiting {
        let timeout = Duration::from_secs(30);
        Waiting { verdict, signals: true, sent, elapsed: Duration::from_secs(elapsed), timeout, gave_up }
    }

    #[test]
    fn proof_seals_at_any_time() {
        for (elapsed, gave_up) in [(0, false), (29, false), (3000, true)] {
            let step = next(&waiting(Verdict::Unheld, 1, elapsed, gave_up));
            assert_eq!(step, Step::Seal(SealedBy::Proof));
        }
        let presumed = Verdict::PresumedUnheld { why: Blind::NoLeases };
        assert_eq!(next(&waiting(presumed, 1, 29, false)), Step::Seal(SealedBy::Quiet));
    }

    #[test]
    fn a_held_file_is_waited_for_signalled_again_and_given_up_once() {
        assert!(matches!(next(&waiting(HELD, 1, 0, false)), Step::Wait(_)));
        assert_eq!(next(&waiting(HELD, 1, 1, false)), Step::Signal);
        assert!(matches!(next(&waiting(HELD, 2, 1, false)), Step::Wait(_)));
        assert_eq!(next(&waiting(HELD, 2, 3, false)), Step::Signal);
        assert_eq!(next(&waiting(HELD, 5, 30, false)), Step::GiveUp);
        assert_eq!(next(&waiting(HELD, 5, 60, true)), Step::Wait(Duration::from_secs(5)));
    }

    #[test]
    fn an_app_that_was_never_told_is_told_at_once() {
        assert_eq!(next(&waiting(HELD, 0, 0, false)), Step::Signal);
    }

    #[test]
    fn nobody_is_signalled_where_nobody_is_named() {
        let mut unnamed = waiting(HELD, 0, 5, false);
        unnamed.signals = false;
        assert!(matches!(next(&unnamed), Step::Wait(_)));
    }

    #[test]
    fn what_cannot_be_known_is_waited_for_and_said() {
        let unknown = Verdict::Unknown { why: Blind::NoLeases, overdue: true };
        assert_eq!(next(&waiting(unknown, 1, 30, false)), Step::GiveUp);
    }
}
