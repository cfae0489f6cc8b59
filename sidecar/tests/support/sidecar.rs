//! The real program as a child process.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use capstan_peers::child::Child;
use capstan_peers::{http, ports};
use capstan_sidecar::status::{Status, StreamStatus};
use capstan_sidecar::stream::ledger::Ledger;
use capstan_sidecar::stream::store::Store;
use serde_json::Value;

use super::{LONG, Scene};

const PROGRAM: &str = env!("CARGO_BIN_EXE_capstan-sidecar");

/// A sidecar that runs, or was stopped or killed and can be started again. Dropping it kills it.
pub struct Sidecar {
    child: Child,
    port: u16,
    config: PathBuf,
    log: PathBuf,
}

impl Sidecar {
    /// Starts it and returns when it can be asked.
    pub fn start(scene: &Scene, config: &Value) -> Sidecar {
        Sidecar::start_named(scene, "sidecar", config)
    }

    /// The same, with a name of its own for its files.
    pub fn start_named(scene: &Scene, name: &str, config: &Value) -> Sidecar {
        let file = write_config(scene, name, config);
        let (port, log) = (ports::free().unwrap(), scene.path(&format!("{name}.out")));
        let child = launch(&file, port, &log);
        let sidecar = Sidecar { child, port, config: file, log };
        sidecar.wait_listening();
        sidecar
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    fn wait_listening(&self) {
        ports::wait_listening(self.port, LONG).unwrap();
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
    }

    /// SIGTERM, and waits for its end.
    pub fn stop(&mut self) {
        let status = self.child.terminate(LONG).unwrap();
        assert!(status.success(), "{status}");
    }

    /// Starts it again; does not wait.
    pub fn relaunch(&mut self) {
        self.child.kill().unwrap();
        self.child = launch(&self.config, self.port, &self.log);
    }

    /// Starts it again and returns when it can be asked.
    pub fn restart(&mut self) {
        self.relaunch();
        self.wait_listening();
    }

    /// Starts it again after an orderly stop, and returns when it has read all there is to its end: what it takes for
    /// new is received by then.
    pub fn restart_and_settle(&mut self) {
        self.stop();
        self.restart();
        self.wait_for("everything to be confirmed", |status| {
            !status.streams.is_empty()
                && status.streams.iter().all(|stream| stream.lag.values().all(|lag| lag.bytes == 0))
        });
    }

    /// Starts it again with another configuration.
    pub fn restart_with(&mut self, config: &Value) {
        fs::write(&self.config, serde_json::to_vec_pretty(config).unwrap()).unwrap();
        self.restart();
    }

    pub fn status(&self) -> Status {
        serde_json::from_str(&self.get("/status")).unwrap()
    }

    pub fn get(&self, path: &str) -> String {
        http::get(self.port, path).unwrap().body
    }

    /// Sum of the samples of a metric that carry all these labels; 0 if there is none.
    pub fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let page = self.get("/metrics");
        let name = format!("capstan_sidecar_{name}");
        let wanted: Vec<String> = labels.iter().map(|(key, value)| format!("{key}=\"{value}\"")).collect();
        let samples = page.lines().filter_map(|line| {
            let rest = line.strip_prefix(&name)?;
            let fits = rest.starts_with(['{', ' ']) && wanted.iter().all(|label| rest.contains(label));
            fits.then(|| rest.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
        });
        samples.sum()
    }

    /// Waits until a counter has come to `value`, and asserts that it is not beyond: what is counted is done a moment
    /// before it is counted.
    pub fn counts(&self, name: &str, labels: &[(&str, &str)], value: f64) {
        let deadline = std::time::Instant::now() + LONG;
        while self.metric(name, labels) < value && std::time::Instant::now() < deadline {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        assert_eq!(self.metric(name, labels), value, "{name} {labels:?}");
    }

    /// Waits until the status is as wanted, and returns it.
    pub fn wait_for(&self, what: &str, condition: impl Fn(&Status) -> bool) -> Status {
        let mut last = self.status();
        let waited = ports::wait_until(LONG, what, || {
            last = self.status();
            condition(&last)
        });
        if let Err(error) = waited {
            panic!("{error}: {}", serde_json::to_string_pretty(&last).unwrap());
        }
        last
    }

    /// Waits until the only stream there is, is as wanted, and returns it.
    pub fn wait_for_stream(&self, what: &str, condition: impl Fn(&StreamStatus) -> bool) -> StreamStatus {
        let fits = |status: &Status| status.streams.len() == 1 && condition(&status.streams[0]);
        self.wait_for(what, fits).streams.remove(0)
    }

    /// Waits until no old file is open any more.
    pub fn wait_until_left(&self) {
        self.wait_for("all old files to be left", |status| {
            !status.streams.is_empty() && status.streams.iter().all(|stream| stream.held.is_empty())
        });
    }

    /// Waits until one of the problems in the status contains this text, and returns it.
    pub fn wait_for_problem(&self, text: &str) -> String {
        let find = |status: &Status| status.problems.iter().find(|problem| problem.contains(text)).cloned();
        find(&self.wait_for(&format!("the problem {text:?}"), |status| find(status).is_some())).unwrap()
    }

    /// Waits until the log's file is known with all its bytes, so that a rotation takes it.
    pub fn wait_for_bytes(&self, path: &Path, bytes: u64) {
        let path = path.display().to_string();
        self.wait_for("the file to be known", |status| {
            status.streams.iter().any(|stream| stream.path == path && stream.live_bytes == bytes)
        });
    }

    /// What it has logged.
    pub fn output(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Runs `rotate`, `status` or `check` with the same configuration.
    pub fn command(&self, arguments: &[&str]) -> Said {
        command(&self.config, arguments)
    }

    pub fn config(&self) -> &Path {
        &self.config
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let output = self.output();
            let lines: Vec<&str> = output.lines().collect();
            eprintln!("the sidecar's last words:\n{}", lines[lines.len().saturating_sub(60)..].join("\n"));
        }
    }
}

/// What a command said.
#[derive(Debug)]
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

/// Runs a command of the program with this configuration file.
pub fn command(config: &Path, arguments: &[&str]) -> Said {
    let (name, rest) = arguments.split_first().unwrap();
    let mut command = Command::new(PROGRAM);
    command.arg(name).arg("--config").arg(config).args(rest).stdin(Stdio::null());
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Said { code: status.code().unwrap(), out: text(stdout), err: text(stderr) }
}

/// Writes a configuration file.
pub fn write_config(scene: &Scene, name: &str, config: &Value) -> PathBuf {
    let file = scene.path(&format!("{name}.json"));
    fs::write(&file, serde_json::to_vec_pretty(config).unwrap()).unwrap();
    file
}

/// Changes the stored state of a sidecar that does not run.
pub fn edit_ledger(logs: &Path, edit: impl FnOnce(&mut Ledger)) {
    let mut opened = Store::open(&logs.join(".capstan/state")).unwrap();
    let mut ledger = opened.document.as_deref().map(|body| Ledger::decode(body).unwrap()).unwrap_or_default();
    edit(&mut ledger);
    opened.store.write(&ledger.encode().unwrap()).unwrap();
    opened.store.sync().unwrap();
}

fn launch(config: &Path, port: u16, log: &Path) -> Child {
    let mut command = Command::new(PROGRAM);
    command.arg("run").arg("--config").arg(config).arg("--listen").arg(format!("127.0.0.1:{port}"));
    command.env("CAPSTAN_LOG", "debug");
    Child::spawn_logging("capstan-sidecar", &mut command, log).unwrap()
}
