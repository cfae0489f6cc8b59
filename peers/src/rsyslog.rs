//! A real rsyslogd as the receiver: in, certificates and how it shall check; out, a file of what it stored.
//!
//! It runs in the foreground with a configuration, pid file and work directory of its own, so it never
//! meets the machine's own syslog. It can be stopped, killed and started again on the same port.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::certificates::{CLIENT_NAME, Certificates, Identity};
use crate::child::{Child, Usage};
use crate::{binaries, ports};

/// rsyslog is slow to start when it generates Diffie-Hellman parameters or the machine is busy.
const START_LIMIT: Duration = Duration::from_secs(20);
/// It drains its queue first; see `timeoutShutdown` in the configuration.
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// rsyslog's name for what secures the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Driver {
    /// TCP without TLS (`ptcp`).
    Plain,
    /// `ossl`, of the Debian package rsyslog-openssl.
    OpenSsl,
    /// `gtls`, of the Debian package rsyslog-gnutls.
    GnuTls,
}

/// What rsyslog asks of the client's certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientCheck {
    /// `anon`: nothing.
    None,
    /// `x509/certvalid`: any certificate of the CA.
    Valid,
    /// `x509/name`: a certificate of the CA that names [`CLIENT_NAME`].
    Named,
}

/// What is written to the output file for each message, followed by LF.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Template {
    /// The message as it was received, without its frame.
    Raw,
    /// Only the MSG part of RFC 5424 §6.
    Message,
}

/// Where a message waits between being read and being written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Queue {
    /// In memory, as distributions configure it: lost when rsyslog is killed.
    Memory,
    /// Nowhere: the thread that read it writes it.
    Direct,
}

/// How to run rsyslog.
#[derive(Debug, Clone)]
pub struct Settings {
    /// TLS implementation.
    pub driver: Driver,
    /// Client certificates.
    pub client_check: ClientCheck,
    /// The server's certificate; the good one of [`Certificates`] if `None`.
    pub identity: Option<Identity>,
    /// What is stored.
    pub template: Template,
    /// Whether control characters are stored as `#ooo` (rsyslog's own default) or as they came.
    pub escape_control_characters: bool,
    /// Longest message in bytes that is taken whole.
    pub max_message_bytes: usize,
    /// Queue of received messages.
    pub queue: Queue,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            driver: Driver::OpenSsl,
            client_check: ClientCheck::None,
            identity: None,
            template: Template::Raw,
            escape_control_characters: false,
            max_message_bytes: 2 << 20,
            queue: Queue::Memory,
        }
    }
}

/// A running (or stopped) rsyslogd.
#[derive(Debug)]
pub struct Rsyslog {
    directory: PathBuf,
    port: u16,
    child: Child,
}

impl Rsyslog {
    /// Starts rsyslogd with its files in `directory` and returns when it listens.
    pub fn start(directory: &Path, certificates: &Certificates, settings: &Settings) -> Result<Self> {
        let port = ports::free()?;
        fs::create_dir_all(directory.join("work"))?;
        fs::write(directory.join("rsyslog.conf"), configuration(directory, port, certificates, settings))?;
        Ok(Self { directory: directory.to_path_buf(), port, child: launch(directory, port)? })
    }

    /// The port on 127.0.0.1; the same after [`Rsyslog::restart`].
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The file with the received messages; absent until the first one.
    pub fn output(&self) -> PathBuf {
        self.directory.join("received.log")
    }

    /// What was stored so far, split at LF.
    pub fn lines(&self) -> Result<Vec<Vec<u8>>> {
        let content = match fs::read(self.output()) {
            Ok(content) => content,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error).context("cannot read what rsyslog received"),
        };
        let complete = content.strip_suffix(b"\n").unwrap_or(&content);
        if complete.is_empty() {
            return Ok(Vec::new());
        }
        Ok(complete.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect())
    }

    /// What rsyslog says about itself: refused certificates, broken connections, bad configuration.
    pub fn log(&self) -> String {
        let read = |name| fs::read_to_string(self.directory.join(name)).unwrap_or_default();
        read("internal.log") + &read("stderr.log")
    }

    /// Stops it by SIGTERM: it writes what it has in its queue and closes its connections.
    pub fn terminate(&mut self) -> Result<ExitStatus> {
        self.child.terminate(STOP_LIMIT)
    }

    /// Stops it by SIGKILL: what is in its queue is lost.
    pub fn kill(&mut self) -> Result<ExitStatus> {
        self.child.kill()
    }

    /// Starts it again on the same port (after killing it, if it still runs).
    pub fn restart(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child = launch(&self.directory, self.port)?;
        Ok(())
    }

    /// What it has used so far.
    pub fn usage(&self) -> Result<Usage> {
        self.child.usage()
    }
}

