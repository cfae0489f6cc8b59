//! Sends a signal to exactly the process that was chosen, and sees whether it died of it.
//!
//! In: a [`Target`] and a signal. Out: [`Signalled`], which keeps hold of the process. Always: the process is
//! pinned by a pidfd before it is checked once more, so neither a reused number nor a program that has lost its
//! handler meanwhile (through exec) gets a signal.

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal};
use thiserror::Error;

use super::process::mask_has;
use super::processes;
use super::targets::Target;

/// Why a signal was not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SignalError {
    /// The process has ended. Look for targets again.
    #[error("process {pid} has ended")]
    Gone {
        /// The process.
        pid: u32,
    },
    /// Another process has its number now. Look for targets again.
    #[error("process {pid} is not the one that was chosen")]
    Replaced {
        /// The number.
        pid: u32,
    },
    /// It no longer has a handler for the signal.
    #[error("process {pid} no longer has a handler for signal {signal}")]
    NotCaught {
        /// The process.
        pid: u32,
        /// The signal's number.
        signal: i32,
    },
    /// It runs as another user, or a security module forbids it. Trying again does not help.
    #[error(
        "process {pid} may not be signalled by us: {errno}; it runs as another user, or a profile forbids it"
    )]
    NotPermitted {
        /// The process.
        pid: u32,
        /// What the system said.
        errno: Errno,
    },
    /// The kernel or its filter offers no pidfd (Linux before 5.3, old container runtimes).
    #[error("process {pid} cannot be held on to: {errno}")]
    Unsupported {
        /// The process.
        pid: u32,
        /// What the system said.
        errno: Errno,
    },
}

impl SignalError {
    /// Whether looking for targets again may help.
    pub fn retry(self) -> bool {
        matches!(
            self,
            SignalError::Gone { .. } | SignalError::Replaced { .. } | SignalError::NotCaught { .. }
        )
    }
}

/// A process that was sent a signal.
#[derive(Debug)]
pub struct Signalled {
    /// The process.
    pub target: Target,
    pidfd: OwnedFd,
}

impl Signalled {
    /// Whether the process has ended since. Does not wait. pidfd_open(2): a pidfd becomes readable then.
    ///
    /// # Errors
    ///
    /// What poll(2) said, which is nothing in practice.
    pub fn has_exited(&self) -> Result<bool, Errno> {
        let mut watched = [PollFd::new(&self.pidfd, PollFlags::IN)];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        rustix::io::retry_on_intr(|| rustix::event::poll(&mut watched, Some(&at_once))).map(|ready| ready > 0)
    }
}

/// Sends `signal` to `target`.
///
/// # Errors
///
/// Nothing was sent then.
pub fn send(target: Target, signal: Signal) -> Result<Signalled, SignalError> {
    let pid = target.pid;
    let number = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(SignalError::Gone { pid })?;
    let pidfd = rustix::process::pidfd_open(number, PidfdFlags::empty()).map_err(|errno| match errno {
        Errno::SRCH => SignalError::Gone { pid },
        errno => SignalError::Unsupported { pid, errno },
    })?;
    let signalled = Signalled { target, pidfd };
    check(&signalled, signal.as_raw())?;
    match rustix::process::pidfd_send_signal(&signalled.pidfd, signal) {
        Ok(()) => Ok(signalled),
        Err(Errno::SRCH) => Err(SignalError::Gone { pid }),
        Err(errno @ (Errno::PERM | Errno::ACCESS)) => Err(SignalError::NotPermitted { pid, errno }),
        Err(errno) => Err(SignalError::Unsupported { pid, errno }),
    }
}

