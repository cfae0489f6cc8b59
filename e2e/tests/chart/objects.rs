//! What is in the rendered chart, whatever the values.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::helm::{self, CAPSTAN, CRDS, EVERYTHING, MATRIX, named, objects, of_kind, render};

#[test]
fn helm_lint_has_nothing_to_say() {
    for chart in [CAPSTAN, CRDS] {
        let output = helm::helm(&["lint", "--strict", chart]);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
        assert!(!said.contains("[WARNING]"), "{said}");
    }
}

#[test]
fn the_same_values_render_the_same_text() {
    for (name, values) in MATRIX {
        assert_eq!(render(CAPSTAN, values).unwrap(), render(CAPSTAN, values).unwrap(), "values: {name}");
    }
    assert_eq!(render(CRDS, &[]).unwrap(), render(CRDS, &[]).unwrap());
}

#[test]
fn no_template_asks_the_cluster_the_clock_or_chance() {
    for entry in walk(&helm::root().join(CAPSTAN).join("templates")) {
        let text = std::fs::read_to_string(&entry).unwrap();
        for function in ["lookup ", "now ", "rand", "genCA", "genSelfSignedCert", "uuidv4", ".Capabilities"] {
            assert!(!text.contains(function), "{} uses {function}", entry.display());
        }
    }
}

#[test]
fn no_object_stands_there_twice_and_each_says_whose_it_is() {
    for (name, values) in MATRIX {
        let objects = objects(CAPSTAN, values);
        let mut seen = BTreeSet::new();
        for object in &objects {
            let identity = helm::identity(object);
            assert!(seen.insert(identity.clone()), "{identity} is there twice with the values: {name}");
            if identity.ends_with("-extra") {
                continue;
            }
            let labels = &object["metadata"]["labels"];
            assert_eq!(labels["app.kubernetes.io/name"], "capstan", "{identity}");
            assert_eq!(labels["app.kubernetes.io/instance"], "capstan", "{identity}");
            assert_eq!(labels["app.kubernetes.io/managed-by"], "Helm", "{identity}");
        }
    }
}

#[test]
fn every_service_account_and_role_that_is_named_is_there() {
    for (name, values) in MATRIX {
        let objects = objects(CAPSTAN, values);
        for binding in objects.iter().filter(|one| one["kind"].as_str().unwrap().ends_with("Binding")) {
            let Some(role) = binding.get("roleRef") else { continue };
            let namespace = &binding["metadata"]["namespace"];
            let found = objects.iter().any(|one| {
                one["kind"] == role["kind"]
                    && one["metadata"]["name"] == role["name"]
                    && (role["kind"] == "ClusterRole" || one["metadata"]["namespace"] == *namespace)
            });
            assert!(found, "{} names a role that is not there; values: {name}", helm::identity(binding));
            for subject in binding["subjects"].as_array().unwrap() {
                named(&objects, "ServiceAccount", subject["name"].as_str().unwrap());
                assert_eq!(subject["namespace"], "capstan-system");
            }
        }
        for deployment in of_kind(&objects, "Deployment") {
            let account = &deployment["spec"]["template"]["spec"]["serviceAccountName"];
            named(&objects, "ServiceAccount", account.as_str().unwrap());
        }
    }
}

#[test]
fn selectors_select_the_pods_of_their_component_alone() {
    let objects = objects(CAPSTAN, EVERYTHING);
    let component = |object: &Value| object["metadata"]["labels"]["app.kubernetes.io/component"].clone();
    for deployment in of_kind(&objects, "Deployment") {
        let labels = &deployment["spec"]["template"]["metadata"]["labels"];
        assert_eq!(labels["app.kubernetes.io/component"], component(deployment));
        assert_eq!(labels["tier"], "infra");
    }
    let selectors = [
        ("Deployment", "/spec/selector/matchLabels"),
        ("PodDisruptionBudget", "/spec/selector/matchLabels"),
        ("NetworkPolicy", "/spec/podSelector/matchLabels"),
        ("Service", "/spec/selector"),
    ];
    for (kind, pointer) in selectors {
        let found = of_kind(&objects, kind);
        assert!(!found.is_empty(), "no {kind}");
        for object in found {
            let selector = object.pointer(pointer).unwrap();
            assert_eq!(
                selector["app.kubernetes.io/component"],
                component(object),
                "{}",
                helm::identity(object)
            );
            assert_eq!(selector.as_object().unwrap().len(), 3, "{}", helm::identity(object));
        }
    }
}

