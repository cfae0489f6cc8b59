//! A real nginx as the app: in, a directory; out, a web server of one master and two workers with an access and an
//! error log there.
//!
//! Every request is answered with 200 and is one line of the access log. SIGUSR1 to the master makes it and its
//! workers reopen both logs; a worker does so only when it gets to it, so a little later than the master.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::Signal;

use crate::child::Child;
use crate::{binaries, ports};

const START_LIMIT: Duration = Duration::from_secs(30);
const STOP_LIMIT: Duration = Duration::from_secs(15);

/// A running nginx.
#[derive(Debug)]
pub struct Nginx {
    directory: PathBuf,
    port: u16,
    child: Child,
}

impl Nginx {
    /// Starts it with its files in `directory` and its logs in `directory/logs`; returns when it listens.
    pub fn start(directory: &Path) -> Result<Self> {
        let port = ports::free()?;
        fs::create_dir_all(directory.join("logs"))?;
        fs::create_dir_all(directory.join("temporary"))?;
        fs::write(directory.join("nginx.conf"), configuration(port))?;
        let mut command = Command::new(binaries::nginx()?);
        // The error log of the command line serves until the configuration is read.
        command.arg("-p").arg(directory).args(["-c", "nginx.conf", "-e", "logs/error.log"]);
        let output = directory.join("nginx.out");
        let mut child = Child::spawn_logging("nginx", &mut command, &output)?;
        ports::wait_until(START_LIMIT, "nginx to listen", || {
            (ports::is_listening(port) && directory.join("nginx.pid").exists())
                || matches!(child.ended(), Ok(Some(_)))
        })?;
        if let Some(status) = child.ended()? {
            bail!("nginx ended at once ({status}): {}", fs::read_to_string(output)?);
        }
        Ok(Self { directory: directory.to_path_buf(), port, child })
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The file that holds the master's process id.
    pub fn pid_file(&self) -> PathBuf {
        self.directory.join("nginx.pid")
    }

    /// The directory with `access.log` and `error.log`.
    pub fn logs(&self) -> PathBuf {
        self.directory.join("logs")
    }

    /// Stops it by SIGQUIT: open requests are answered and logged first.
    pub fn terminate(&mut self) -> Result<()> {
        self.child.signal(Signal::QUIT)?;
        let status = self.child.wait(STOP_LIMIT).context("nginx does not stop")?;
        anyhow::ensure!(status.success(), "nginx failed: {status}");
        Ok(())
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Workers of a master that is killed would go on. An error means that it has ended before.
        drop(self.terminate());
    }
}

/// Everything stays in the directory, and the workers have the user that started it.
fn configuration(port: u16) -> String {
    let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
    let paths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("{name}_temp_path temporary/{name};"))
        .join(" ");
    format!(
        "daemon off; {user} worker_processes 2; pid nginx.pid; error_log logs/error.log;
events {{ worker_connections 64; }}
http {{
    {paths}
    access_log logs/access.log;
    keepalive_requests 1000000;
    server {{ listen 127.0.0.1:{port}; location / {{ return 200 \"ok\\n\"; }} }}
}}
"
    )
}
