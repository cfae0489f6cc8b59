//! Has the writer reopened its log, and if not, what next?
//!
//! In: what the probes answered, and sizes and times of the old and the new file. Out: a [`Verdict`], and when to
//! signal again. Always: `Unheld` means that the kernel said so; a file that merely looks quiet is at best
//! `PresumedUnheld`.

use std::time::Duration;

use rustix::io::Errno;
use thiserror::Error;

/// Longest time between two signals of one rotation.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// What a probe saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Somebody has the file open for writing.
    Held,
    /// Nobody had, at the moment of the probe.
    Unheld,
    /// The probe cannot tell.
    Unknown(Blind),
}

/// Why a probe cannot tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Blind {
    /// The scratch file was not seen as held, or never as unheld.
    #[error("this volume does not tell writers by leases")]
    NoLeases,
    /// `EACCES`: the file belongs to another user.
    #[error("the file belongs to another user, whose leases are not ours to ask for")]
    NotOurs,
    /// The descriptor can write, so it would be the writer that is found.
    #[error("the probing descriptor can write itself")]
    OwnWriter,
    /// Another error of the kernel.
    #[error("the kernel refused a lease: {0}")]
    Refused(Errno),
    /// Somebody may mount the volume whose processes are not ours to see.
    #[error("the volume is shared with processes that are not visible here")]
    SharedVolume,
    /// Some processes of our own namespace could not be looked into.
    #[error("{0} processes could not be looked into")]
    Unreadable(usize),
    /// The list of processes itself was not complete.
    #[error("the list of processes is not complete")]
    Incomplete,
    /// `/proc` could not be read.
    #[error("/proc could not be read")]
    NoProc,
}

/// What was seen of one rotated file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Observation {
    /// Answer of the lease probe.
    pub lease: Answer,
    /// Answer of the scan of `/proc`; `None` if it was not made, because the lease had answered.
    pub scan: Option<Answer>,
    /// Size of the old file at the moment of the swap, in bytes.
    pub old_bytes_at_swap: u64,
    /// Its size now.
    pub old_bytes: u64,
    /// Since when its size has not changed.
    pub old_quiet_for: Duration,
    /// Size of the new file, in bytes.
    pub new_bytes: u64,
    /// Time since the first signal, or since the swap if nobody is signalled.
    pub elapsed: Duration,
}

/// What the policy allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// How long the writer has to reopen.
    pub timeout: Duration,
    /// How long the old file must not change before it is presumed to be left, where no probe can tell.
    pub quiet: Duration,
}

/// What is known about the writers of an old file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nobody can write to it any more. It may be sealed.
    Unheld,
    /// Somebody still can.
    Held {
        /// The time to reopen has passed.
        overdue: bool,
        /// It has grown since the swap, so the writer does write to it.
        growing: bool,
    },
    /// No probe can tell; the old file is quiet and the new one is written to. May be sealed, said as what it is.
    PresumedUnheld {
        /// Why the best probe could not tell.
        why: Blind,
    },
    /// No probe can tell, and nothing has happened that would show it.
    Unknown {
        /// Why the best probe could not tell.
        why: Blind,
        /// The time to reopen has passed.
        overdue: bool,
    },
}

impl Verdict {
    /// Whether the file may be sealed: read to its end, compressed, counted, deleted.
    pub fn may_seal(self) -> bool {
        matches!(self, Verdict::Unheld | Verdict::PresumedUnheld { .. })
    }

    /// Whether somebody was seen who can still write.
    pub fn is_held(self) -> bool {
        matches!(self, Verdict::Held { .. })
    }

    /// Whether the time to reopen has passed without a sign of it.
    pub fn is_overdue(self) -> bool {
        matches!(self, Verdict::Held { overdue: true, .. } | Verdict::Unknown { overdue: true, .. })
    }
}

/// Judges what was seen.
pub fn judge(seen: &Observation, patience: Patience) -> Verdict {
    let overdue = seen.elapsed >= patience.timeout;
    let why = match (seen.lease, seen.scan) {
        // The lease sees all that the scan sees, and more. So its answer stands whatever the scan says.
        (Answer::Unheld, _) | (Answer::Unknown(_), Some(Answer::Unheld)) => return Verdict::Unheld,
        (Answer::Held, _) | (Answer::Unknown(_), Some(Answer::Held)) => {
            return Verdict::Held { overdue, growing: seen.old_bytes > seen.old_bytes_at_swap };
        }
        (Answer::Unknown(why), _) => why,
    };
    if seen.new_bytes > 0 && seen.old_quiet_for >= patience.quiet {
        Verdict::PresumedUnheld { why }
    } else {
        Verdict::Unknown { why, overdue }
    }
}

