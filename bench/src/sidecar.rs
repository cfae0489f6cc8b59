//! The sidecar as a process: in, its configuration; out, what it says of itself and what it used.
//!
//! It may live several times (a SIGKILL in between); what it used is summed over its lives.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use anyhow::{Result, bail};
use capstan_peers::child::{Child, Usage};
use capstan_peers::{binaries, http, ports};
use serde_json::Value;

/// Longest time from start to listening.
const START_LIMIT: Duration = Duration::from_secs(20);

/// A sidecar that runs, or was stopped and can be started again.
pub struct Sidecar {
    directory: PathBuf,
    port: u16,
    child: Child,
    /// What ended lives have used.
    used: Usage,
}

impl Sidecar {
    /// Writes the configuration into `directory`, starts the sidecar and returns when it listens.
    pub fn start(directory: &Path, config: &Value) -> Result<Self> {
        fs::create_dir_all(directory)?;
        fs::write(directory.join("config.v1.json"), serde_json::to_string_pretty(config)?)?;
        let port = ports::free()?;
        let child = launch(directory, port)?;
        Ok(Self { directory: directory.to_path_buf(), port, child, used: Usage::default() })
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The sum over all labels of a metric; `None` if the sidecar does not answer or has no such metric.
    pub fn metric(&self, name: &str) -> Option<f64> {
        sum_of_metric(&http::get(self.port, "/metrics").ok()?.body, name)
    }

    /// What it has used so far: processor time of all lives, memory of this one, peak over all lives.
    pub fn usage(&self) -> Usage {
        add(self.used, self.child.usage().unwrap_or_default())
    }

    /// SIGKILL.
    pub fn kill(&mut self) -> Result<()> {
        self.used = self.usage();
        self.child.kill()?;
        Ok(())
    }

    /// Starts it again with the same configuration.
    pub fn restart(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child = launch(&self.directory, self.port)?;
        Ok(())
    }

    /// SIGTERM, and waits until it has drained. See [`Child::wait_measured`] for what must not happen
    /// meanwhile.
    pub fn terminate(&mut self, limit: Duration) -> Result<ExitStatus> {
        self.child.signal(rustix::process::Signal::TERM)?;
        let (status, used) = self.child.wait_measured(limit)?;
        self.used = add(self.used, used);
        Ok(status)
    }

    /// How it ended, if it did without being asked.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.child.ended()
    }

    /// The last lines it logged.
    pub fn log_tail(&self, lines: usize) -> String {
        let log = fs::read_to_string(log_file(&self.directory)).unwrap_or_default();
        let all: Vec<&str> = log.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }
}

fn log_file(directory: &Path) -> PathBuf {
    directory.join("sidecar.log")
}

fn launch(directory: &Path, port: u16) -> Result<Child> {
    let mut command = Command::new(binaries::workspace("capstan-sidecar")?);
    command.arg("run").arg("--config").arg(directory.join("config.v1.json"));
    command.arg("--listen").arg(format!("127.0.0.1:{port}"));
    let log = log_file(directory);
    let mut child = Child::spawn_logging("capstan-sidecar", &mut command, &log)?;
    ports::wait_until(START_LIMIT, "capstan-sidecar to listen", || {
        ports::is_listening(port) || matches!(child.ended(), Ok(Some(_)))
    })?;
    if let Some(status) = child.ended()? {
        bail!("capstan-sidecar ended at once ({status}): {}", fs::read_to_string(log)?);
    }
    Ok(child)
}

fn add(before: Usage, now: Usage) -> Usage {
    Usage {
        cpu: before.cpu + now.cpu,
        resident_bytes: now.resident_bytes,
        peak_resident_bytes: before.peak_resident_bytes.max(now.peak_resident_bytes),
    }
}

/// Adds the samples of a metric in the Prometheus text format, whatever their labels.
fn sum_of_metric(text: &str, name: &str) -> Option<f64> {
    let samples = text.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        // Not a longer name that starts alike.
        rest.starts_with(['{', ' ']).then(|| rest.rsplit(' ').next()?.parse::<f64>().ok()).flatten()
    });
    samples.reduce(|sum, sample| sum + sample)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_summed_over_its_labels_and_not_mixed_up_with_longer_names() {
        let text =
            "# TYPE a_total counter\na_total{log=\"x y\"} 2\na_total{log=\"z\"} 3\na_total_more 7\nb 1.5\n";
        assert_eq!(sum_of_metric(text, "a_total"), Some(5.0));
        assert_eq!(sum_of_metric(text, "b"), Some(1.5));
        assert_eq!(sum_of_metric(text, "c"), None);
    }
}
