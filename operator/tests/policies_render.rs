//! Every valid spec becomes a file that every sidecar accepts.
#![allow(clippy::unwrap_used, reason = "a test ends at the first thing that is not as it should be")]

use std::sync::Arc;

use capstan_crds::{LogDestination, LogRotationPolicy};
use capstan_operator::presets::{APPS, HowToReopen, RECEIVERS};
use capstan_operator::reconcile::build;
use capstan_operator::reconcile::validate::{self, Found, FoundDestination};
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

fn name() -> impl Strategy<Value = String> {
    "[a-z0-9]([-a-z0-9]{0,20}[a-z0-9])?"
}

fn size() -> impl Strategy<Value = Value> {
    prop_oneof![
        (1_u32..1 << 30).prop_map(Value::from),
        (1_u32..1000, select(vec!["k", "M", "Ki", "Mi", "Gi"]))
            .prop_map(|(n, unit)| format!("{n}{unit}").into()),
    ]
}

/// At most a day, as everything that is waited for.
fn span() -> impl Strategy<Value = Value> {
    (1_u32..24, select(vec!["s", "m", "h"])).prop_map(|(n, unit)| format!("{n}{unit}").into())
}

fn when() -> impl Strategy<Value = Value> {
    let schedule = select(vec!["@daily", "@weekly", "5 4 * * *", "30 6 * * mon-fri"]);
    prop_oneof![
        size().prop_map(|size| json!({ "size": size })),
        (schedule.clone(), select(vec!["UTC", "Asia/Seoul", "America/New_York"]))
            .prop_map(|(schedule, zone)| json!({ "schedule": schedule, "timeZone": zone })),
        (schedule, any::<bool>())
            .prop_map(|(schedule, empty)| json!({ "schedule": schedule, "ifEmpty": empty })),
    ]
}

fn reopen() -> impl Strategy<Value = Value> {
    let usable = APPS.iter().filter(|(_, how)| !matches!(how, HowToReopen::Not(_)));
    let presets: Vec<&str> = usable.map(|(name, _)| *name).collect();
    let way = prop_oneof![
        select(presets).prop_map(|preset| json!({ "preset": preset })),
        Just(json!({ "none": {} })),
        select(vec!["SIGHUP", "USR1", "SIGUSR2"]).prop_map(
            |signal| json!({ "signal": { "name": signal, "process": { "pidFile": "/run/app.pid" } } })
        ),
        "[a-z]{1,9}".prop_map(
            |word| json!({ "signal": { "name": "HUP", "process": { "commandPattern": format!("^{word}\\b") } } })
        ),
    ];
    (way, proptest::option::of(span())).prop_map(|(mut way, timeout)| {
        if let Some(timeout) = timeout {
            way["timeout"] = timeout;
        }
        way
    })
}

fn rotate() -> impl Strategy<Value = Value> {
    let retention = prop_oneof![
        (1_u32..1000).prop_map(|count| json!({ "count": count })),
        (1_u32..90).prop_map(|days| json!({ "age": format!("{days}d"), "whenUnconfirmed": "Delete" })),
        size().prop_map(|size| json!({ "totalSize": size })),
    ];
    let archive = select(vec![json!({}), json!({ "directory": "old", "compression": "None" })]);
    (when(), reopen(), retention, archive).prop_map(|(when, reopen, retention, archive)| {
        json!({ "when": when, "reopen": reopen, "retention": retention, "archive": archive, "mode": "0640" })
    })
}

fn forward(destinations: Vec<String>) -> impl Strategy<Value = Value> {
    let hostname = select(vec!["Pod", "Node", "Workload", "web.example.com"]);
    let words = vec!["Namespace", "Pod", "PodUid", "Container", "Node", "Workload"];
    let metadata = proptest::sample::subsequence(words, 0..=6);
    let facility = select(vec!["Local0", "AuthPriv", "Daemon"]);
    (select(destinations), proptest::option::of(hostname), metadata, facility).prop_map(
        |(to, hostname, metadata, facility)| {
            let mut forward =
                json!({ "destinations": [{ "name": to }], "metadata": metadata, "facility": facility });
            if let Some(hostname) = hostname {
                forward["hostname"] = hostname.into();
            }
            forward
        },
    )
}

