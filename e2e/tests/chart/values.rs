//! What the values' schema refuses, and how it says so; and that every value is told of.

use serde_json::Value;

use crate::helm::{self, CAPSTAN, CRDS, documents, render};

fn refused(chart: &str, value: &str, path: &str, sentence: &str) {
    let said = render(chart, &[value]).err().unwrap_or_else(|| panic!("{value} was taken"));
    assert!(said.contains(&format!("at '{path}'")), "{value}: {said}");
    assert!(said.contains(sentence), "{value}: {said}");
}

#[test]
fn a_value_that_cannot_be_is_refused_by_its_path() {
    refused(CAPSTAN, "wehook.replicas=2", "", "'wehook' not allowed");
    refused(CAPSTAN, "webhook.replica=2", "/webhook", "'replica' not allowed");
    refused(CAPSTAN, "controller.replicas=0", "/controller/replicas", "minimum: got 0, want 1");
    refused(
        CAPSTAN,
        "webhook.failurePolicy=ignore",
        "/webhook/failurePolicy",
        "must be one of 'Ignore', 'Fail'",
    );
    refused(
        CAPSTAN,
        "webhook.certificate.source=Helm",
        "/webhook/certificate/source",
        "'BuiltIn', 'CertManager', 'Secret'",
    );
    refused(
        CAPSTAN,
        "webhook.certificate.issuerRef.name=x",
        "/webhook/certificate/source",
        "must be 'CertManager'",
    );
    refused(CAPSTAN, "webhook.timeoutSeconds=60", "/webhook/timeoutSeconds", "maximum: got 60, want 30");
    refused(CAPSTAN, "image.repository=capstan:1", "/image/repository", "does not match pattern");
    refused(CAPSTAN, "sidecar.image.digest=latest", "/sidecar/image/digest", "does not match pattern");
    refused(CAPSTAN, "watchNamespaces={Shop}", "/watchNamespaces/0", "does not match pattern");
    refused(
        CAPSTAN,
        "controller.sweepInterval=5 minutes",
        "/controller/sweepInterval",
        "does not match pattern",
    );
    refused(CAPSTAN, "controller.sweepInterval=0s", "/controller/sweepInterval", "does not match pattern");
    refused(CAPSTAN, "controller.feedbackInterval=1m1h", "/controller/feedbackInterval", "does not match");
    refused(CAPSTAN, "sidecar.resources.limits.cpu=x", "/sidecar/resources/limits/cpu", "does not match");
    refused(CAPSTAN, "sidecar.resources=null", "/sidecar", "missing property 'resources'");
    refused(CAPSTAN, "sidecar.guaranteedResources.cpu=null", "/sidecar/guaranteedResources", "'cpu'");
    refused(
        CAPSTAN,
        "networkPolicy.apiServerPorts={0}",
        "/networkPolicy/apiServerPorts/0",
        "minimum: got 0, want 1",
    );
    refused(CAPSTAN, "monitoring.podMonitor=true", "/monitoring/podMonitor", "got boolean, want object");
    refused(CRDS, "keep=maybe", "/keep", "got string, want boolean");
    refused(CRDS, "crds=true", "", "'crds' not allowed");
}

#[test]
fn a_namespace_is_not_watched_and_left_alone_at_once() {
    let said = render(CAPSTAN, &["watchNamespaces={shop,kube-system}"]).unwrap_err();
    assert!(
        said.contains("watchNamespaces: kube-system is among the namespaces that are left alone"),
        "{said}"
    );
}

/// Every value has a line in the README, so that `values.yaml` and the table cannot drift apart.
#[test]
fn the_readme_names_every_value() {
    for chart in [CAPSTAN, CRDS] {
        let folder = helm::root().join(chart);
        let values = &documents(&std::fs::read_to_string(folder.join("values.yaml")).unwrap())[0];
        let readme = std::fs::read_to_string(folder.join("README.md")).unwrap();
        for path in paths(values, "") {
            assert!(readme.contains(&format!("| `{path}` |")), "{chart}/README.md says nothing of {path}");
        }
    }
}

/// The schema knows each value, down to its leaves: without `additionalProperties: false` a typing error would pass.
#[test]
fn the_schema_is_closed_wherever_a_value_has_fields() {
    for chart in [CAPSTAN, CRDS] {
        let folder = helm::root().join(chart);
        let values = &documents(&std::fs::read_to_string(folder.join("values.yaml")).unwrap())[0];
        let schema: Value =
            serde_json::from_str(&std::fs::read_to_string(folder.join("values.schema.json")).unwrap())
                .unwrap();
        for path in paths(values, "") {
            let mut at = &schema;
            for key in path.split('.') {
                assert_eq!(at["additionalProperties"], false, "{chart}: the schema is open above {path}");
                at = at["properties"]
                    .get(key)
                    .unwrap_or_else(|| panic!("{chart}: the schema does not know {path}"));
            }
        }
    }
}

/// Maps that hold what their reader likes, and are thus values as a whole.
const LEAVES: &[&str] = &[
    "resources",
    "guaranteedResources",
    "podSecurityContext",
    "securityContext",
    "labels",
    "annotations",
    "issuerRef",
];

fn paths(value: &Value, prefix: &str) -> Vec<String> {
    let Some(fields) = value.as_object() else { return Vec::new() };
    let mut found = Vec::new();
    for (key, value) in fields {
        let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        match value.as_object() {
            Some(fields) if !fields.is_empty() && !LEAVES.contains(&key.as_str()) => {
                found.extend(paths(value, &path))
            }
            _ => found.push(path),
        }
    }
    found
}
