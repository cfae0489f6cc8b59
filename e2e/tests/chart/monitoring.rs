//! Alerts and dashboard: valid, unambiguous, and of metrics that there are.

use std::collections::BTreeSet;
use std::process::Output;

use serde_json::{Value, json};

use crate::helm::{self, CAPSTAN, EVERYTHING, documents, named, objects};

pub const RULES: &str = "charts/capstan/files/rules.yaml";
const DASHBOARD: &str = "charts/capstan/files/dashboard.json";

/// From PROMTOOL, from where `make setup` puts it, or from PATH.
fn promtool(arguments: &[&str]) -> Output {
    let unpacked = helm::root().join(".cache/prometheus/usr/bin/promtool");
    let name = if unpacked.exists() { unpacked.into_os_string() } else { "promtool".into() };
    let advice = "run `make setup`, put promtool (it comes with Prometheus) on PATH, or set PROMTOOL to it";
    helm::program("PROMTOOL", name, advice).current_dir(helm::root()).args(arguments).output().unwrap()
}

fn accepted(arguments: &[&str]) {
    let output = promtool(arguments);
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}");
}

fn dashboard() -> Value {
    serde_json::from_str(&std::fs::read_to_string(helm::root().join(DASHBOARD)).unwrap()).unwrap()
}

/// The queries of the dashboard with their panels' titles; what Grafana fills in is filled in.
pub fn queries() -> Vec<(String, String)> {
    let dashboard = dashboard();
    let mut found = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let mut query = target["expr"].as_str().unwrap().to_owned();
            for (variable, value) in [
                ("$__rate_interval", "5m"),
                ("$__range", "3h"),
                ("$namespace", ".*"),
                ("$policy", ".*"),
                ("$pod", ".*"),
            ] {
                query = query.replace(variable, value);
            }
            assert!(!query.contains('$'), "a variable that the dashboard does not have: {query}");
            found.push((panel["title"].as_str().unwrap().to_owned(), query));
        }
    }
    found
}

#[test]
fn alerts_are_valid_and_go_off_when_they_should() {
    accepted(&["check", "rules", RULES]);
    accepted(&["test", "rules", "e2e/tests/chart/rules.yaml"]);
}

#[test]
fn every_alert_says_what_to_do_and_has_a_test() {
    let rules = &documents(&std::fs::read_to_string(helm::root().join(RULES)).unwrap())[0];
    let tests = std::fs::read_to_string(helm::root().join("e2e/tests/chart/rules.yaml")).unwrap();
    let mut names = BTreeSet::new();
    for rule in
        rules["groups"].as_array().unwrap().iter().flat_map(|group| group["rules"].as_array().unwrap())
    {
        let name = rule["alert"].as_str().unwrap();
        assert!(names.insert(name), "{name} is there twice");
        assert!(tests.contains(name), "{name} has no test");
        for annotation in ["summary", "description", "runbook"] {
            assert!(rule["annotations"][annotation].is_string(), "{name} has no {annotation}");
        }
        assert!(["warning", "critical"].contains(&rule["labels"]["severity"].as_str().unwrap()), "{name}");
    }
}

#[test]
fn the_chart_brings_the_alerts_as_they_stand_in_the_file_but_those_left_out() {
    let all = objects(CAPSTAN, EVERYTHING);
    let rules = &documents(&std::fs::read_to_string(helm::root().join(RULES)).unwrap())[0];
    assert_eq!(named(&all, "PrometheusRule", "capstan")["spec"]["groups"], rules["groups"]);

    let values = [
        "monitoring.prometheusRule.enabled=true",
        "monitoring.prometheusRule.without={CapstanNotLed,CapstanAbsent}",
    ];
    let fewer = named(&objects(CAPSTAN, &values), "PrometheusRule", "capstan").to_string();
    assert!(!fewer.contains("CapstanNotLed") && !fewer.contains("CapstanAbsent"));
    assert!(fewer.contains("CapstanCertificateExpires"));
}

#[test]
fn nothing_of_the_prometheus_operator_is_there_unless_asked_for() {
    for object in objects(CAPSTAN, &[]) {
        assert_ne!(object["apiVersion"], "monitoring.coreos.com/v1", "{}", helm::identity(&object));
        assert!(!helm::identity(&object).contains("dashboard"));
    }
}

#[test]
fn monitors_find_operator_and_sidecars_by_the_name_of_their_port() {
    let objects = objects(CAPSTAN, EVERYTHING);
    let operator = named(&objects, "ServiceMonitor", "capstan-operator");
    let selector = operator["spec"]["selector"]["matchLabels"].as_object().unwrap();
    for component in ["webhook", "controller"] {
        let service = named(&objects, "Service", &format!("capstan-{component}-metrics"));
        for (label, value) in selector {
            assert_eq!(service["metadata"]["labels"][label], *value, "{component}");
        }
        assert_eq!(service["spec"]["ports"][0]["name"], operator["spec"]["endpoints"][0]["port"]);
        let deployment = named(&objects, "Deployment", &format!("capstan-{component}"));
        let ports = deployment["spec"]["template"]["spec"]["containers"][0]["ports"].as_array().unwrap();
        assert!(
            ports.iter().any(|port| port["name"] == service["spec"]["ports"][0]["targetPort"]),
            "{component}"
        );
    }
    let sidecars = named(&objects, "PodMonitor", "capstan-sidecars");
    assert_eq!(sidecars["spec"]["selector"]["matchLabels"], json!({ "capstan.dev/injected": "true" }));
    assert_eq!(sidecars["spec"]["podMetricsEndpoints"][0]["port"], "capstan-metrics");
}

#[test]
fn the_dashboards_panels_have_ids_of_their_own_and_do_not_overlap() {
    let dashboard = dashboard();
    let mut ids = BTreeSet::new();
    let mut cells = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{} has the id of another panel", panel["title"]);
        let place = |key: &str| panel["gridPos"][key].as_u64().unwrap();
        assert!(place("x") + place("w") <= 24, "{} is too wide", panel["title"]);
        for x in place("x")..place("x") + place("w") {
            for y in place("y")..place("y") + place("h") {
                assert!(cells.insert((x, y)), "{} lies over another panel", panel["title"]);
            }
        }
    }
    let rendered = objects(CAPSTAN, EVERYTHING);
    let text = named(&rendered, "ConfigMap", "capstan-dashboard")["data"]["capstan.json"].as_str().unwrap();
    assert_eq!(serde_json::from_str::<Value>(text).unwrap(), dashboard);
}

#[test]
fn the_dashboards_queries_are_promql() {
    let rule = |(index, (_, query)): (usize, &(String, String))| json!({ "record": format!("panel:{index}"), "expr": query });
    let rules: Vec<_> = queries().iter().enumerate().map(rule).collect();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), json!({ "groups": [{ "name": "dashboard", "rules": rules }] }).to_string())
        .unwrap();
    accepted(&["check", "rules", file.path().to_str().unwrap()]);
}
