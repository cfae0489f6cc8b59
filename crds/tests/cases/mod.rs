//! The cases of `rules.yaml`, as objects. Also read by the tests on a cluster.
#![allow(clippy::unwrap_used, reason = "a test ends at the first thing that is not as it should be")]

use serde::Deserialize;
use serde_json::{Value, json};

/// An object, and whether it is refused.
pub struct Case {
    /// `LogRotationPolicy` or `LogDestination`.
    pub kind: &'static str,
    /// The object.
    pub object: Value,
    /// The field and the sentence; `None` is accepted.
    pub refused: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    log: Option<Value>,
    policy: Option<Value>,
    syslog: Option<Value>,
    destination: Option<Value>,
    refused: Option<String>,
}

/// All cases.
pub fn all() -> Vec<Case> {
    let cases: Vec<Written> = serde_yaml_ng::from_str(include_str!("rules.yaml")).unwrap();
    cases.into_iter().map(Written::case).collect()
}

impl Written {
    fn case(self) -> Case {
        let (kind, mut object) = match self {
            Written { log: Some(_), .. } | Written { policy: Some(_), .. } => ("LogRotationPolicy", policy()),
            _ => ("LogDestination", destination()),
        };
        let places = [
            ("/spec/logs/0", self.log),
            ("/spec/syslog", self.syslog),
            ("", self.policy.or(self.destination)),
        ];
        for (place, patch) in places {
            if let Some(patch) = patch {
                json_patch::merge(object.pointer_mut(place).unwrap(), &patch);
            }
        }
        Case { kind, object, refused: self.refused }
    }
}

fn policy() -> Value {
    json!({
        "apiVersion": "capstan.dev/v1alpha1",
        "kind": "LogRotationPolicy",
        "metadata": { "name": "web" },
        "spec": { "logs": [{
            "name": "access",
            "files": { "include": ["/var/log/app/*.log"] },
            "rotate": {
                "when": { "size": "100Mi" },
                "reopen": { "preset": "Gunicorn" },
                "retention": { "count": 4 },
            },
            "forward": { "destinations": [{ "name": "central" }] },
        }] },
    })
}

fn destination() -> Value {
    json!({
        "apiVersion": "capstan.dev/v1alpha1",
        "kind": "LogDestination",
        "metadata": { "name": "central" },
        "spec": { "syslog": { "endpoints": [{ "host": "logs.example.com", "port": 6514 }] } },
    })
}
