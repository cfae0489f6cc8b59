//! A process we started: in, a command; out, its end, its signals and what it used.
//!
//! It is only ever signalled by the id of a child that has not been waited for yet, so the id is still its
//! own; and it does not outlive the value (dropping kills it, also in a panic).

use std::fs;
use std::path::Path;
use std::process::{self, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use rustix::process::{Pid, Signal, kill_process};

/// How often a wait with a limit looks.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// A running or ended child process.
#[derive(Debug)]
pub struct Child {
    name: String,
    inner: process::Child,
    status: Option<ExitStatus>,
}

/// What a process has used so far, from /proc (see proc_pid_stat(5), proc_pid_status(5)).
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Usage {
    /// User and system time of all its threads; the kernel counts in steps of 10 ms here.
    pub cpu: Duration,
    /// Resident memory now, in bytes.
    pub resident_bytes: u64,
    /// The most resident memory it ever had, in bytes.
    pub peak_resident_bytes: u64,
}

impl Child {
    /// Starts `command`; `name` is for error messages.
    pub fn spawn(name: &str, command: &mut Command) -> Result<Self> {
        let inner = command.spawn().with_context(|| format!("cannot start {name}: {command:?}"))?;
        Ok(Self { name: name.to_owned(), inner, status: None })
    }

    /// Starts `command` with no input and with both outputs appended to the file `log`.
    pub fn spawn_logging(name: &str, command: &mut Command, log: &Path) -> Result<Self> {
        let open = || fs::OpenOptions::new().create(true).append(true).open(log);
        let output = open().with_context(|| format!("cannot open {}", log.display()))?;
        let errors = output.try_clone()?;
        Self::spawn(name, command.stdin(Stdio::null()).stdout(output).stderr(errors))
    }

    /// The process id; meaningless once it has ended.
    pub fn id(&self) -> u32 {
        self.inner.id()
    }

    /// The standard output, if it was piped and not taken yet.
    pub fn take_stdout(&mut self) -> Option<process::ChildStdout> {
        self.inner.stdout.take()
    }

    /// Sends a signal; an error if the process has ended.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        if let Some(status) = self.ended()? {
            bail!("{} has ended already: {status}", self.name);
        }
        kill_process(self.pid()?, signal).with_context(|| format!("cannot signal {}", self.name))
    }

    /// How it ended, or `None` while it runs.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        if self.status.is_none() {
            self.status = self.inner.try_wait().with_context(|| format!("cannot wait for {}", self.name))?;
        }
        Ok(self.status)
    }

    /// Waits for its end; an error after `limit` (it keeps running).
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            if start.elapsed() > limit {
                bail!("{} still runs after {} s", self.name, limit.as_secs_f32());
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// SIGTERM, then waits; killed, and an error, if it takes longer than `limit`.
    pub fn terminate(&mut self, limit: Duration) -> Result<ExitStatus> {
        if let Some(status) = self.ended()? {
            return Ok(status);
        }
        self.signal(Signal::TERM)?;
        let result = self.wait(limit);
        if result.is_err() {
            self.kill()?;
        }
        result
    }

    /// Waits for its end and tells what it used in its whole life, processor time to the microsecond.
    ///
    /// No other child may end meanwhile: the kernel gives the exact time only for all ended children
    /// together (RUSAGE_CHILDREN in getrusage(2)). The peak of memory is what was seen last before the end.
    pub fn wait_measured(&mut self, limit: Duration) -> Result<(ExitStatus, Usage)> {
        let before = children_cpu()?;
        let start = Instant::now();
        let mut usage = Usage::default();
        let status = loop {
            // While it ends, its memory is gone before its id.
            usage = self.usage().map_or(usage, |now| now.at_least(usage));
            if let Some(status) = self.ended()? {
                break status;
            }
            if start.elapsed() > limit {
                bail!("{} still runs after {} s", self.name, limit.as_secs_f32());
            }
            std::thread::sleep(LOOK_EVERY);
        };
        usage.cpu = children_cpu()?.saturating_sub(before);
        Ok((status, usage))
    }

    /// SIGKILL, then waits. No error if it had ended before.
    pub fn kill(&mut self) -> Result<ExitStatus> {
        if let Some(status) = self.ended()? {
            return Ok(status);
        }
        self.signal(Signal::KILL)?;
        let status = self.inner.wait()?;
        self.status = Some(status);
        Ok(status)
    }

    /// What it has used so far; an error once it has ended.
    pub fn usage(&self) -> Result<Usage> {
        usage_of(self.id()).with_context(|| format!("cannot read the usage of {}", self.name))
    }

    fn pid(&self) -> Result<Pid> {
        let raw = i32::try_from(self.inner.id())?;
        Pid::from_raw(raw).with_context(|| format!("{} has no process id", self.name))
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Nothing can be done about an error here, and the usual one is that it has ended.
        drop(self.kill());
    }
}

