//! Writes numbered lines to a file as an app would, with real signal handlers. See `capstan_peers::writer`.
//!
//! It prints nothing. It ends with the process that started it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use capstan_peers::child::catches;
use capstan_peers::ports::wait_until;
use capstan_peers::writer::Behaviour;
use clap::Parser;
use rustix::process::{Pid, Signal, getppid, kill_process};
use signal_hook::consts::{SIGTERM, SIGUSR1};

/// How long a writer sleeps when it is ahead of its rate.
const TICK: Duration = Duration::from_millis(1);
/// Longest time that workers may take to install their handlers.
const START_LIMIT: Duration = Duration::from_secs(20);

/// Writes numbered lines, `NAME NUMBER padding`, to a file.
#[derive(Parser, Clone)]
struct Arguments {
    /// The log
    #[arg(long)]
    file: PathBuf,
    /// Name of the writer at the start of each line
    #[arg(long, default_value = "w00")]
    name: String,
    /// Lines for each writer
    #[arg(long)]
    count: u64,
    /// Lines per second for each writer; 0: no limit
    #[arg(long, default_value_t = 0)]
    rate: u64,
    /// Bytes in a line, LF included
    #[arg(long, default_value_t = 200)]
    width: usize,
    /// What to do about a rotation
    #[arg(long, value_enum, default_value_t)]
    behaviour: Behaviour,
    /// Reopen so many milliseconds after SIGUSR1
    #[arg(long, default_value_t = 0)]
    reopen_after_ms: u64,
    /// More than 1: be a master of so many writers
    #[arg(long, default_value_t = 1)]
    workers: usize,
    /// So many workers ignore SIGUSR1
    #[arg(long, default_value_t = 0)]
    deaf_workers: usize,
    /// Rename the file and make a new one after so many lines; 0: never
    #[arg(long, default_value_t = 0)]
    replace_every: u64,
    /// Wait for SIGTERM after the last line
    #[arg(long)]
    stay: bool,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let signals = Signals::install(arguments.behaviour)?;
    if arguments.workers > 1 { lead(&arguments, &signals) } else { Writer::open(arguments, signals)?.write() }
}

struct Signals {
    reopen: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
    parent: Option<Pid>,
}

impl Signals {
    fn install(behaviour: Behaviour) -> Result<Self> {
        let signals = Self { reopen: Arc::default(), stop: Arc::default(), parent: getppid() };
        if behaviour != Behaviour::Default {
            signal_hook::flag::register(SIGUSR1, signals.reopen.clone())?;
        }
        signal_hook::flag::register(SIGTERM, signals.stop.clone())?;
        Ok(signals)
    }

    fn should_stop(&self) -> bool {
        self.stop.load(Relaxed) || getppid() != self.parent
    }
}

/// The master: writes nothing itself, passes SIGUSR1 and SIGTERM on, ends when its workers have.
fn lead(arguments: &Arguments, signals: &Signals) -> Result<()> {
    let workers = (0..arguments.workers).map(|index| start_worker(arguments, index));
    let mut workers: Vec<Child> = workers.collect::<Result<_>>()?;
    wait_for_handlers(&workers, arguments.behaviour)?;
    let mut failed = false;
    while !workers.is_empty() {
        if signals.reopen.swap(false, Relaxed) {
            pass_on(&workers, Signal::USR1)?;
        }
        if signals.should_stop() {
            pass_on(&workers, Signal::TERM)?;
        }
        sleep(TICK);
        let mut running = Vec::new();
        for mut worker in workers {
            match worker.try_wait()? {
                None => running.push(worker),
                Some(status) => failed |= !status.success(),
            }
        }
        workers = running;
    }
    anyhow::ensure!(!failed, "a worker failed");
    Ok(())
}

/// A signal that comes before a worker is ready would kill it; until then it waits in our own flag.
fn wait_for_handlers(workers: &[Child], behaviour: Behaviour) -> Result<()> {
    let last = if behaviour == Behaviour::Default { Signal::TERM } else { Signal::USR1 };
    let ready = || workers.iter().all(|worker| catches(worker.id(), last));
    wait_until(START_LIMIT, "the workers to be ready", ready)
}

fn start_worker(arguments: &Arguments, index: usize) -> Result<Child> {
    let deaf = index + arguments.deaf_workers >= arguments.workers;
    let behaviour = if deaf { Behaviour::Ignore } else { arguments.behaviour };
    let behaviour = clap::ValueEnum::to_possible_value(&behaviour).context("a behaviour without name")?;
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("--file").arg(&arguments.file).arg("--name").arg(format!("w{index:02}"));
    command.args(["--behaviour", behaviour.get_name()]);
    for (name, value) in [
        ("--count", arguments.count),
        ("--rate", arguments.rate),
        ("--width", arguments.width as u64),
        ("--reopen-after-ms", arguments.reopen_after_ms),
        ("--replace-every", arguments.replace_every),
    ] {
        command.arg(name).arg(value.to_string());
    }
    if arguments.stay {
        command.arg("--stay");
    }
    Ok(command.spawn()?)
}

