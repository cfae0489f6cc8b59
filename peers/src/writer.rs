//! Numbered-line writers as processes of their own: in, what to write and how to behave; out, a process
//! that can be signalled like an app.
//!
//! The program is `log-writer`. Each line is one write(2) with O_APPEND, as loggers do it:
//! `NAME NUMBER padding`, e.g. `w03 000000123 xxxx…`, numbered from 0 per writer. See [`crate::lines`] for
//! the comparison afterwards.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::ValueEnum;
use rustix::process::Signal;

use crate::binaries;
use crate::child::{Child, Usage, catches};
use crate::ports::wait_until;

/// Longest time that a start may take on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(20);

/// What a writer does about a rotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Behaviour {
    /// Opens its path anew at SIGUSR1.
    #[default]
    Reopen,
    /// Catches SIGUSR1 and goes on with the file it has.
    Ignore,
    /// Has no handler: SIGUSR1 kills it.
    Default,
    /// Looks at its path before each line and opens it anew if another file is there (or none), like
    /// Python's WatchedFileHandler; catches SIGUSR1 and does nothing about it.
    Watch,
}

/// What to write.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The log.
    pub file: PathBuf,
    /// Lines for each writer; then it ends, or waits for SIGTERM if `stay`.
    pub count: u64,
    /// Lines per second for each writer; 0 for as fast as it can.
    pub rate: u64,
    /// Length of a line in bytes, LF included.
    pub width: usize,
    /// What each writer does about a rotation.
    pub behaviour: Behaviour,
    /// How long after SIGUSR1 it reopens.
    pub reopen_after: Duration,
    /// 1: the process writes itself, as writer `w00`. More: it is a master that passes SIGUSR1 on to so
    /// many workers, `w00`, `w01`, …, writing to the same file.
    pub workers: usize,
    /// So many workers, the last ones, behave as [`Behaviour::Ignore`].
    pub deaf_workers: usize,
    /// After so many lines the writer renames its file to `FILE.replaced-N` and makes a new one.
    pub replace_every: Option<u64>,
    /// Do not end after the last line, keep the file open and wait for SIGTERM.
    pub stay: bool,
}

impl Settings {
    /// One writer that reopens at once: `count` lines of 200 bytes at 20,000 lines per second.
    pub fn new(file: &Path, count: u64) -> Self {
        Self {
            file: file.to_path_buf(),
            count,
            rate: 20_000,
            width: 200,
            behaviour: Behaviour::Reopen,
            reopen_after: Duration::ZERO,
            workers: 1,
            deaf_workers: 0,
            replace_every: None,
            stay: false,
        }
    }

    /// Lines of all workers together.
    pub fn total(&self) -> u64 {
        self.count * self.workers as u64
    }

    /// The arguments of `log-writer` that say the same.
    fn arguments(&self) -> Vec<String> {
        let behaviour = self.behaviour.to_possible_value();
        let mut arguments: Vec<String> = [
            ("--file", self.file.display().to_string()),
            ("--count", self.count.to_string()),
            ("--rate", self.rate.to_string()),
            ("--width", self.width.to_string()),
            ("--behaviour", behaviour.map(|value| value.get_name().to_owned()).unwrap_or_default()),
            ("--reopen-after-ms", self.reopen_after.as_millis().to_string()),
            ("--workers", self.workers.to_string()),
            ("--deaf-workers", self.deaf_workers.to_string()),
            ("--replace-every", self.replace_every.unwrap_or(0).to_string()),
        ]
        .into_iter()
        .flat_map(|(name, value)| [name.to_owned(), value])
        .collect();
        if self.stay {
            arguments.push("--stay".to_owned());
        }
        arguments
    }
}

/// A running writer (or master of writers); dropping it kills it, and workers end with their master.
#[derive(Debug)]
pub struct Writer {
    child: Child,
}

impl Writer {
    /// Starts it and returns when it can be signalled; it may not have opened its file yet.
    pub fn start(settings: &Settings) -> Result<Self> {
        let mut command = Command::new(binaries::workspace("log-writer")?);
        command.args(settings.arguments()).stdin(Stdio::null());
        let mut child = Child::spawn("log-writer", &mut command)?;
        // SIGTERM's handler is the last it installs. A short run may be over already.
        let ready = || catches(child.id(), Signal::TERM) || matches!(child.ended(), Ok(Some(_)));
        wait_until(START_LIMIT, "log-writer to start", ready)?;
        Ok(Self { child })
    }

    /// The process id: of the writer, or of the master.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Tells it to reopen.
    pub fn reopen(&mut self) -> Result<()> {
        self.signal(Signal::USR1)
    }

    /// Sends any signal.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        self.child.signal(signal)
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> Result<bool> {
        Ok(self.child.ended()?.is_none())
    }

    /// Waits until it has written everything; an error if it takes longer than `limit` or fails.
    pub fn finish(&mut self, limit: Duration) -> Result<()> {
        let status = self.child.wait(limit)?;
        ensure!(status.success(), "log-writer failed: {status}");
        Ok(())
    }

    /// Waits for its end, whatever it is.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        self.child.wait(limit)
    }

    /// SIGTERM; the line it is writing is written whole.
    pub fn terminate(&mut self) -> Result<ExitStatus> {
        self.child.terminate(Duration::from_secs(10))
    }

    /// What it has used so far, without its workers.
    pub fn usage(&self) -> Result<Usage> {
        self.child.usage()
    }
}