#[test]
fn the_webhook_is_called_for_annotated_pods_only_and_stands_in_nobodys_way() {
    let objects = objects(CAPSTAN, &[]);
    let configuration = named(&objects, "MutatingWebhookConfiguration", "capstan");
    let webhooks = configuration["webhooks"].as_array().unwrap();
    let told: Vec<_> =
        webhooks.iter().map(|one| (&one["failurePolicy"], &one["clientConfig"]["service"]["path"])).collect();
    assert_eq!(
        serde_json::json!(told),
        serde_json::json!([["Ignore", "/mutate-pod"], ["Fail", "/mutate-pod-strict"]])
    );
    for webhook in webhooks {
        assert!(webhook["clientConfig"].get("caBundle").is_none(), "the operator owns that field");
        assert_eq!(webhook["sideEffects"], "None");
        assert_eq!(webhook["reinvocationPolicy"], "IfNeeded");
        assert_eq!(webhook["timeoutSeconds"], 5);
        assert_eq!(webhook["rules"][0]["operations"], serde_json::json!(["CREATE"]));
        assert!(
            webhook["matchConditions"][0]["expression"].as_str().unwrap().contains("'capstan.dev/policy' in")
        );
        let names = &webhook["namespaceSelector"]["matchExpressions"][0];
        assert_eq!(names["operator"], "NotIn");
        assert_eq!(names["values"], serde_json::json!(["capstan-system", "kube-system"]));
    }
}

#[test]
fn watched_namespaces_bound_the_webhook_the_rights_and_the_operator() {
    let objects = objects(CAPSTAN, &["watchNamespaces={shop,web}"]);
    for webhook in named(&objects, "MutatingWebhookConfiguration", "capstan")["webhooks"].as_array().unwrap()
    {
        let expected = serde_json::json!({ "key": "kubernetes.io/metadata.name", "operator": "In", "values": ["shop", "web"] });
        assert_eq!(webhook["namespaceSelector"]["matchExpressions"][1], expected);
    }
    for deployment in of_kind(&objects, "Deployment") {
        let args = &deployment["spec"]["template"]["spec"]["containers"][0]["args"];
        assert!(args.as_array().unwrap().contains(&"--namespaces=shop,web".into()), "{args}");
    }
    let bound: Vec<_> =
        of_kind(&objects, "ClusterRoleBinding").iter().map(|one| helm::identity(one)).collect();
    assert_eq!(bound, ["ClusterRoleBinding/capstan-webhook-configuration"]);
}

#[test]
fn an_image_is_named_by_tag_or_pinned_by_digest() {
    let digest = format!("image.digest=sha256:{}", "a".repeat(64));
    let objects = objects(
        CAPSTAN,
        &["image.repository=registry.example.com:5000/capstan-operator", &digest, "sidecar.image.tag=v9"],
    );
    for deployment in of_kind(&objects, "Deployment") {
        let container = &deployment["spec"]["template"]["spec"]["containers"][0];
        let expected = format!("registry.example.com:5000/capstan-operator@sha256:{}", "a".repeat(64));
        assert_eq!(container["image"], expected);
    }
    let webhook =
        &named(&objects, "Deployment", "capstan-webhook")["spec"]["template"]["spec"]["containers"][0];
    assert!(webhook["args"].as_array().unwrap().contains(&"--sidecar-image=capstan-sidecar:v9".into()));
}

#[test]
fn a_chart_has_the_version_of_the_program() {
    for chart in [CAPSTAN, CRDS] {
        let text = std::fs::read_to_string(helm::root().join(chart).join("Chart.yaml")).unwrap();
        let chart = &helm::documents(&text)[0];
        assert_eq!(chart["version"], env!("CARGO_PKG_VERSION"));
        assert_eq!(chart["appVersion"], env!("CARGO_PKG_VERSION"));
    }
}

fn walk(directory: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}