fn launch(directory: &Path, port: u16) -> Result<Child> {
    // A SIGKILL leaves the pid file behind, and rsyslog refuses to start if such a process exists.
    let pid_file = directory.join("rsyslog.pid");
    drop(fs::remove_file(&pid_file));
    let mut command = Command::new(binaries::rsyslogd()?);
    command.arg("-n").arg("-f").arg(directory.join("rsyslog.conf")).arg("-i").arg(pid_file);
    let log = directory.join("stderr.log");
    let mut child = Child::spawn_logging("rsyslogd", &mut command, &log)?;
    ports::wait_until(START_LIMIT, "rsyslogd to listen", || {
        ports::is_listening(port) || matches!(child.ended(), Ok(Some(_)))
    })?;
    match child.ended()? {
        None => Ok(child),
        Some(status) => {
            anyhow::bail!("rsyslogd ended at once ({status}): {}", fs::read_to_string(log)?)
        }
    }
}

fn configuration(directory: &Path, port: u16, certificates: &Certificates, settings: &Settings) -> String {
    let identity = settings.identity.as_ref().unwrap_or(&certificates.server);
    let path = |path: &Path| path.display().to_string();
    let escape = if settings.escape_control_characters { "on" } else { "off" };
    let queue = match settings.queue {
        // Time to write everything that was read when SIGTERM comes; the default is 1.5 s.
        Queue::Memory => r#"queue.type="LinkedList" queue.timeoutShutdown="20000""#,
        Queue::Direct => r#"queue.type="Direct""#,
    };
    let template = match settings.template {
        Template::Raw => "%rawmsg%\\n",
        Template::Message => "%msg%\\n",
    };
    format!(
        r#"global(workDirectory="{work}" maxMessageSize="{max}" processInternalMessages="on"
  parser.escapeControlCharactersOnReceive="{escape}" parser.parseHostnameAndTag="on"
  defaultNetstreamDriverCAFile="{ca}"
  defaultNetstreamDriverCertFile="{certificate}"
  defaultNetstreamDriverKeyFile="{key}")
main_queue({queue})
module(load="imtcp" maxSessions="500" {driver})
template(name="line" type="string" string="{template}")
ruleset(name="receive") {{
  action(type="omfile" file="{output}" template="line" fileCreateMode="0644")
}}
input(type="imtcp" address="127.0.0.1" port="{port}" maxFrameSize="{max}" ruleset="receive")
action(type="omfile" file="{internal}" fileCreateMode="0644")
"#,
        work = path(&directory.join("work")),
        max = settings.max_message_bytes,
        ca = path(&certificates.ca),
        certificate = path(&identity.certificate),
        key = path(&identity.key),
        driver = driver(settings),
        output = path(&directory.join("received.log")),
        internal = path(&directory.join("internal.log")),
    )
}

fn driver(settings: &Settings) -> String {
    let name = match settings.driver {
        Driver::Plain => return r#"streamDriver.name="ptcp" streamDriver.mode="0""#.to_owned(),
        Driver::OpenSsl => "ossl",
        Driver::GnuTls => "gtls",
    };
    let check = match settings.client_check {
        ClientCheck::None => r#"streamDriver.authMode="anon""#.to_owned(),
        ClientCheck::Valid => r#"streamDriver.authMode="x509/certvalid""#.to_owned(),
        ClientCheck::Named => {
            format!(r#"streamDriver.authMode="x509/name" permittedPeer=["{CLIENT_NAME}"]"#)
        }
    };
    format!(r#"streamDriver.name="{name}" streamDriver.mode="1" {check}"#)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificates;
    use std::io::Write;
    use std::net::TcpStream;

    #[test]
    fn plain_octet_counted_messages_are_stored_as_they_came() {
        let directory = tempfile::tempdir().unwrap();
        let made = certificates::create(directory.path()).unwrap();
        let settings = Settings { driver: Driver::Plain, ..Settings::default() };
        let mut rsyslog = Rsyslog::start(directory.path(), &made, &settings).unwrap();
        let first = b"<134>1 2026-01-01T00:00:00Z host app - id - one\ttab".to_vec();
        let second =
            [b"<134>1 2026-01-01T00:00:00Z host app - id - ", vec![b'x'; 300_000].as_slice()].concat();
        for (round, message) in [first, second].into_iter().enumerate() {
            let mut stream = TcpStream::connect(ports::local(rsyslog.port())).unwrap();
            write!(stream, "{} ", message.len()).unwrap();
            stream.write_all(&message).unwrap();
            drop(stream);
            let seen = || rsyslog.lines().unwrap().get(round) == Some(&message);
            ports::wait_until(Duration::from_secs(10), "the message", seen).unwrap();
            rsyslog.restart().unwrap();
        }
        assert!(rsyslog.terminate().unwrap().success());
    }

    #[test]
    fn both_tls_drivers_start_with_every_check() {
        let directory = tempfile::tempdir().unwrap();
        let made = certificates::create(directory.path()).unwrap();
        for driver in [Driver::OpenSsl, Driver::GnuTls] {
            for client_check in [ClientCheck::None, ClientCheck::Valid, ClientCheck::Named] {
                let settings = Settings { driver, client_check, ..Settings::default() };
                let mut rsyslog = Rsyslog::start(directory.path(), &made, &settings).unwrap();
                rsyslog.terminate().unwrap();
                assert!(!rsyslog.log().contains("error"), "{driver:?} {client_check:?}: {}", rsyslog.log());
            }
        }
    }
}
