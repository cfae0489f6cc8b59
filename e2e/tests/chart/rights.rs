//! Who may do what: all rules of the chart, beside a file that a person has read.

use std::fmt::Write;

use serde_json::Value;

use crate::helm::{self, CAPSTAN, objects};

const GOLDEN: &str = "e2e/tests/chart/rights.txt";

#[test]
fn rights_are_those_that_were_agreed_on() {
    let mut told = String::from(
        "# Every right that the chart gives. Written by the test beside it with UPDATE_GOLDEN=1; read it before you commit it.\n",
    );
    let matrix: [(&str, &[&str]); 4] = [
        ("default", &[]),
        ("controller.repair.enabled", &["controller.repair.enabled=true"]),
        ("watchNamespaces={shop}", &["watchNamespaces={shop}"]),
        ("webhook.certificate.source=Secret", &["webhook.certificate.source=Secret"]),
    ];
    for (name, values) in matrix {
        writeln!(told, "\n## {name}").unwrap();
        for role in objects(CAPSTAN, values).iter().filter(|one| one["rules"].is_array()) {
            tell(&mut told, role);
        }
    }
    let path = helm::root().join(GOLDEN);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &told).unwrap();
    }
    let agreed = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(told, agreed, "the chart's rights are not those of {GOLDEN}");
}

fn tell(told: &mut String, role: &Value) {
    if role["kind"] == "MutatingWebhookConfiguration" {
        return;
    }
    writeln!(told, "\n{}", helm::identity(role)).unwrap();
    for rule in role["rules"].as_array().unwrap() {
        let words = |key: &str| {
            let list = rule[key].as_array().into_iter().flatten();
            list.map(|one| one.as_str().unwrap()).collect::<Vec<_>>().join(" ")
        };
        let group = if words("apiGroups").is_empty() { "core".to_owned() } else { words("apiGroups") };
        let only = match rule.get("resourceNames") {
            Some(_) => format!(" named {}", words("resourceNames")),
            None => String::new(),
        };
        writeln!(told, "  {group}: {}{only}: {}", words("resources"), words("verbs")).unwrap();
    }
}

#[test]
fn nothing_is_granted_by_a_star_and_no_secret_but_the_certificate_is_read() {
    for (name, values) in helm::MATRIX {
        for role in objects(CAPSTAN, values).iter().filter(|one| one["rules"].is_array()) {
            for rule in role["rules"].as_array().unwrap() {
                assert!(
                    !rule.to_string().contains("\"*\""),
                    "{}: {rule}; values: {name}",
                    helm::identity(role)
                );
                let secrets = rule["resources"].as_array().unwrap().contains(&"secrets".into());
                if secrets {
                    assert_eq!(role["kind"], "Role", "{}", helm::identity(role));
                    assert_eq!(role["metadata"]["namespace"], "capstan-system");
                    let create_only = rule["verbs"] == serde_json::json!(["create"]);
                    assert!(create_only || rule["resourceNames"].is_array(), "{rule}; values: {name}");
                }
            }
        }
    }
}

#[test]
fn what_the_controller_may_write_is_narrowed_by_name_of_its_account() {
    let objects = objects(CAPSTAN, &[]);
    for name in ["capstan-controller-pods", "capstan-controller-config-maps"] {
        let policy = helm::named(&objects, "ValidatingAdmissionPolicy", name);
        let condition = policy["spec"]["matchConditions"][0]["expression"].as_str().unwrap();
        assert!(
            condition.contains("'system:serviceaccount:capstan-system:capstan-controller'"),
            "{condition}"
        );
        assert_eq!(policy["spec"]["failurePolicy"], "Fail");
        let binding = helm::named(&objects, "ValidatingAdmissionPolicyBinding", name);
        assert_eq!(binding["spec"]["policyName"], name);
        assert_eq!(binding["spec"]["validationActions"], serde_json::json!(["Deny"]));
    }
}
