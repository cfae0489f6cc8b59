//! Each rule in CEL, accepted and refused, as the API server would do it.
#![allow(clippy::unwrap_used, reason = "a test ends at the first thing that is not as it should be")]

use capstan_crds::manifest;
use kube::core::cel::Validator;
use serde_json::{Value, json};

/// The messages for an object of the kind that stands at `index` among the definitions.
fn messages(index: usize, object: &Value) -> Vec<String> {
    let definition = &manifest::definitions().unwrap()[index];
    let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    match Validator::new().validate(schema, object, None) {
        Ok(()) => Vec::new(),
        Err(errors) => errors
            .into_vec()
            .into_iter()
            .map(|error| format!("{}: {}", error.field_path, error.message))
            .collect(),
    }
}

/// A policy whose only log is changed by `change`.
fn policy(change: impl FnOnce(&mut Value)) -> Value {
    let mut log = json!({
        "name": "access",
        "files": { "include": ["/var/log/app/*.log"] },
        "rotate": {
            "when": { "size": "100Mi" },
            "reopen": { "preset": "Gunicorn" },
            "retention": { "count": 4 },
        },
        "forward": { "destinations": [{ "name": "central" }] },
    });
    change(&mut log);
    json!({ "metadata": { "name": "web" }, "spec": { "logs": [log] } })
}

/// A destination whose `syslog` is changed by `change`.
fn destination(change: impl FnOnce(&mut Value)) -> Value {
    let mut syslog = json!({ "endpoints": [{ "host": "logs.example.com", "port": 6514 }] });
    change(&mut syslog);
    json!({ "metadata": { "name": "central" }, "spec": { "syslog": syslog } })
}

#[track_caller]
fn accepts_policy(change: impl FnOnce(&mut Value)) {
    assert_eq!(messages(0, &policy(change)), Vec::<String>::new());
}

#[track_caller]
fn refuses_policy(change: impl FnOnce(&mut Value), message: &str) {
    assert_eq!(messages(0, &policy(change)), [message]);
}

#[track_caller]
fn accepts_destination(change: impl FnOnce(&mut Value)) {
    assert_eq!(messages(1, &destination(change)), Vec::<String>::new());
}

#[track_caller]
fn refuses_destination(change: impl FnOnce(&mut Value), message: &str) {
    assert_eq!(messages(1, &destination(change)), [message]);
}

/// Takes a key out of an object.
fn without(object: &mut Value, key: &str) {
    object.as_object_mut().unwrap().remove(key);
}

#[test]
fn names_are_short_labels() {
    let named = |name: &str| {
        let mut policy = policy(|_| {});
        policy["metadata"]["name"] = name.into();
        messages(0, &policy)
    };
    let refusal =
        [": metadata.name must be lower-case letters, digits and inner hyphens, at most 55 characters"];
    assert!(named(&"x".repeat(55)).is_empty());
    assert_eq!(named(&"x".repeat(56)), refusal);
    assert_eq!(named("a.b"), refusal);
    let named = |name: &str| {
        let mut destination = destination(|_| {});
        destination["metadata"]["name"] = name.into();
        messages(1, &destination)
    };
    let refusal =
        [": metadata.name must be lower-case letters, digits and inner hyphens, at most 32 characters"];
    assert!(named(&"x".repeat(32)).is_empty());
    assert_eq!(named(&"x".repeat(33)), refusal);
    assert_eq!(named("a.b"), refusal);
}

#[test]
fn a_log_is_rotated_or_forwarded() {
    accepts_policy(|_| {});
    accepts_policy(|log| without(log, "rotate"));
    accepts_policy(|log| without(log, "forward"));
    refuses_policy(
        |log| {
            without(log, "rotate");
            without(log, "forward");
        },
        "spec.logs[0]: write rotate, forward or both",
    );
}

#[test]
fn a_log_has_one_source() {
    accepts_policy(|log| {
        without(log, "files");
        log["syslog"] = json!({ "udpPort": 5514 });
    });
    refuses_policy(|log| without(log, "files"), "spec.logs[0]: write exactly one of files and syslog");
    refuses_policy(
        |log| log["syslog"] = json!({ "udpPort": 5514 }),
        "spec.logs[0]: write exactly one of files and syslog",
    );
    refuses_policy(
        |log| {
            without(log, "files");
            log["syslog"] = json!({});
        },
        "spec.logs[0].syslog: write at least one of udpPort, tcpPort and socketDirectory",
    );
}

#[test]
fn archives_that_nobody_has_are_not_deleted_at_once() {
    accepts_policy(|log| log["rotate"]["retention"] = json!({ "count": 0 }));
    refuses_policy(
        |log| {
            log["rotate"]["retention"] = json!({ "count": 0 });
            without(log, "forward");
        },
        "spec.logs[0]: rotate.retention.count is 0 for a log that is not forwarded, so every archive would be lost; \
         write at least 1",
    );
}

