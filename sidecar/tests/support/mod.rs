//! What the tests of rotation share: a place with logs, the real sidecar as a child process, a receiver that counts,
//! and the recount of everything on disk.
//!
//! Nothing here measures time: every wait ends as soon as its condition holds, and fails after [`LONG`].
#![allow(dead_code, reason = "each test program uses a part of it")]

pub mod namespace;
pub mod recount;
pub mod sidecar;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use capstan_peers::ports;
use capstan_peers::writer::{Settings, Writer};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Long enough for a busy machine; a test that waits this long fails.
pub const LONG: Duration = Duration::from_secs(90);

/// A directory of its own for one test: `logs` in it, and the sidecar's configuration and output beside that.
pub struct Scene {
    root: PathBuf,
    _temporary: Option<TempDir>,
}

impl Scene {
    pub fn new() -> Scene {
        let temporary = tempfile::tempdir().unwrap();
        let root = temporary.path().canonicalize().unwrap();
        fs::create_dir(root.join("logs")).unwrap();
        Scene { root, _temporary: Some(temporary) }
    }

    pub fn root(&self) -> PathBuf {
        self.root.clone()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    pub fn logs(&self) -> PathBuf {
        self.path("logs")
    }

    /// The one log that most tests have.
    pub fn log(&self) -> PathBuf {
        self.path("logs/app.log")
    }

    /// Where its archives go.
    pub fn archive(&self) -> PathBuf {
        self.path("logs/archive")
    }

    /// The pid file that configurations name.
    pub fn pid_file(&self) -> PathBuf {
        self.path("app.pid")
    }

    /// Starts a writer, and enters it into the pid file.
    pub fn start(&self, settings: &Settings) -> Writer {
        let writer = Writer::start(settings).unwrap();
        self.write_pid(writer.id());
        writer
    }

    pub fn write_pid(&self, id: u32) {
        fs::write(self.pid_file(), format!("{id}\n")).unwrap();
    }

    /// The names in the directory of archives, sorted; none before there is such a directory.
    pub fn archives(&self) -> Vec<String> {
        names(&self.archive())
    }

    /// Waits until there are `count` archives, and every one is compressed and under its final name.
    pub fn wait_for_compressed(&self, count: usize) -> Vec<String> {
        self.wait("archives to be compressed", || {
            let names = self.archives();
            names.len() == count && names.iter().all(|name| name.ends_with(".gz"))
        });
        self.archives()
    }

    /// Waits, and shows what is on disk if that is in vain.
    pub fn wait(&self, what: &str, condition: impl FnMut() -> bool) {
        if let Err(error) = ports::wait_until(LONG, what, condition) {
            panic!("{error}; logs: {:?}, archives: {:?}", names(&self.logs()), self.archives());
        }
    }

    /// A log called `app` that is rotated at 64 KiB; the process of the pid file gets SIGUSR1, and all archives are
    /// kept in the directory `archive`.
    pub fn rotated(&self) -> Value {
        json!({
            "name": "app",
            "files": { "include": [self.log()] },
            "rotate": {
                "when": { "size": "64Ki" },
                "reopen": {
                    "signal": { "name": "USR1", "process": { "pidFile": self.pid_file() } },
                    "timeout": "1h",
                },
                "archive": { "directory": "archive" },
                "retention": { "count": 10_000 },
            },
        })
    }

    /// The same, but only rotated on request, and nobody is told.
    pub fn quiet(&self) -> Value {
        let mut log = self.rotated();
        log["rotate"]["when"]["size"] = json!("1Gi");
        log["rotate"]["reopen"] = json!({ "none": {}, "timeout": "1h" });
        log
    }
}

/// A configuration with these logs, which go nowhere.
pub fn config(logs: &[Value]) -> Value {
    json!({ "version": 1, "policy": "test", "logs": logs })
}

/// A configuration with these logs, all of which go to the receiver at `port`, with quick proof.
pub fn forwarded(logs: &[Value], port: u16) -> Value {
    let mut config = config(logs);
    for log in config["logs"].as_array_mut().unwrap() {
        log["forward"] = json!({ "destinations": [{ "name": "receiver" }] });
    }
    config["destinations"] = json!([{
        "name": "receiver",
        "syslog": {
            "endpoints": [{ "host": "127.0.0.1", "port": port }],
            "transport": "TCP",
            "delivery": { "rollIdle": "100ms", "rollAge": "500ms", "replayMargin": "0s" },
        },
    }]);
    config
}

/// The names in a directory, sorted; none if there is no such directory.
pub fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Appends to a file, making it if need be.
pub fn append(path: &Path, text: &str) {
    use std::io::Write;
    let file = fs::OpenOptions::new().create(true).append(true).open(path);
    file.unwrap().write_all(text.as_bytes()).unwrap();
}

/// The lines `from` to `to` of writer `w00`, as `log-writer` writes them.
pub fn lines(from: u64, to: u64) -> String {
    (from..to).map(|number| format!("w00 {number:09} {}\n", "x".repeat(50))).collect()
}
