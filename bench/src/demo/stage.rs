//! Everybody who takes part: in, nothing; out, running processes and their files in one directory.
//!
//! The parts are dropped in the order of the fields: the load first, the directory last.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use capstan_peers::certificates;
use capstan_peers::collector::process::CollectorProcess;
use capstan_peers::collector::{Tls, Versions};
use capstan_peers::gunicorn::Gunicorn;
use capstan_peers::load::Load;
use tempfile::TempDir;

use crate::config::{self, Receiver};
use crate::sidecar::Sidecar;

/// Requests per second: what two cores do beside everything else.
const REQUESTS_PER_SECOND: u64 = 1200;
const CONNECTIONS: usize = 6;
/// Small enough for several rotations of each log in 20 seconds.
const ACCESS_SIZE: &str = "160Ki";
const ERROR_SIZE: &str = "32Ki";

pub(super) struct Stage {
    /// `None` once it was stopped.
    pub(super) load: Option<Load>,
    pub(super) sidecar: Sidecar,
    pub(super) gunicorn: Gunicorn,
    pub(super) receiver: CollectorProcess,
    directory: TempDir,
}

impl Stage {
    pub(super) fn start() -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("capstan-demo-").tempdir()?;
        // The kernel shows paths without symbolic links, and they are compared with ours.
        let root = directory.path().canonicalize()?;
        let made = certificates::create(&root)?;
        let tls = Tls { identity: made.server, client_ca: None, versions: Versions::Both };
        let receiver = CollectorProcess::start(&root.join("received.log"), Some(tls))?;
        let gunicorn = Gunicorn::start(&root.join("app"))?;
        let log = |name: &str, size| {
            let file = gunicorn.logs().join(format!("{name}.log"));
            config::rotated(name, &file, size, &gunicorn.pid_file())
        };
        let logs = [log("access", ACCESS_SIZE), log("error", ERROR_SIZE)];
        let config = config::config("demo", &logs, Receiver { port: receiver.port(), ca: &made.ca });
        let sidecar = Sidecar::start(&root.join("sidecar"), &config).context("no sidecar")?;
        let load = Some(Load::start(gunicorn.port(), CONNECTIONS, REQUESTS_PER_SECOND));
        Ok(Self { load, sidecar, gunicorn, receiver, directory })
    }

    /// The archives of both logs.
    pub(super) fn archives(&self) -> Vec<PathBuf> {
        let directory = self.gunicorn.logs().join("archive");
        // Absent before the first rotation.
        capstan_peers::lines::files_below(&directory).unwrap_or_default()
    }

    /// Whether every process of gunicorn writes only to the live logs.
    pub(super) fn all_reopened(&self) -> Result<bool> {
        let live = [self.gunicorn.logs().join("access.log"), self.gunicorn.logs().join("error.log")];
        Ok(self.gunicorn.open_logs()?.iter().all(|open| live.contains(open)))
    }

    /// Ends everything and keeps the directory.
    pub(super) fn keep(self) -> PathBuf {
        self.directory.keep()
    }
}

/// Whether the name is that of a compressed archive.
pub(super) fn is_packed(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "gz")
}
