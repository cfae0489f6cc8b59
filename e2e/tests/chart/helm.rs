//! Helm as a program: in, a chart and values; out, the objects it renders, or what it says against them.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde::Deserialize;
use serde_json::Value;

/// The operator's chart.
pub const CAPSTAN: &str = "charts/capstan";
/// The chart of the custom resource definitions.
pub const CRDS: &str = "charts/capstan-crds";

/// Values that switch on everything that can be switched on.
pub const EVERYTHING: &[&str] = &[
    "webhook.certificate.source=CertManager",
    "controller.repair.enabled=true",
    "sidecar.allowHostPath=true",
    "monitoring.serviceMonitor.enabled=true",
    "monitoring.podMonitor.enabled=true",
    "monitoring.prometheusRule.enabled=true",
    "monitoring.dashboard.enabled=true",
    "priorityClassName=system-cluster-critical",
    "imagePullSecrets[0].name=registry",
    "commonLabels.team=platform",
    "podLabels.tier=infra",
    "podAnnotations.note=text",
    "nodeSelector.disk=ssd",
    "tolerations[0].operator=Exists",
    "networkPolicy.metricsFrom[0].namespaceSelector.matchLabels.name=monitoring",
    "extraObjects[0].apiVersion=v1",
    "extraObjects[0].kind=ConfigMap",
    "extraObjects[0].metadata.name=\\{\\{ .Release.Name \\}\\}-extra",
];

/// The sets of values that every object has to be right under.
pub const MATRIX: &[(&str, &[&str])] = &[
    ("default", &[]),
    ("two namespaces", &["watchNamespaces={shop,web}"]),
    ("everything", EVERYTHING),
    ("an issuer", &["webhook.certificate.source=CertManager", "webhook.certificate.issuerRef.name=company"]),
    ("an own Secret", &["webhook.certificate.source=Secret", "webhook.certificate.secretName=mine"]),
    (
        "no push, no policies",
        &[
            "controller.configPush=None",
            "admissionPolicy.enabled=false",
            "networkPolicy.enabled=false",
            "rbac.aggregate=false",
        ],
    ),
];

/// The checkout's root.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// What `program` is called here: the environment variable, or the name for PATH to resolve.
pub fn program(variable: &str, name: impl AsRef<OsStr>, advice: &str) -> Command {
    let path = std::env::var_os(variable).unwrap_or_else(|| name.as_ref().into());
    let found = Command::new(&path).arg("--help").output();
    assert!(found.is_ok(), "{} cannot be run; {advice}", path.display());
    Command::new(path)
}

/// Runs helm in the checkout.
pub fn helm(arguments: &[&str]) -> Output {
    let advice =
        "put helm (3.14 or later) on PATH, set HELM to it, or run `make chart-test`, which builds it";
    program("HELM", "helm", advice).current_dir(root()).args(arguments).output().unwrap()
}

/// What `helm template` prints for a release `capstan` in the namespace `capstan-system`.
pub fn render(chart: &str, values: &[&str]) -> Result<String, String> {
    let mut arguments = vec!["template", "capstan", chart, "--namespace", "capstan-system"];
    for value in values {
        arguments.extend(["--set", value]);
    }
    let output = helm(&arguments);
    match output.status.success() {
        true => Ok(String::from_utf8(output.stdout).unwrap()),
        false => Err(String::from_utf8(output.stderr).unwrap()),
    }
}

/// The objects of a rendered chart.
pub fn objects(chart: &str, values: &[&str]) -> Vec<Value> {
    documents(&render(chart, values).unwrap())
}

/// The documents of a YAML text, without those that are empty.
pub fn documents(text: &str) -> Vec<Value> {
    let documents = serde_yaml_ng::Deserializer::from_str(text);
    documents.map(|one| Value::deserialize(one).unwrap()).filter(|one| !one.is_null()).collect()
}

/// `Kind/name` of an object, with its namespace in front if it has one.
pub fn identity(object: &Value) -> String {
    let metadata = &object["metadata"];
    let namespace = metadata["namespace"].as_str().map(|name| format!("{name}/")).unwrap_or_default();
    format!("{namespace}{}/{}", object["kind"].as_str().unwrap(), metadata["name"].as_str().unwrap())
}

/// The objects of a kind.
pub fn of_kind<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects.iter().filter(|object| object["kind"] == kind).collect()
}

/// The one object of a kind and name.
pub fn named<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let mut found = objects.iter().filter(|one| one["kind"] == kind && one["metadata"]["name"] == name);
    let one = found.next().unwrap_or_else(|| panic!("no {kind} {name} was rendered"));
    assert!(found.next().is_none(), "{kind} {name} was rendered twice");
    one
}
