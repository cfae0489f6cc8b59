//! Who sends: in, a log file and a receiver; out, a running sender and what it used.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use capstan_peers::binaries;
use capstan_peers::child::{Child, Usage};

use crate::config::{self, Receiver};
use crate::sidecar::Sidecar;

const STOP_LIMIT: Duration = Duration::from_secs(60);

/// A program that sends a log file over syslog-TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sender {
    /// Ours.
    Sidecar,
    /// [`crate::bare_loop`], in a process of its own.
    BareLoop,
    /// rsyslog with imfile and omfwd, as fast as its documentation makes it.
    Rsyslog,
}

impl Sender {
    /// Those that are installed.
    pub fn available() -> Vec<Self> {
        let mut all = vec![Self::Sidecar, Self::BareLoop];
        if binaries::rsyslogd().is_ok() {
            all.push(Self::Rsyslog);
        }
        all
    }

    /// For the table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sidecar => "sidecar",
            Self::BareLoop => "bare loop",
            Self::Rsyslog => "rsyslog imfile + omfwd ossl",
        }
    }

    /// Starts it; its own files go into `directory`, which is not the log's.
    pub fn start(self, directory: &Path, log: &Path, receiver: Receiver<'_>) -> Result<Running> {
        match self {
            Self::Sidecar => {
                let config = config::config("bench", &[config::forwarded("app", log)], receiver);
                Ok(Running::Sidecar(Sidecar::start(directory, &config)?))
            }
            Self::BareLoop => {
                let mut command = Command::new(std::env::current_exe()?);
                command.arg("bare-loop").arg(log).arg(receiver.port.to_string()).arg(receiver.ca);
                let command = command.stdin(Stdio::null()).stdout(Stdio::piped());
                Ok(Running::BareLoop(Child::spawn("the bare loop", command)?))
            }
            Self::Rsyslog => {
                let mut command = Command::new(binaries::rsyslogd()?);
                command.arg("-n").arg("-f").arg(rsyslog_configuration(directory, log, receiver)?);
                command.arg("-i").arg(directory.join("rsyslog.pid"));
                let child = Child::spawn_logging("rsyslogd", &mut command, &directory.join("rsyslog.out"))?;
                Ok(Running::Rsyslog(child))
            }
        }
    }
}

/// A sender at work; dropping it kills it.
pub enum Running {
    /// The sidecar, which tells more of itself than others.
    Sidecar(Sidecar),
    /// The bare loop, which ends by itself.
    BareLoop(Child),
    /// rsyslog, which has to be told.
    Rsyslog(Child),
}

impl Running {
    /// Stops it and tells what it used in its whole life.
    pub fn stop(self) -> Result<Usage> {
        match self {
            Self::Sidecar(mut sidecar) => {
                sidecar.terminate(STOP_LIMIT)?;
                Ok(sidecar.usage())
            }
            Self::BareLoop(mut child) => {
                let (_, usage) = child.wait_measured(STOP_LIMIT)?;
                // It may have ended long before it is asked, so it says itself what memory it had.
                let said = std::io::read_to_string(child.take_stdout().context("no output")?)?;
                Ok(Usage { peak_resident_bytes: said.trim().parse()?, ..usage })
            }
            Self::Rsyslog(mut child) => {
                child.signal(rustix::process::Signal::TERM)?;
                Ok(child.wait_measured(STOP_LIMIT)?.1)
            }
        }
    }
}

fn rsyslog_configuration(directory: &Path, log: &Path, receiver: Receiver<'_>) -> Result<PathBuf> {
    let content = format!(
        r#"global(workDirectory="{work}" defaultNetstreamDriverCAFile="{ca}")
main_queue(queue.type="FixedArray" queue.size="100000" queue.dequeueBatchSize="1000")
module(load="imfile" mode="inotify")
input(type="imfile" file="{log}" tag="web:" facility="local0" severity="info")
action(type="omfwd" target="localhost" port="{port}" protocol="tcp" TCP_Framing="octet-counted"
  template="RSYSLOG_SyslogProtocol23Format" streamDriver="ossl" streamDriverMode="1"
  streamDriverAuthMode="x509/name" streamDriverPermittedPeers="localhost")
"#,
        work = directory.display(),
        ca = receiver.ca.display(),
        log = log.display(),
        port = receiver.port,
    );
    let path = directory.join("rsyslog.conf");
    fs::write(&path, content)?;
    Ok(path)
}
