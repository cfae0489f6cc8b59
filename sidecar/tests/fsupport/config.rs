//! Configurations, with times that are short enough for tests.

use std::path::Path;

use capstan_peers::certificates::Certificates;
use serde_json::{Value, json};

/// A destination to be changed at will.
pub struct Destination(pub Value);

impl Destination {
    /// TLS on 127.0.0.1, the test authority trusted, rolled often.
    pub fn tls(name: &str, port: u16, certificates: &Certificates) -> Destination {
        Destination(json!({
            "name": name,
            "syslog": {
                "endpoints": [{ "host": "127.0.0.1", "port": port }],
                "tls": { "serverName": "localhost", "caFile": certificates.ca },
                "delivery": quick(),
            },
        }))
    }

    /// The same without TLS.
    pub fn tcp(name: &str, port: u16) -> Destination {
        Destination(json!({
            "name": name,
            "syslog": {
                "transport": "TCP",
                "endpoints": [{ "host": "127.0.0.1", "port": port }],
                "delivery": quick(),
            },
        }))
    }

    /// Sets a field of `syslog`.
    pub fn syslog(mut self, field: &str, value: impl Into<Value>) -> Destination {
        self.0["syslog"][field] = value.into();
        self
    }

    /// Sets a field of `syslog.tls`.
    pub fn secured(mut self, field: &str, value: impl Into<Value>) -> Destination {
        self.0["syslog"]["tls"][field] = value.into();
        self
    }

    /// Sets a field of `syslog.delivery`.
    pub fn delivery(mut self, field: &str, value: impl Into<Value>) -> Destination {
        self.0["syslog"]["delivery"][field] = value.into();
        self
    }

    /// Takes a field of `syslog.tls` away.
    pub fn without(mut self, field: &str) -> Destination {
        self.0["syslog"]["tls"].as_object_mut().unwrap().remove(field);
        self
    }
}

fn quick() -> Value {
    json!({ "rollAge": "1s", "rollIdle": "200ms" })
}

/// A log that is only forwarded.
pub fn forwarded(name: &str, include: &Path, destination: &str) -> Value {
    json!({
        "name": name,
        "files": { "include": [include] },
        "forward": { "destinations": [{ "name": destination }] },
    })
}

/// A log that is rotated by size as well; its app opens the file for every line, and every archive is kept.
pub fn rotated(name: &str, include: &Path, destination: &str, size: &str) -> Value {
    let mut log = forwarded(name, include, destination);
    log["rotate"] = json!({
        "when": { "size": size },
        "reopen": { "none": {} },
        "retention": { "count": 1000 },
    });
    log
}

/// The file's content.
pub fn config(logs: Vec<Value>, destinations: Vec<Destination>) -> Value {
    let destinations: Vec<Value> = destinations.into_iter().map(|destination| destination.0).collect();
    json!({ "version": 1, "policy": "web", "logs": logs, "destinations": destinations })
}
