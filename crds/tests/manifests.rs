//! The YAML beside this package is made from its types, and short enough.
#![allow(clippy::unwrap_used, reason = "a test ends at the first thing that is not as it should be")]

use std::fs;
use std::path::Path;

use capstan_crds::manifest;
use serde_json::Value;

#[test]
fn the_files_are_those_that_crdgen_writes() {
    for (name, text) in manifest::files().unwrap() {
        let file = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(&name)).unwrap();
        assert!(file == text, "{name} is not current: run `cargo run -p capstan-crds --bin crdgen`");
        assert!(text.len() <= manifest::MAX_BYTES, "{name} has {} bytes", text.len());
    }
}

#[test]
fn there_are_two_kinds_with_short_names_and_columns() {
    let definitions = manifest::definitions().unwrap();
    let names: Vec<&str> = definitions.iter().map(|crd| crd["metadata"]["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["logrotationpolicies.capstan.dev", "logdestinations.capstan.dev"]);
    let columns = |crd: &Value| -> Vec<String> {
        let columns = crd["spec"]["versions"][0]["additionalPrinterColumns"].as_array().unwrap();
        columns.iter().map(|column| column["name"].as_str().unwrap().to_uppercase()).collect()
    };
    assert_eq!(columns(&definitions[0]), ["READY", "REASON", "PODS", "INJECTED", "UP-TO-DATE", "AGE"]);
    assert_eq!(columns(&definitions[1]), ["READY", "REASON", "USED-BY", "CONNECTED", "AGE"]);
}

/// Calls `look` with every schema below, and its path.
fn walk(schema: &Value, path: &str, look: &mut impl FnMut(&str, &Value)) {
    look(path, schema);
    for (name, below) in schema["properties"].as_object().into_iter().flatten() {
        walk(below, &format!("{path}.{name}"), look);
    }
    if schema["items"].is_object() {
        walk(&schema["items"], &format!("{path}[]"), look);
    }
}

#[test]
fn everything_is_bounded_described_and_never_filled_in() {
    for definition in manifest::definitions().unwrap() {
        let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
        walk(schema, "spec", &mut |path, schema| {
            let bounded = |key: &str| assert!(!schema[key].is_null(), "{path} has no {key}");
            match schema["type"].as_str() {
                Some("string") if schema["enum"].is_null() => bounded("maxLength"),
                Some("array") => bounded("maxItems"),
                Some("integer") => bounded("maximum"),
                _ => {}
            }
            assert!(schema["default"].is_null(), "{path} has a default");
            assert!(schema["nullable"].is_null(), "{path} is nullable");
            let items = path.ends_with("[]");
            assert!(items || schema["description"].is_string(), "{path} has no description");
        });
    }
}