fn pass_on(workers: &[Child], signal: Signal) -> Result<()> {
    for worker in workers {
        // Not waited for yet, so the id is still the worker's own.
        let pid = Pid::from_raw(i32::try_from(worker.id())?).context("a worker without id")?;
        kill_process(pid, signal)?;
    }
    Ok(())
}

struct Writer {
    arguments: Arguments,
    signals: Signals,
    file: File,
    reopen_at: Option<Instant>,
    replaced: u64,
}

impl Writer {
    fn open(arguments: Arguments, signals: Signals) -> Result<Self> {
        let file = append_to(&arguments.file)?;
        Ok(Self { arguments, signals, file, reopen_at: None, replaced: 0 })
    }

    fn write(mut self) -> Result<()> {
        let start = Instant::now();
        let mut line = Vec::with_capacity(self.arguments.width);
        for number in 0..self.arguments.count {
            while self.is_ahead(start, number) && !self.signals.should_stop() {
                sleep(TICK);
                self.heed_signals()?;
            }
            self.heed_signals()?;
            if self.signals.stop.load(Relaxed) || number.is_multiple_of(1024) && self.signals.should_stop() {
                return Ok(());
            }
            self.replace_own_file(number)?;
            self.reopen_if_moved()?;
            numbered_line(&mut line, &self.arguments, number)?;
            self.write_line(&line)?;
        }
        while self.arguments.stay && !self.signals.should_stop() {
            sleep(TICK);
            self.heed_signals()?;
        }
        Ok(())
    }

    fn is_ahead(&self, start: Instant, number: u64) -> bool {
        let rate = self.arguments.rate;
        rate > 0 && start.elapsed().as_secs_f64() * rate as f64 <= number as f64
    }

    /// One write(2); a disk that is full for a while is waited for, with an ear for signals.
    fn write_line(&mut self, line: &[u8]) -> Result<()> {
        loop {
            match self.file.write(line) {
                Ok(length) if length == line.len() => return Ok(()),
                Ok(length) => anyhow::bail!("wrote {length} of {} bytes", line.len()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => {
                    if self.signals.should_stop() {
                        return Ok(());
                    }
                    sleep(TICK);
                    self.heed_signals()?;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn heed_signals(&mut self) -> Result<()> {
        let signalled = self.signals.reopen.swap(false, Relaxed);
        if signalled && self.arguments.behaviour == Behaviour::Reopen && self.reopen_at.is_none() {
            self.reopen_at = Some(Instant::now() + Duration::from_millis(self.arguments.reopen_after_ms));
        }
        if self.reopen_at.is_some_and(|time| Instant::now() >= time) {
            self.reopen_at = None;
            self.file = append_to(&self.arguments.file)?;
        }
        Ok(())
    }

    fn reopen_if_moved(&mut self) -> Result<()> {
        if self.arguments.behaviour != Behaviour::Watch {
            return Ok(());
        }
        let open = self.file.metadata()?;
        let same = match fs::metadata(&self.arguments.file) {
            Ok(there) => (there.dev(), there.ino()) == (open.dev(), open.ino()),
            Err(error) if error.kind() == ErrorKind::NotFound => false,
            Err(error) => return Err(error.into()),
        };
        if !same {
            self.file = append_to(&self.arguments.file)?;
        }
        Ok(())
    }

    fn replace_own_file(&mut self, number: u64) -> Result<()> {
        let every = self.arguments.replace_every;
        if every == 0 || number == 0 || !number.is_multiple_of(every) {
            return Ok(());
        }
        let mut aside = self.arguments.file.clone().into_os_string();
        aside.push(format!(".replaced-{}", self.replaced));
        fs::rename(&self.arguments.file, aside)?;
        self.replaced += 1;
        self.file = append_to(&self.arguments.file)?;
        Ok(())
    }
}

fn append_to(path: &Path) -> Result<File> {
    let opened = OpenOptions::new().append(true).create(true).mode(0o640).open(path);
    opened.with_context(|| format!("cannot open {}", path.display()))
}

fn numbered_line(line: &mut Vec<u8>, arguments: &Arguments, number: u64) -> io::Result<()> {
    line.clear();
    write!(line, "{} {number:09} ", arguments.name)?;
    line.resize(arguments.width.max(line.len() + 1) - 1, b'x');
    line.push(b'\n');
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_the_width_asked_for_unless_its_number_needs_more() {
        let mut arguments = Arguments::parse_from(["log-writer", "--file", "x", "--count", "1"]);
        let mut line = Vec::new();
        numbered_line(&mut line, &arguments, 123).unwrap();
        assert_eq!(line.len(), 200);
        assert!(line.starts_with(b"w00 000000123 xxx"));
        arguments.width = 3;
        numbered_line(&mut line, &arguments, 123).unwrap();
        assert_eq!(line, b"w00 000000123 \n");
    }
}