/// When to send the next signal, counted from the first: after 1 s, then 2 s, 4 s, … later. `None` once that
/// would be after the timeout, or while none was sent.
///
/// `sent` counts the signals of this rotation so far.
pub fn next_signal(sent: u32, timeout: Duration) -> Option<Duration> {
    let mut at = Duration::ZERO;
    let mut pause = Duration::from_secs(1);
    for _ in 0..sent.checked_sub(1)? {
        at = at.checked_add(pause)?;
        if at >= timeout {
            return None;
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
    at = at.checked_add(pause)?;
    (at < timeout).then_some(at)
}

/// Whether the next signal is due.
pub fn signal_due(sent: u32, elapsed: Duration, timeout: Duration) -> bool {
    next_signal(sent, timeout).is_some_and(|at| elapsed >= at)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience { timeout: Duration::from_secs(30), quiet: Duration::from_secs(10) };
    const BLIND: Answer = Answer::Unknown(Blind::NoLeases);

    fn seen(lease: Answer, scan: Option<Answer>) -> Observation {
        Observation {
            lease,
            scan,
            old_bytes_at_swap: 100,
            old_bytes: 100,
            old_quiet_for: Duration::from_secs(5),
            new_bytes: 0,
            elapsed: Duration::from_secs(5),
        }
    }

    #[test]
    fn the_lease_decides_whatever_the_scan_says() {
        for scan in
            [None, Some(Answer::Held), Some(Answer::Unheld), Some(Answer::Unknown(Blind::SharedVolume))]
        {
            assert_eq!(judge(&seen(Answer::Unheld, scan), PATIENCE), Verdict::Unheld);
            let held = Verdict::Held { overdue: false, growing: false };
            assert_eq!(judge(&seen(Answer::Held, scan), PATIENCE), held);
        }
    }

    #[test]
    fn the_scan_decides_where_the_lease_is_blind() {
        assert_eq!(judge(&seen(BLIND, Some(Answer::Unheld)), PATIENCE), Verdict::Unheld);
        let held = Verdict::Held { overdue: false, growing: false };
        assert_eq!(judge(&seen(BLIND, Some(Answer::Held)), PATIENCE), held);
    }

    #[test]
    fn a_held_file_is_never_presumed_left_however_quiet_it_is() {
        let quiet = Observation {
            old_quiet_for: Duration::from_secs(9_999),
            new_bytes: 5,
            ..seen(Answer::Held, None)
        };
        assert!(!judge(&quiet, PATIENCE).may_seal());
    }

    #[test]
    fn a_quiet_old_file_and_a_used_new_one_are_presumed_and_said_so() {
        let quiet = Observation { old_quiet_for: PATIENCE.quiet, new_bytes: 1, ..seen(BLIND, None) };
        assert_eq!(judge(&quiet, PATIENCE), Verdict::PresumedUnheld { why: Blind::NoLeases });
        let unused = Observation { new_bytes: 0, ..quiet };
        let unknown = Verdict::Unknown { why: Blind::NoLeases, overdue: false };
        assert_eq!(judge(&unused, PATIENCE), unknown);
        let busy = Observation { old_quiet_for: Duration::from_secs(9), ..quiet };
        assert_eq!(judge(&busy, PATIENCE), unknown);
    }

    #[test]
    fn what_takes_too_long_is_overdue_and_says_whether_it_still_grows() {
        let late = Observation { elapsed: PATIENCE.timeout, old_bytes: 101, ..seen(Answer::Held, None) };
        assert_eq!(judge(&late, PATIENCE), Verdict::Held { overdue: true, growing: true });
        assert!(judge(&late, PATIENCE).is_overdue());
        let unknown = Observation { lease: BLIND, ..late };
        assert!(judge(&unknown, PATIENCE).is_overdue());
        let left = Observation { lease: Answer::Unheld, ..late };
        assert!(!judge(&left, PATIENCE).is_overdue());
    }

    #[test]
    fn signals_are_repeated_after_one_two_four_seconds_until_the_timeout() {
        let timeout = Duration::from_secs(30);
        let at: Vec<_> = (0..7).map(|sent| next_signal(sent, timeout).map(|at| at.as_secs())).collect();
        assert_eq!(at, [None, Some(1), Some(3), Some(7), Some(15), None, None]);
        assert!(!signal_due(1, Duration::from_millis(999), timeout));
        assert!(signal_due(1, Duration::from_secs(1), timeout));
        assert!(!signal_due(0, timeout, timeout));
        assert!(!signal_due(u32::MAX, Duration::MAX, timeout));
    }

    #[test]
    fn a_long_timeout_gets_a_signal_a_minute() {
        let day = Duration::from_secs(86_400);
        let (eighth, ninth) = (next_signal(8, day).unwrap(), next_signal(9, day).unwrap());
        assert_eq!(ninth - eighth, LONGEST_PAUSE);
    }
}