#[test]
fn only_renaming_needs_a_way_to_reopen() {
    accepts_policy(|log| log["rotate"]["method"] = "Rename".into());
    accepts_policy(|log| {
        log["rotate"]["method"] = "InPlace".into();
        without(&mut log["rotate"], "reopen");
    });
    refuses_policy(
        |log| log["rotate"]["method"] = "InPlace".into(),
        "spec.logs[0].rotate: reopen has no meaning with method InPlace; leave it out",
    );
    refuses_policy(
        |log| without(&mut log["rotate"], "reopen"),
        "spec.logs[0].rotate: write in reopen how the app is told to open its file again, such as {preset: Gunicorn} \
         or {none: {}}",
    );
}

#[test]
fn only_emptying_in_place_may_lose() {
    accepts_policy(|log| log["rotate"]["allowLoss"] = false.into());
    accepts_policy(|log| {
        log["rotate"] = json!({ "when": { "size": 1 }, "method": "InPlace", "allowLoss": true, "retention": { "count": 1 } });
    });
    refuses_policy(
        |log| log["rotate"]["allowLoss"] = true.into(),
        "spec.logs[0].rotate: allowLoss has a meaning only with method InPlace; leave it out",
    );
}

#[test]
fn a_rotation_has_a_time() {
    accepts_policy(|log| log["rotate"]["when"] = json!({ "schedule": "@daily", "timeZone": "Asia/Seoul" }));
    accepts_policy(|log| log["rotate"]["when"] = json!({ "schedule": "@daily", "ifEmpty": true }));
    accepts_policy(|log| {
        log["rotate"]["when"] = json!({ "size": "100Mi", "schedule": "@daily", "minSize": "1Ki" })
    });
    accepts_policy(|log| log["rotate"]["when"] = json!({ "size": 1024, "minSize": "1Ki" }));
    let refused = |when: Value, message: &str| {
        refuses_policy(|log| log["rotate"]["when"] = when, &format!("spec.logs[0].rotate.when: {message}"));
    };
    refused(json!({}), "write size, schedule or both");
    refused(
        json!({ "size": 1, "timeZone": "Asia/Seoul" }),
        "timeZone has no meaning without schedule; leave it out or write a schedule",
    );
    refused(
        json!({ "schedule": "@daily", "ifEmpty": true, "minSize": 1 }),
        "minSize contradicts ifEmpty; leave one of them out",
    );
    refused(json!({ "size": "1Mi", "minSize": "1.5Mi" }), "minSize is more than size; write at most that");
    refused(json!({ "size": 1, "minSize": 2 }), "minSize is more than size; write at most that");
}

#[test]
fn an_app_is_told_to_reopen_in_one_way() {
    let ways = [
        ("preset", json!("Nginx")),
        ("signal", json!({ "name": "SIGHUP", "process": { "pidFile": "/run/app.pid" } })),
        ("http", json!({ "port": 9901, "path": "/reopen_logs" })),
        ("fifo", json!({ "path": "/run/uwsgi.fifo", "write": "l" })),
        ("none", json!({})),
    ];
    let refusal = "spec.logs[0].rotate.reopen: write exactly one of preset, signal, http, fifo and none";
    for (name, way) in &ways {
        accepts_policy(|log| log["rotate"]["reopen"] = json!({ *name: way, "timeout": "30s" }));
        for (other, way_too) in ways.iter().filter(|(other, _)| other != name) {
            refuses_policy(|log| log["rotate"]["reopen"] = json!({ *name: way, *other: way_too }), refusal);
        }
    }
    refuses_policy(|log| log["rotate"]["reopen"] = json!({ "timeout": "30s" }), refusal);
}

#[test]
fn a_signal_has_a_target() {
    accepts_policy(|log| {
        log["rotate"]["reopen"] =
            json!({ "signal": { "name": "USR1", "process": { "commandPattern": "^app" } } });
    });
    refuses_policy(
        |log| log["rotate"]["reopen"] = json!({ "signal": { "name": "USR1", "process": {} } }),
        "spec.logs[0].rotate.reopen.signal.process: write which process gets the signal: commandPattern, pidFile or both",
    );
}

#[test]
fn archives_have_a_limit() {
    for limit in [json!({ "count": 1 }), json!({ "age": "28d" }), json!({ "totalSize": "1Gi" })] {
        accepts_policy(|log| log["rotate"]["retention"] = limit);
    }
    refuses_policy(
        |log| log["rotate"]["retention"] = json!({ "whenUnconfirmed": "Keep" }),
        "spec.logs[0].rotate.retention: write at least one limit: count, age or totalSize",
    );
}

