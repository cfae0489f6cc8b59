//! Configurations for the sidecar: in, paths and ports of this run; out, the JSON file's content.

use std::path::Path;

use serde_json::{Value, json};

/// A TLS receiver on this machine.
#[derive(Debug, Clone, Copy)]
pub struct Receiver<'a> {
    /// Its port on 127.0.0.1.
    pub port: u16,
    /// PEM file of the authority that signed its certificate.
    pub ca: &'a Path,
}

/// A file with everything in it: one policy, one destination.
pub fn config(policy: &str, logs: &[Value], receiver: Receiver<'_>) -> Value {
    json!({
        "version": 1,
        "policy": policy,
        "logs": logs,
        "destinations": [{
            "name": "receiver",
            "syslog": {
                "endpoints": [{ "host": "127.0.0.1", "port": receiver.port }],
                "tls": { "serverName": "localhost", "caFile": receiver.ca },
            },
        }],
    })
}

/// A log that is only forwarded.
pub fn forwarded(name: &str, include: &Path) -> Value {
    json!({
        "name": name,
        "files": { "include": [include] },
        "forward": { "destinations": [{ "name": "receiver" }], "appName": "web" },
    })
}

/// A log that is also rotated by size, with SIGUSR1 to the process of the pid file; every archive is kept.
pub fn rotated(name: &str, include: &Path, size: &str, pid_file: &Path) -> Value {
    let mut log = forwarded(name, include);
    log["rotate"] = json!({
        "when": { "size": size },
        "reopen": { "signal": { "name": "USR1", "process": { "pidFile": pid_file } }, "timeout": "10s" },
        "archive": { "directory": "archive", "compression": "Gzip" },
        "retention": { "count": 10_000 },
    });
    log
}
