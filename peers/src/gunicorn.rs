//! A real gunicorn as the app: in, a directory; out, a web server with an access and an error log there.
//!
//! Each answered request `/req/NUMBER` is one line of the access log, and for every tenth one there is a line
//! `tenth request NUMBER/10` in the error log. Two workers write both files; SIGUSR1 to the master makes all three processes reopen them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::child::{Child, Usage};
use crate::{binaries, ports};

const START_LIMIT: Duration = Duration::from_secs(30);
const STOP_LIMIT: Duration = Duration::from_secs(15);

const APP: &str = r#"import logging

log = logging.getLogger("gunicorn.error")


def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path.endswith("0"):
        log.info("tenth request %06d", int(path[5:]) // 10)
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "3")])
    return [b"ok\n"]
"#;

/// A running gunicorn with two workers.
#[derive(Debug)]
pub struct Gunicorn {
    directory: PathBuf,
    port: u16,
    child: Child,
}

impl Gunicorn {
    /// Starts it with its files in `directory` and its logs in `directory/logs`; returns when it listens.
    pub fn start(directory: &Path) -> Result<Self> {
        let port = ports::free()?;
        fs::create_dir_all(directory.join("logs"))?;
        fs::write(directory.join("app.py"), APP)?;
        let mut command = Command::new(binaries::gunicorn()?);
        command.current_dir(directory).args([
            "--workers",
            "2",
            "--worker-class",
            "gthread",
            "--threads",
            "4",
        ]);
        // Idle clients would otherwise lose their connection after 2 s.
        command.args(["--keep-alive", "60", "--graceful-timeout", "5"]);
        command.args(["--bind", &format!("127.0.0.1:{port}"), "--pid", "gunicorn.pid"]);
        command.args(["--access-logfile", "logs/access.log", "--error-logfile", "logs/error.log"]);
        command.arg("app:app").env("PYTHONDONTWRITEBYTECODE", "1");
        let output = directory.join("gunicorn.out");
        let mut child = Child::spawn_logging("gunicorn", &mut command, &output)?;
        ports::wait_until(START_LIMIT, "gunicorn to listen", || {
            ports::is_listening(port) || matches!(child.ended(), Ok(Some(_)))
        })?;
        if let Some(status) = child.ended()? {
            let said = fs::read_to_string(directory.join("logs/error.log")).unwrap_or_default();
            bail!("gunicorn ended at once ({status}): {}{said}", fs::read_to_string(output)?);
        }
        Ok(Self { directory: directory.to_path_buf(), port, child })
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The process id of the master.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The file that holds the master's process id.
    pub fn pid_file(&self) -> PathBuf {
        self.directory.join("gunicorn.pid")
    }

    /// The directory with `access.log` and `error.log`.
    pub fn logs(&self) -> PathBuf {
        self.directory.join("logs")
    }

    /// The files in the directory of logs that any of its processes has open, by the names they have now.
    pub fn open_logs(&self) -> Result<Vec<PathBuf>> {
        let master = self.child.id();
        let workers = fs::read_to_string(format!("/proc/{master}/task/{master}/children"))?;
        let workers = workers.split_ascii_whitespace().map(str::to_owned);
        let logs = self.logs().canonicalize()?;
        let mut open = Vec::new();
        for process in std::iter::once(master.to_string()).chain(workers) {
            for entry in fs::read_dir(format!("/proc/{process}/fd"))? {
                // A file that is closed meanwhile is not open.
                open.extend(fs::read_link(entry?.path()).ok().filter(|path| path.starts_with(&logs)));
            }
        }
        Ok(open)
    }

    /// Stops it by SIGTERM: open requests are answered and logged first.
    pub fn terminate(&mut self) -> Result<()> {
        let status = self.child.terminate(STOP_LIMIT).context("gunicorn does not stop")?;
        anyhow::ensure!(status.success(), "gunicorn failed: {status}");
        Ok(())
    }

    /// What the master has used so far, without its workers.
    pub fn usage(&self) -> Result<Usage> {
        self.child.usage()
    }
}
