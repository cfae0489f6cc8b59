//! The chart of the definitions against the definitions.

use serde_json::Value;

use crate::helm::{self, CRDS, documents, objects};

const NAMES: [&str; 2] = ["logdestinations.capstan.dev", "logrotationpolicies.capstan.dev"];

#[test]
fn the_chart_has_the_definitions_of_the_repository() {
    for name in NAMES {
        let read = |folder: &str| {
            std::fs::read_to_string(helm::root().join(folder).join(format!("{name}.yaml"))).unwrap()
        };
        let same = read("crds") == read("charts/capstan-crds/files");
        assert!(same, "charts/capstan-crds/files/{name}.yaml is out of date; run `make charts`");
    }
    let files = std::fs::read_dir(helm::root().join("charts/capstan-crds/files")).unwrap().count();
    assert_eq!(files, NAMES.len());
}

#[test]
fn what_is_installed_is_what_kubectl_would_apply() {
    let rendered = objects(CRDS, &["labels.team=platform"]);
    assert_eq!(rendered.len(), NAMES.len());
    for (object, name) in rendered.iter().zip(NAMES) {
        let text = std::fs::read_to_string(helm::root().join("crds").join(format!("{name}.yaml"))).unwrap();
        let expected = &documents(&text)[0];
        for key in ["apiVersion", "kind", "spec"] {
            assert_eq!(object[key], expected[key], "{name}: {key}");
        }
        assert_eq!(object["metadata"]["name"], name);
        assert_eq!(object["metadata"]["labels"]["team"], "platform");
        assert_eq!(object["metadata"]["annotations"]["helm.sh/resource-policy"], "keep");
    }
}

#[test]
fn uninstalling_takes_the_definitions_along_only_if_asked_to() {
    let kept = |object: &Value| object.pointer("/metadata/annotations/helm.sh~1resource-policy").is_some();
    assert!(objects(CRDS, &[]).iter().all(kept));
    assert!(!objects(CRDS, &["keep=false"]).iter().any(kept));
}
