//! Pods and what becomes of them, in full: `golden/NAME.yaml` holds the pod and perhaps where it is created,
//! `golden/NAME.out.yaml` the outcome. With CAPSTAN_BLESS=1 the outcomes are written, to be read in the diff.
#![allow(clippy::unwrap_used, reason = "a test ends at the first thing that is not as it should be")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use capstan_operator::inject::status::Status;
use capstan_operator::inject::{Injection, Outcome};
use capstan_operator::names;
use serde::Deserialize;
use serde_json::{Value, json};

use support::{Surroundings, inject_into, patched};

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn cases() -> Vec<String> {
    let names =
        fs::read_dir(directory()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let cases = names.filter(|name| !name.ends_with(".out.yaml"));
    let mut cases: Vec<String> = cases.map(|name| name.strip_suffix(".yaml").unwrap().to_owned()).collect();
    cases.sort();
    assert!(cases.len() >= 20, "the pods were not found");
    cases
}

fn read(case: &str) -> (Value, Surroundings) {
    let text = fs::read_to_string(directory().join(format!("{case}.yaml"))).unwrap();
    let mut documents = serde_yaml_ng::Deserializer::from_str(&text);
    let pod = Value::deserialize(documents.next().unwrap()).unwrap();
    let surroundings = documents.next().map(|document| Surroundings::deserialize(document).unwrap());
    (pod, surroundings.unwrap_or_default())
}

/// What is worth reading: the pod as it becomes, its status spelled out, and what else was said.
fn describe(pod: &Value, injection: &Injection) -> String {
    let mut after = patched(pod, injection);
    let status =
        after.pointer_mut("/metadata/annotations").and_then(|all| all.as_object_mut()?.remove(names::STATUS));
    let status: Option<Value> = status.map(|text| serde_json::from_str(text.as_str().unwrap()).unwrap());
    let outcome = match injection.outcome {
        Outcome::Injected => "Injected".to_owned(),
        Outcome::Skipped(reason) => format!("Skipped: {reason}"),
    };
    let all = json!({ "outcome": outcome, "status": status, "missing": injection.missing, "pod": after });
    serde_yaml_ng::to_string(&all).unwrap()
}

#[test]
fn each_pod_becomes_what_is_written_down() {
    let bless = std::env::var_os("CAPSTAN_BLESS").is_some();
    for case in cases() {
        let (pod, surroundings) = read(&case);
        let outcome = describe(&pod, &inject_into(&pod, &surroundings));
        let file = directory().join(format!("{case}.out.yaml"));
        if bless {
            fs::write(&file, &outcome).unwrap();
        }
        assert_eq!(outcome, fs::read_to_string(&file).unwrap_or_default(), "{case}");
    }
}

#[test]
fn warnings_are_told_and_stand_in_the_status() {
    for case in cases() {
        let (pod, surroundings) = read(&case);
        let injection = inject_into(&pod, &surroundings);
        if injection.patch.is_empty() {
            assert!(injection.warnings.is_empty(), "{case}");
            continue;
        }
        let after = patched(&pod, &injection);
        let status = after["metadata"]["annotations"][names::STATUS].as_str().unwrap();
        let status: Status = serde_json::from_str(status).unwrap();
        assert_eq!(status.warnings, injection.warnings, "{case}");
        assert_eq!(status.injected, injection.outcome == Outcome::Injected, "{case}");
    }
}

#[test]
fn a_pod_that_was_injected_stays_as_it_is() {
    for case in cases() {
        let (pod, surroundings) = read(&case);
        let once = patched(&pod, &inject_into(&pod, &surroundings));
        let again = inject_into(&once, &surroundings);
        assert_eq!(again.patch, json_patch::Patch::default(), "{case}");
    }
}