#[test]
fn a_destination_is_of_one_kind_and_somewhere() {
    accepts_destination(|_| {});
    accepts_destination(|syslog| *syslog = json!({ "preset": "Loggly" }));
    let nowhere = json!({ "metadata": { "name": "central" }, "spec": {} });
    assert_eq!(messages(1, &nowhere), ["spec: write exactly one kind of destination; there is syslog"]);
    refuses_destination(
        |syslog| without(syslog, "endpoints"),
        "spec.syslog: write endpoints, or a preset that has its own",
    );
}

#[test]
fn a_datagram_proves_nothing_and_needs_no_frame() {
    let best_effort = json!({ "mode": "BestEffort" });
    accepts_destination(|syslog| {
        syslog["transport"] = "UDP".into();
        syslog["delivery"] = best_effort.clone();
    });
    for delivery in [Value::Null, json!({}), json!({ "mode": "AtLeastOnce" })] {
        refuses_destination(
            |syslog| {
                syslog["transport"] = "UDP".into();
                syslog["delivery"] = delivery;
                if syslog["delivery"].is_null() {
                    without(syslog, "delivery");
                }
            },
            "spec.syslog: transport UDP cannot prove delivery; write delivery.mode BestEffort, or transport TLS",
        );
    }
    refuses_destination(
        |syslog| {
            syslog["transport"] = "UDP".into();
            syslog["delivery"] = best_effort.clone();
            syslog["framing"] = "LineFeed".into();
        },
        "spec.syslog: framing has no meaning with transport UDP; leave it out",
    );
}

#[test]
fn certificates_and_the_usual_port_belong_to_tls() {
    accepts_destination(|syslog| *syslog = json!({ "endpoints": [{ "host": "a" }], "tls": {} }));
    accepts_destination(|syslog| syslog["transport"] = "TCP".into());
    refuses_destination(
        |syslog| {
            syslog["transport"] = "TCP".into();
            syslog["tls"] = json!({});
        },
        "spec.syslog: tls has a meaning only with transport TLS; leave it out",
    );
    refuses_destination(
        |syslog| {
            *syslog =
                json!({ "endpoints": [{ "host": "a", "port": 1 }, { "host": "b" }], "transport": "TCP" })
        },
        "spec.syslog: endpoints need a port with transport TCP and UDP; only TLS has a usual one, 6514",
    );
}

#[test]
fn a_certificate_is_trusted_for_one_reason() {
    let key = json!({ "name": "ca", "key": "ca.crt" });
    accepts_destination(|syslog| syslog["tls"] = json!({ "ca": { "configMapKeyRef": key } }));
    accepts_destination(|syslog| syslog["tls"] = json!({ "ca": { "secretKeyRef": key } }));
    accepts_destination(|syslog| syslog["tls"] = json!({ "fingerprints": ["sha-256:00"] }));
    refuses_destination(
        |syslog| syslog["tls"] = json!({ "ca": { "secretKeyRef": key }, "fingerprints": ["sha-256:00"] }),
        "spec.syslog.tls: write ca or fingerprints, not both; a fingerprint needs no authority",
    );
    let refusal = "spec.syslog.tls.ca: write exactly one of configMapKeyRef and secretKeyRef";
    refuses_destination(|syslog| syslog["tls"] = json!({ "ca": {} }), refusal);
    refuses_destination(
        |syslog| syslog["tls"] = json!({ "ca": { "secretKeyRef": key, "configMapKeyRef": key } }),
        refusal,
    );
}

#[test]
fn an_element_has_one_name() {
    let secret = json!({ "name": "loggly", "key": "sdId" });
    accepts_destination(|syslog| syslog["structuredData"] = json!([{ "id": { "value": "origin" } }]));
    accepts_destination(|syslog| syslog["structuredData"] = json!([{ "id": { "secretKeyRef": secret } }]));
    let refusal = "spec.syslog.structuredData[0].id: write exactly one of value and secretKeyRef";
    refuses_destination(|syslog| syslog["structuredData"] = json!([{ "id": {} }]), refusal);
    refuses_destination(
        |syslog| syslog["structuredData"] = json!([{ "id": { "value": "origin", "secretKeyRef": secret } }]),
        refusal,
    );
}

#[test]
fn every_rule_compiles_and_is_tried_here() {
    fn rules(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(keys) => {
                for rule in
                    keys.get("x-kubernetes-validations").and_then(Value::as_array).into_iter().flatten()
                {
                    found.push(rule["message"].as_str().unwrap().to_owned());
                }
                keys.values().for_each(|below| rules(below, found));
            }
            Value::Array(items) => items.iter().for_each(|below| rules(below, found)),
            _ => {}
        }
    }
    let this_file = include_str!("rules.rs").replace("\\\n         ", "");
    for definition in manifest::definitions().unwrap() {
        let mut found = Vec::new();
        rules(&definition, &mut found);
        assert!(found.len() >= 8);
        for message in found {
            assert!(this_file.contains(&message), "no test has this message: {message}");
        }
    }
}