fn destination() -> impl Strategy<Value = Value> {
    let receivers: Vec<&str> = RECEIVERS.iter().map(|receiver| receiver.name).collect();
    let tls = select(vec![
        json!({}),
        json!({ "ca": { "configMapKeyRef": { "name": "ca", "key": "ca.crt" } }, "minVersion": "TLS1.3" }),
        json!({ "ca": { "secretKeyRef": { "name": "ca", "key": "ca.crt" } } }),
        json!({ "clientCertificate": { "secretRef": { "name": "client" } }, "serverName": "logs" }),
    ]);
    let element = select(vec![
        json!([]),
        json!([{ "id": { "value": "origin" }, "params": [{ "name": "a", "value": "b" }] }]),
        json!([{ "id": { "secretKeyRef": { "name": "token", "key": "sdId" } } }]),
    ]);
    (proptest::option::of(select(receivers)), tls, element, span()).prop_map(
        |(preset, tls, element, span)| {
            let mut syslog = json!({
                "endpoints": [{ "host": "logs.example.com" }],
                "tls": tls,
                "structuredData": element,
                "delivery": { "rollAge": span },
            });
            if let Some(preset) = preset {
                syslog["preset"] = preset.into();
            }
            json!({ "syslog": syslog })
        },
    )
}

/// A policy, and the destinations that it names.
fn everything() -> impl Strategy<Value = (LogRotationPolicy, Found)> {
    let destinations = proptest::collection::btree_map(name(), destination(), 1..4);
    destinations.prop_flat_map(|destinations| {
        let names: Vec<String> = destinations.keys().cloned().collect();
        let log = (rotate(), proptest::option::of(forward(names)));
        let logs = proptest::collection::btree_map(name(), log, 1..5);
        (name(), logs, Just(destinations)).prop_map(|(name, logs, destinations)| {
            let log = |(name, (rotate, forward)): (String, (Value, Option<Value>))| {
                let include = format!("/var/log/{name}/*.log");
                let mut log = json!({ "name": name, "files": { "include": [include] }, "rotate": rotate });
                if let Some(forward) = forward {
                    log["forward"] = forward;
                }
                log
            };
            let logs: Vec<Value> = logs.into_iter().map(log).collect();
            let spec = serde_json::from_value(json!({ "logs": logs })).unwrap();
            let found = |(name, spec): (String, Value)| {
                let destination = LogDestination::new(&name, serde_json::from_value(spec).unwrap());
                let authority = Some(Ok("-----BEGIN CERTIFICATE-----".to_owned()));
                (name, Ok(FoundDestination { destination: Arc::new(destination), authority }))
            };
            (LogRotationPolicy::new(&name, spec), destinations.into_iter().map(found).collect())
        })
    })
}

proptest! {
    #[test]
    fn every_valid_spec_is_accepted_by_every_sidecar((policy, found) in everything()) {
        let validated = validate::policy(&policy, &found);
        let validated = validated.map_err(|problems| TestCaseError::fail(format!("{problems:?}")))?;
        let objects = build::objects(&policy, &validated);
        let files = objects.config_map.data.unwrap();
        let config = capstan_config::parse(files["config.v1.json"].as_bytes());
        prop_assert_eq!(config.as_ref(), Ok(&validated.config));
        let name = policy.metadata.name.unwrap();
        prop_assert_eq!(validated.config.policy.as_str(), name.as_str());
        // What the file says is in the policy's directory is there, and everything else is mounted.
        for destination in &validated.config.destinations {
            let ca = destination.syslog.tls.as_ref().and_then(|tls| tls.ca_file.as_ref());
            let Some(path) = ca.map(ToString::to_string) else { continue };
            let own = path.strip_prefix(&format!("/etc/capstan/policies/{name}/"));
            let mounted = validated.secrets.iter().any(|secret| {
                path.starts_with(&format!("{}/", capstan_config::names::secret_directory(secret)))
            });
            prop_assert!(own.is_some_and(|file| files.contains_key(file)) || mounted, "{}", path);
        }
    }
}
