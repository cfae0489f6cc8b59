//! The real binary as a process: what it is told, what it says of itself.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use capstan_peers::child::{Child, Usage};
use capstan_peers::{http, ports};
use serde_json::Value;

use super::prometheus::Page;
use super::{LONG, eventually};

const BINARY: &str = env!("CARGO_BIN_EXE_capstan-sidecar");

/// A sidecar that runs, or was stopped and can be started again.
pub struct Sidecar {
    root: PathBuf,
    port: u16,
    child: Option<Child>,
    arguments: Vec<String>,
}

impl Sidecar {
    /// With its configuration and its log in `root`; not started yet.
    pub fn new(root: &Path) -> Sidecar {
        Sidecar { root: root.to_owned(), port: ports::free().unwrap(), child: None, arguments: Vec::new() }
    }

    /// Adds arguments of `run`.
    pub fn with(mut self, arguments: &[&str]) -> Sidecar {
        self.arguments.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        self
    }

    pub fn config_file(&self) -> PathBuf {
        self.root.join("config.v1.json")
    }

    /// Replaces the configuration in one step.
    pub fn write_config(&self, config: &Value) {
        self.write_config_text(&serde_json::to_string_pretty(config).unwrap());
    }

    /// The same with any text.
    pub fn write_config_text(&self, text: &str) {
        let aside = self.root.join("config.new");
        fs::write(&aside, text).unwrap();
        fs::rename(aside, self.config_file()).unwrap();
    }

    /// Starts it and waits until it serves its status.
    pub fn started(mut self) -> Sidecar {
        self.start();
        self
    }

    pub fn start(&mut self) {
        self.launch();
        let port = self.port;
        eventually("the sidecar to listen", || ports::is_listening(port) || self.has_ended());
        assert!(!self.has_ended(), "the sidecar ended at once:\n{}", self.log());
    }

    /// Starts it and does not wait for anything.
    pub fn launch(&mut self) {
        let mut command = Command::new(BINARY);
        command.arg("run").arg("--config").arg(self.config_file());
        command.arg("--listen").arg(format!("127.0.0.1:{}", self.port));
        command.args(&self.arguments);
        self.child = Some(Child::spawn_logging("capstan-sidecar", &mut command, &self.log_file()).unwrap());
    }

    /// Another command of the same binary: its standard output and error together, and how it ended.
    pub fn command(&self, arguments: &[&str]) -> (String, ExitStatus) {
        let mut command = Command::new(BINARY);
        command.arg(arguments[0]).arg("--config").arg(self.config_file()).args(&arguments[1..]);
        let output = command.output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (String::from_utf8(text).unwrap(), output.status)
    }

    fn child(&self) -> &Child {
        self.child.as_ref().unwrap()
    }

    fn child_mut(&mut self) -> &mut Child {
        self.child.as_mut().unwrap()
    }

    pub fn id(&self) -> u32 {
        self.child().id()
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn has_ended(&mut self) -> bool {
        self.child_mut().ended().unwrap().is_some()
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.child_mut().kill().unwrap();
    }

    /// SIGTERM; its exit status must be 0.
    pub fn terminate(&mut self) {
        let status = self.child_mut().terminate(LONG).unwrap();
        assert!(status.success(), "ended with {status}:\n{}", self.log());
    }

    /// SIGTERM without waiting.
    pub fn ask_to_stop(&mut self) {
        self.child_mut().signal(rustix::process::Signal::TERM).unwrap();
    }

    /// Waits for its end, which must be a good one.
    pub fn wait_for_end(&mut self) {
        let status = self.child_mut().wait(LONG).unwrap();
        assert!(status.success(), "ended with {status}:\n{}", self.log());
    }

    pub fn usage(&self) -> Usage {
        self.child().usage().unwrap()
    }

    /// The number of its open file descriptors.
    pub fn open_files(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.id())).unwrap().count()
    }

    fn log_file(&self) -> PathBuf {
        self.root.join("sidecar.log")
    }

    /// All it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    pub fn get(&self, path: &str) -> http::Answer {
        http::get(self.port, path).unwrap()
    }

    pub fn metrics(&self) -> Page {
        Page::parse(&self.get("/metrics").body)
    }

    /// The sum of a metric over the samples that carry these labels; 0 if there is none.
    pub fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.metrics().sum(&format!("capstan_sidecar_{name}"), labels)
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

    pub fn status(&self) -> Value {
        serde_json::from_str(&self.get("/status").body).unwrap()
    }

    /// What it says of a destination.
    pub fn destination(&self, name: &str) -> Value {
        self.status()["destinations"][name].clone()
    }

    /// The last error of a destination, or nothing.
    pub fn last_error(&self, name: &str) -> String {
        self.destination(name)["lastError"].as_str().unwrap_or_default().to_owned()
    }

    /// Waits until a destination's last error contains `text`.
    pub fn wait_for_error(&self, name: &str, text: &str) {
        let waited = ports::wait_until(LONG, text, || self.last_error(name).contains(text));
        assert!(waited.is_ok(), "{text:?} did not come, but {:?}", self.last_error(name));
    }

    /// Waits until every file is seen at its size, and all of it is confirmed.
    pub fn wait_until_confirmed(&self) {
        self.wait_until_confirmed_but(0);
    }

    /// The same, except for so many bytes of each file: a last line without an end.
    pub fn wait_until_confirmed_but(&self, bytes: u64) {
        eventually("everything to be confirmed", || is_confirmed(&self.status(), bytes));
    }
}

fn is_confirmed(status: &Value, but: u64) -> bool {
    let streams = status["streams"].as_array().unwrap();
    !streams.is_empty()
        && streams.iter().all(|stream| {
            let size = fs::metadata(stream["path"].as_str().unwrap()).map_or(0, |metadata| metadata.len());
            let lags = stream["lag"].as_object().unwrap();
            stream["liveBytes"] == size && lags.values().all(|lag| lag["bytes"] == but)
        })
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let all: Vec<&str> = log.lines().collect();
            eprintln!("the sidecar's log ends:\n{}", all[all.len().saturating_sub(30)..].join("\n"));
        }
    }
}