/// Reads the process again, now that its number cannot be reused without the pidfd telling.
fn check(signalled: &Signalled, signal: i32) -> Result<(), SignalError> {
    let pid = signalled.target.pid;
    let gone = SignalError::Gone { pid };
    let stat = processes::read_stat(pid).ok_or(gone)?;
    let caught = processes::read_caught(pid).ok_or(gone)?;
    if stat.start_ticks != signalled.target.start_ticks {
        Err(SignalError::Replaced { pid })
    } else if signalled.has_exited().unwrap_or(true) {
        Err(gone)
    } else if !mask_has(caught, signal) {
        Err(SignalError::NotCaught { pid, signal })
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};

    use regex::bytes::Regex;

    use super::*;
    use crate::rotate::processes::tests::Python;
    use crate::rotate::targets::{NoTarget, TargetSpec, select};

    /// Writes without a buffer, because a handler may run in the middle of a `print`.
    const CATCHES: &str = "
import os, signal
signal.signal(signal.SIGUSR1, lambda *_: os.write(1, b'caught\\n'))
os.write(1, b'ready\\n')
while True: signal.pause()";

    const DIES_OF_IT: &str = "
import os, signal
signal.signal(signal.SIGUSR1, lambda *_: os._exit(3))
os.write(1, b'ready\\n')
while True: signal.pause()";

    /// A child that ignores nothing and catches nothing, killed when dropped.
    struct Sleeper(Child);

    impl Sleeper {
        fn start(seconds: &str) -> Self {
            Sleeper(Command::new("sleep").arg(seconds).spawn().unwrap())
        }
    }

    impl Drop for Sleeper {
        fn drop(&mut self) {
            self.0.kill().unwrap();
            self.0.wait().unwrap();
        }
    }

    fn target_of(pid: u32) -> Target {
        let process = processes::read(pid).unwrap().unwrap();
        Target { pid, start_ticks: process.start_ticks }
    }

    fn exits(signalled: &Signalled) -> bool {
        (0..2_000).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(5));
            signalled.has_exited().unwrap()
        })
    }

    #[test]
    fn a_process_with_a_handler_is_chosen_and_gets_the_signal() {
        let mut python = Python::start(CATCHES, &["marker-of-the-first-signal-test"]);
        let pattern = Regex::new("marker-of-the-first-signal-test").unwrap();
        let spec = TargetSpec { command_pattern: Some(&pattern), pid_file: None, container: None };
        let processes = processes::snapshot().unwrap().processes;
        let targets = select(spec, &processes, std::process::id(), Signal::USR1).unwrap();
        assert_eq!(targets, [target_of(python.pid())]);
        let signalled = send(targets[0], Signal::USR1).unwrap();
        assert_eq!(python.line(), "caught");
        assert!(!signalled.has_exited().unwrap());
    }

    #[test]
    fn a_process_without_a_handler_survives() {
        let mut sleeper = Sleeper::start("4711.25");
        let pattern = Regex::new("^sleep 4711\\.25$").unwrap();
        let spec = TargetSpec { command_pattern: Some(&pattern), pid_file: None, container: None };
        let pid = sleeper.0.id();
        // Between fork and exec the child still has our command line.
        let refused = loop {
            let processes = processes::snapshot().unwrap().processes;
            match select(spec, &processes, std::process::id(), Signal::USR1) {
                Err(NoTarget::NoMatch) => std::thread::yield_now(),
                other => break other,
            }
        };
        assert_eq!(refused, Err(NoTarget::NotCaught { pid, signal: libc::SIGUSR1 }));
        // Even if somebody asked for it by number.
        let error = send(target_of(pid), Signal::USR1).unwrap_err();
        assert_eq!(error, SignalError::NotCaught { pid, signal: libc::SIGUSR1 });
        assert!(sleeper.0.try_wait().unwrap().is_none());
    }

    #[test]
    fn a_process_that_dies_of_the_signal_is_seen_to() {
        let python = Python::start(DIES_OF_IT, &[]);
        let signalled = send(target_of(python.pid()), Signal::USR1).unwrap();
        assert!(exits(&signalled));
    }

    #[test]
    fn another_process_under_the_same_number_is_not_signalled() {
        let mut python = Python::start(CATCHES, &[]);
        let pid = python.pid();
        let earlier = Target { start_ticks: target_of(pid).start_ticks - 1, pid };
        assert_eq!(send(earlier, Signal::USR1).unwrap_err(), SignalError::Replaced { pid });
        send(target_of(pid), Signal::USR1).unwrap();
        assert_eq!(python.line(), "caught");
    }

    #[test]
    fn a_process_that_has_ended_is_gone() {
        let python = Python::start(CATCHES, &[]);
        let target = target_of(python.pid());
        drop(python);
        let error = send(target, Signal::USR1).unwrap_err();
        assert_eq!(error, SignalError::Gone { pid: target.pid });
        assert!(error.retry());
        let never = Target { pid: u32::MAX, start_ticks: 1 };
        assert_eq!(send(never, Signal::USR1).unwrap_err(), SignalError::Gone { pid: u32::MAX });
    }

    #[test]
    fn a_process_of_another_user_is_reported_as_such() {
        // Process 1 belongs to root; as root ourselves we must not try it.
        if rustix::process::geteuid().is_root() {
            return;
        }
        let caught = processes::read_caught(1).unwrap();
        let Some(signal) = [Signal::HUP, Signal::USR1, Signal::USR2]
            .into_iter()
            .find(|signal| mask_has(caught, signal.as_raw()))
        else {
            return;
        };
        let error = send(target_of(1), signal).unwrap_err();
        assert_eq!(error, SignalError::NotPermitted { pid: 1, errno: Errno::PERM });
    }
}
