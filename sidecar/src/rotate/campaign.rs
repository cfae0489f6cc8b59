//! Tells the app to reopen: once for all logs that were rotated together, and again if it does not.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use capstan_config::{Process, Reopen, ReopenAction};
use rustix::process::Signal;

use super::breaker::{TargetKey, Trip, WATCH};
use super::pid_file::read_pid_file;
use super::processes::snapshot;
use super::signal::{Signalled, send};
use super::targets::{PidFile, Target, TargetSpec, Wanted, select};
use crate::files::directory::Directory;
use crate::metrics::Metrics;
use crate::pod::Pod;
use crate::settings::LogSettings;
use crate::stream::volume::{Volume, now_micros};

/// One rotation of logs that share a target.
#[derive(Debug)]
pub struct Campaign {
    log: Arc<LogSettings>,
    volume: Arc<Volume>,
    target: Option<TargetKey>,
    /// Signals sent so far.
    pub sent: u32,
    /// When the first was sent, or tried; None while nobody was to be signalled.
    pub first: Option<Instant>,
    /// Why nobody is signalled.
    pub refused: Option<String>,
    /// Processes that were signalled, as long as they may still die of it.
    watched: Vec<(Signalled, Instant)>,
}

/// What a log's target is, in a form that changes exactly when the target does.
pub fn target_key(log: &LogSettings) -> Option<TargetKey> {
    let ReopenAction::Signal { signal, process } = &log.log.rotate.as_ref()?.reopen.action else {
        return None;
    };
    let pid_file = process.pid_file.as_ref().map(ToString::to_string);
    let pattern = process.command_pattern.as_ref().map(|pattern| pattern.text().to_owned());
    let key = TargetKey::new(&log.policy, number(*signal).as_raw(), pattern.as_deref(), pid_file.as_deref());
    Some(key.inside(log.log.container.as_ref().map(|name| name.as_str())))
}

impl Campaign {
    /// A campaign for what `log` names. Its volume remembers targets that died.
    pub fn new(log: Arc<LogSettings>, volume: Arc<Volume>) -> Campaign {
        let target = target_key(&log);
        Campaign { log, volume, target, sent: 0, first: None, refused: None, watched: Vec::new() }
    }

    /// A campaign that only waits: somebody else moved the file, and tells the app.
    pub fn silent(log: Arc<LogSettings>, volume: Arc<Volume>) -> Campaign {
        Campaign { target: None, ..Campaign::new(log, volume) }
    }

    /// The log, as it was when the campaign began.
    pub fn log(&self) -> &LogSettings {
        &self.log
    }

    /// Whether a signalled process may still die of it.
    pub fn is_watching(&self) -> bool {
        !self.watched.is_empty()
    }

    /// Whether anybody is to be signalled at all.
    pub fn signals(&self) -> bool {
        self.target.is_some()
    }

    /// Signals the targets, unless any of `volumes` remembers that one died of it.
    pub fn signal(&mut self, volumes: &[Arc<Volume>], pod: &Pod, metrics: &Metrics) {
        let Some(target) = self.target.clone() else { return };
        self.first.get_or_insert_with(Instant::now);
        self.sent += 1;
        self.refused = match self.try_signal(&target, volumes, pod) {
            Ok(count) => {
                metrics.signalled(&self.log, "sent");
                tracing::info!(
                    log = self.log.full_name(),
                    processes = count,
                    attempt = self.sent,
                    "signalled to reopen"
                );
                None
            }
            Err(reason) => {
                metrics.signalled(&self.log, "refused");
                if self.refused.as_ref() != Some(&reason) {
                    tracing::warn!(log = self.log.full_name(), "nobody signalled: {reason}");
                }
                Some(reason)
            }
        };
    }

    fn try_signal(
        &mut self,
        target: &TargetKey,
        volumes: &[Arc<Volume>],
        pod: &Pod,
    ) -> Result<usize, String> {
        // Each volume remembers what it saw; a target is one for all of them.
        if volumes.iter().any(|volume| volume.is_tripped(target)) {
            return Err("a process died of this signal before; it is not sent again until the configuration names another target".to_owned());
        }
        let Some(Reopen { action: ReopenAction::Signal { signal, process }, .. }) =
            self.log.log.rotate.as_ref().map(|rotate| &rotate.reopen)
        else {
            return Err("nobody is named".to_owned());
        };
        let mut spec = spec(process)?;
        spec.container = pod.container(&self.log.log).map(|name| Wanted {
            name,
            pod: pod.uid.as_deref(),
            is_asked_for: self.log.log.container.is_some(),
        });
        let mut seen = snapshot().map_err(|error| error.to_string())?;
        if spec.container.is_some() {
            seen.see_containers();
        }
        let targets = select(spec, &seen.processes, std::process::id(), number(*signal))
            .map_err(|error| error.to_string())?;
        let mut refusal = None;
        let mut count = 0;
        for target in targets {
            match send(target, number(*signal)) {
                Ok(signalled) => {
                    count += 1;
                    self.watched.push((signalled, Instant::now()));
                }
                Err(error) => refusal = Some(error.to_string()),
            }
        }
        match refusal {
            Some(refusal) if count == 0 => Err(refusal),
            _ => Ok(count),
        }
    }

    /// Looks whether a signalled process died of it. `handlers` are the processes that are known to handle their
    /// signal. Returns whether any is still to be watched.
    pub fn watch_targets(&mut self, handlers: &mut BTreeSet<Target>, metrics: &Metrics) -> bool {
        let Some(target) = &self.target else { return false };
        let (volume, log) = (&self.volume, &self.log);
        self.watched.retain(|(signalled, since)| {
            let (exited, elapsed) = (signalled.has_exited().unwrap_or(false), since.elapsed());
            if !exited && elapsed > WATCH {
                handlers.insert(signalled.target);
                return false;
            }
            if exited && !handlers.contains(&signalled.target) && !volume.is_tripped(target) {
                let trip = Trip { at_unix_ms: now_micros() / 1000, pid: signalled.target.pid };
                if volume.observe_target(target, exited, elapsed, trip) {
                    metrics.signalled(log, "died");
                    tracing::error!(log = log.full_name(), pid = signalled.target.pid, "the process died of our signal; this target is never signalled again until the configuration changes");
                }
            }
            !exited
        });
        self.is_watching()
    }

    /// Time since the first signal, or since `otherwise`.
    pub fn elapsed(&self, otherwise: Instant) -> Duration {
        self.first.unwrap_or(otherwise).elapsed()
    }
}

fn spec(process: &Process) -> Result<TargetSpec<'_>, String> {
    let pid_file = process.pid_file.as_ref().map(|path| pid_file(path.as_path())).transpose()?;
    Ok(TargetSpec {
        command_pattern: process.command_pattern.as_ref().map(|pattern| pattern.regex()),
        pid_file,
        container: None,
    })
}

fn pid_file(path: &Path) -> Result<PidFile, String> {
    let (parent, name) = (path.parent().unwrap_or(Path::new("/")), path.file_name().unwrap_or_default());
    let directory = Directory::open(parent).map_err(|error| error.to_string())?;
    read_pid_file(&directory, name).map_err(|error| error.to_string())
}

fn number(signal: capstan_config::Signal) -> Signal {
    match signal {
        capstan_config::Signal::Hup => Signal::HUP,
        capstan_config::Signal::Usr1 => Signal::USR1,
        capstan_config::Signal::Usr2 => Signal::USR2,
    }
}
