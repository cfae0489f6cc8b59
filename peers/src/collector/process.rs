//! The collector as a process of its own: in, where to write; out, a file with one message per line.
//!
//! Killing it loses what it had read but not written, as with any receiver; never more than one read.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use super::Tls;
use crate::binaries;
use crate::child::{Child, Usage};

/// A `collector` program that runs, or was stopped and can be started again on the same port.
#[derive(Debug)]
pub struct CollectorProcess {
    tls: Option<Tls>,
    output: PathBuf,
    port: u16,
    child: Child,
}

impl CollectorProcess {
    /// Starts it; messages are appended to `output`, each followed by LF. Without `tls`: plain TCP.
    pub fn start(output: &Path, tls: Option<Tls>) -> Result<Self> {
        let (child, port) = launch(output, tls.as_ref(), None)?;
        Ok(Self { tls, output: output.to_path_buf(), port, child })
    }

    /// The port on 127.0.0.1; the same after [`CollectorProcess::restart`].
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its output file.
    pub fn output(&self) -> &Path {
        &self.output
    }

    /// Messages written so far. A message with LF inside counts as several.
    pub fn lines(&self) -> Result<Vec<Vec<u8>>> {
        let content = fs::read(&self.output)?;
        let complete = content.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n"));
        Ok(complete.map(|line| line[..line.len() - 1].to_vec()).collect())
    }

    /// SIGKILL: the port refuses, what was not read is answered by RST.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        Ok(())
    }

    /// Starts it again on the same port and file (after killing it, if it still runs).
    pub fn restart(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child = launch(&self.output, self.tls.as_ref(), Some(self.port))?.0;
        Ok(())
    }

    /// What it has used in this life.
    pub fn usage(&self) -> Result<Usage> {
        self.child.usage()
    }
}

fn launch(output: &Path, tls: Option<&Tls>, port: Option<u16>) -> Result<(Child, u16)> {
    let mut command = Command::new(binaries::workspace("collector")?);
    command.arg("--output").arg(output);
    if let Some(tls) = tls {
        command.arg("--certificate").arg(&tls.identity.certificate);
        command.arg("--key").arg(&tls.identity.key);
        if let Some(ca) = &tls.client_ca {
            command.arg("--client-ca").arg(ca);
        }
    }
    if let Some(port) = port {
        command.arg("--port").arg(port.to_string());
    }
    let mut child = Child::spawn("collector", command.stdin(Stdio::null()).stdout(Stdio::piped()))?;
    let stdout = child.take_stdout().context("the collector has no output")?;
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line)?;
    let port = line.trim().parse().with_context(|| format!("the collector said {line:?}, not its port"))?;
    Ok((child, port))
}
