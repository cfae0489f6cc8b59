//! The examples: each a folder that is complete, and that a restricted namespace takes.

use std::collections::BTreeSet;

use capstan_crds::{LogDestination, LogRotationPolicy};
use serde_json::Value;

use crate::helm::{self, documents};
use crate::restricted;

const APPS: [&str; 4] = ["file-writer", "gunicorn", "job", "nginx"];

fn folder(name: &str) -> Vec<Value> {
    let mut paths: Vec<_> = std::fs::read_dir(helm::root().join("examples").join(name))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    let yaml = paths.iter().filter(|path| path.extension().is_some_and(|one| one == "yaml"));
    yaml.flat_map(|path| documents(&std::fs::read_to_string(path).unwrap())).collect()
}

fn pod_template(object: &Value) -> Option<&Value> {
    ["Deployment", "Job"].contains(&object["kind"].as_str()?).then(|| &object["spec"]["template"])
}

fn one<'a>(objects: &'a [Value], kind: &str) -> &'a Value {
    let found = helm::of_kind(objects, kind);
    assert_eq!(found.len(), 1, "{kind}");
    found[0]
}

#[test]
fn each_example_is_complete() {
    for name in APPS {
        let objects = folder(name);
        let policy = one(&objects, "LogRotationPolicy")["metadata"]["name"].as_str().unwrap();
        let templates: Vec<_> = objects.iter().filter_map(pod_template).collect();
        assert_eq!(templates.len(), 1, "{name}");
        assert_eq!(templates[0]["metadata"]["annotations"]["capstan.dev/policy"], policy, "{name}");
        assert_eq!(one(&objects, "LogDestination")["metadata"]["name"], "receiver", "{name}");
        assert!(helm::root().join("examples").join(name).join("README.md").exists());
    }
}

#[test]
fn examples_are_in_no_namespace_and_agree_on_the_receiver() {
    let mut destinations = BTreeSet::new();
    for name in APPS.iter().chain(&["receiver"]) {
        for object in folder(name) {
            assert!(object["metadata"].get("namespace").is_none(), "{name}: {}", helm::identity(&object));
        }
        destinations.extend(helm::of_kind(&folder(name), "LogDestination").iter().map(|one| one.to_string()));
    }
    assert_eq!(destinations.len(), 1);
}

#[test]
fn policies_and_destinations_have_no_field_that_the_definitions_do_not_know() {
    for name in APPS {
        for object in folder(name) {
            // A field that the type does not know is dropped by reading, and missing afterwards.
            let again = match object["kind"].as_str().unwrap() {
                "LogRotationPolicy" => {
                    serde_json::to_value(serde_json::from_value::<LogRotationPolicy>(object.clone()).unwrap())
                }
                "LogDestination" => {
                    serde_json::to_value(serde_json::from_value::<LogDestination>(object.clone()).unwrap())
                }
                _ => continue,
            };
            assert_eq!(again.unwrap()["spec"], object["spec"], "{name}");
        }
    }
}

#[test]
fn the_pods_of_examples_pass_restricted() {
    for name in APPS.iter().chain(&["receiver", "prometheus"]) {
        for object in folder(name) {
            if let Some(template) = pod_template(&object) {
                restricted::check(&template["spec"], name);
                assert!(template["spec"]["securityContext"]["runAsUser"].is_u64(), "{name}");
            }
        }
    }
}

#[test]
fn logs_of_a_policy_are_on_a_volume_of_its_pod() {
    for name in APPS {
        let objects = folder(name);
        let template = objects.iter().find_map(pod_template).unwrap();
        let mounts = template["spec"]["containers"][0]["volumeMounts"].as_array().unwrap();
        for log in one(&objects, "LogRotationPolicy")["spec"]["logs"].as_array().unwrap() {
            for pattern in log["files"]["include"].as_array().unwrap() {
                let pattern = pattern.as_str().unwrap();
                let on =
                    mounts.iter().find(|mount| pattern.starts_with(mount["mountPath"].as_str().unwrap()));
                let volume = &on.unwrap_or_else(|| panic!("{name}: {pattern} is on no volume"))["name"];
                let narrowed = template["metadata"]["annotations"].get("capstan.dev/volumes");
                assert!(
                    narrowed.is_none_or(|only| only == volume),
                    "{name}: {pattern} is on the volume {volume}"
                );
            }
        }
    }
}

#[test]
fn the_receivers_certificate_comes_with_all_that_its_pod_and_the_senders_need() {
    let script = helm::root().join("examples/receiver/certificate.sh");
    let output = std::process::Command::new(script).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let made = documents(&String::from_utf8(output.stdout).unwrap());
    let (secret, ca) = (one(&made, "Secret"), one(&made, "ConfigMap"));
    let volumes = folder("receiver").iter().find_map(pod_template).unwrap()["spec"]["volumes"].to_string();
    assert!(volumes.contains(secret["metadata"]["name"].as_str().unwrap()), "{volumes}");
    for key in ["ca.crt", "tls.crt", "tls.key"] {
        assert!(secret["stringData"][key].as_str().unwrap().starts_with("-----BEGIN"), "{key}");
    }
    assert_eq!(ca["data"]["ca.crt"], secret["stringData"]["ca.crt"]);
    let destination =
        &one(&folder("gunicorn"), "LogDestination")["spec"]["syslog"]["tls"]["ca"]["configMapKeyRef"].clone();
    assert_eq!(destination["name"], ca["metadata"]["name"]);
    assert_eq!(destination["key"], "ca.crt");
}
