//! Alerts and dashboard speak of metrics that operator and sidecar have.

use std::collections::BTreeSet;
use std::path::Path;

use crate::helm;
use crate::monitoring::{RULES, queries};

/// A metric that is renamed in the code would leave an alert that never goes off.
#[test]
fn every_metric_of_alerts_and_dashboard_stands_in_the_code() {
    let code = ["sidecar/src", "operator/src"].map(|folder| sources(&helm::root().join(folder))).concat();
    let mut text = std::fs::read_to_string(helm::root().join(RULES)).unwrap();
    for (_, query) in queries() {
        text.push_str(&query);
        text.push('\n');
    }
    let mut missing = BTreeSet::new();
    for word in text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
        let Some(name) =
            word.strip_prefix("capstan_sidecar_").or_else(|| word.strip_prefix("capstan_operator_"))
        else {
            continue;
        };
        let name = name.trim_end_matches("_bucket");
        if !code.contains(&format!("\"{name}\"")) && !code.contains(&format!("_{name}\"")) {
            missing.insert(word);
        }
    }
    assert!(missing.is_empty(), "nobody exports {missing:?}");
}

fn sources(folder: &Path) -> String {
    let mut text = String::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            text.push_str(&sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&std::fs::read_to_string(path).unwrap());
        }
    }
    text
}