impl Usage {
    /// The larger peak, and the later of the other figures.
    fn at_least(self, earlier: Self) -> Self {
        Self { peak_resident_bytes: self.peak_resident_bytes.max(earlier.peak_resident_bytes), ..self }
    }
}

/// User and system time of all children that have ended and were waited for.
fn children_cpu() -> Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Ok(Duration::from_micros(u64::try_from(micros)?))
}

/// What the process with this id has used so far.
pub fn usage_of(id: u32) -> Result<Usage> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat"))?;
    let status = fs::read_to_string(format!("/proc/{id}/status"))?;
    let ticks = cpu_ticks(&stat).context("/proc/PID/stat without user and system time")?;
    let per_second = rustix::param::clock_ticks_per_second();
    Ok(Usage {
        cpu: Duration::from_micros(ticks * 1_000_000 / per_second),
        resident_bytes: kibibytes(&status, "VmRSS:") * 1024,
        peak_resident_bytes: kibibytes(&status, "VmHWM:") * 1024,
    })
}

/// Whether the process has a handler for the signal (SigCgt in proc_pid_status(5)).
pub fn catches(id: u32, signal: Signal) -> bool {
    let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    let mask =
        status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("SigCgt:")?.trim(), 16).ok());
    // Bit 0 stands for signal 1.
    mask.is_some_and(|mask| mask >> (signal.as_raw() - 1) & 1 == 1)
}

/// Fields 14 and 15. The name in field 2 may hold blanks and brackets, so count from the last bracket.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let after_name = &stat[stat.rfind(')')? + 1..];
    let mut fields = after_name.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// The number behind `key`, or 0: a process that is just ending has no memory lines any more.
fn kibibytes(status: &str, key: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(key));
    line.and_then(|rest| rest.split_ascii_whitespace().next()?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_found_behind_a_name_with_blanks_and_brackets() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194560 100 0 0 0 12 30 0 0 20 0 1 0 100 1000 50";
        assert_eq!(cpu_ticks(stat), Some(42));
    }

    #[test]
    fn memory_lines_are_read_in_kibibytes_and_absent_ones_are_zero() {
        let status = "Name:\tx\nVmHWM:\t    2048 kB\n";
        assert_eq!(kibibytes(status, "VmHWM:"), 2048);
        assert_eq!(kibibytes(status, "VmRSS:"), 0);
    }

    #[test]
    fn a_handler_is_seen_in_the_mask() {
        let mut shell = Command::new("sh");
        shell.args(["-c", "trap : USR1; read line"]).stdin(Stdio::piped());
        let child = Child::spawn("sh", &mut shell).unwrap();
        crate::ports::wait_until(Duration::from_secs(10), "the trap", || catches(child.id(), Signal::USR1))
            .unwrap();
        assert!(!catches(child.id(), Signal::USR2));
    }

    #[test]
    fn a_child_is_gone_after_drop_and_usable_before() {
        let mut child = Child::spawn("sleep", Command::new("sleep").arg("60")).unwrap();
        let id = child.id();
        assert!(child.ended().unwrap().is_none());
        assert!(child.usage().unwrap().peak_resident_bytes > 0);
        drop(child);
        assert!(usage_of(id).is_err());
    }

    #[test]
    fn terminate_reports_the_signal_and_twice_is_no_error() {
        use std::os::unix::process::ExitStatusExt;
        let mut child = Child::spawn("sleep", Command::new("sleep").arg("60")).unwrap();
        let status = child.terminate(Duration::from_secs(5)).unwrap();
        assert_eq!(status.signal(), Some(15));
        assert_eq!(child.kill().unwrap(), status);
        assert!(child.signal(Signal::TERM).is_err());
    }
}
