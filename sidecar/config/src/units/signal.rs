//! Signals by which apps are told to reopen their files.

use std::fmt;
use std::str::FromStr;

use super::ValueError;

/// A signal by which some app reopens its log files. Others are left out on purpose: no app reopens on them, and what
/// they do instead is stop, kill or stop serving.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Signal {
    /// SIGHUP: rsyslog, puma, Vault and others.
    Hup,
    /// SIGUSR1: gunicorn, nginx, php-fpm and others.
    Usr1,
    /// SIGUSR2: supervisord.
    Usr2,
}

impl Signal {
    /// Every signal.
    pub const ALL: [Self; 3] = [Self::Hup, Self::Usr1, Self::Usr2];

    /// The full name, such as `SIGUSR1`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hup => "SIGHUP",
            Self::Usr1 => "SIGUSR1",
            Self::Usr2 => "SIGUSR2",
        }
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

impl FromStr for Signal {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let name = text.strip_prefix("SIG").unwrap_or(text);
        let known = Self::ALL.into_iter().find(|signal| signal.name().strip_prefix("SIG") == Some(name));
        known.ok_or_else(|| {
            ValueError::new(format!(
                "{text:?} is not a signal by which apps reopen their files; write SIGUSR1, SIGUSR2 or SIGHUP"
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_both_spellings() {
        assert_eq!("SIGUSR1".parse(), Ok(Signal::Usr1));
        assert_eq!("USR2".parse(), Ok(Signal::Usr2));
        assert_eq!("HUP".parse::<Signal>().map(|signal| signal.to_string()), Ok("SIGHUP".to_owned()));
    }

    #[test]
    fn refuses_signals_that_do_something_else() {
        for text in ["SIGKILL", "STOP", "TERM", "WINCH", "SIGSIGHUP", "10", "sigusr1", ""] {
            assert!(text.parse::<Signal>().is_err(), "{text}");
        }
    }
}
