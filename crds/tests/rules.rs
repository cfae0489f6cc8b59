//! Each rule in CEL, accepted and refused, as the API server would do it.
#![allow(clippy::unwrap_used, reason = "a test ends at the first thing that is not as it should be")]

mod cases;

use capstan_crds::manifest;
use cases::Case;
use kube::core::cel::Validator;
use serde_json::Value;

/// What is wrong with an object of a kind, by its definition.
fn messages(definitions: &[Value], case: &Case) -> Vec<String> {
    let definition = definitions.iter().find(|definition| definition["spec"]["names"]["kind"] == case.kind);
    let schema = &definition.unwrap()["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    match Validator::new().validate(schema, &case.object, None) {
        Ok(()) => Vec::new(),
        Err(errors) => errors
            .into_vec()
            .into_iter()
            .map(|error| format!("{}: {}", error.field_path, error.message))
            .collect(),
    }
}

#[test]
fn each_case_is_accepted_or_refused_with_its_place_and_its_words() {
    let definitions = manifest::definitions().unwrap();
    let cases = cases::all();
    assert!(cases.len() > 60, "only {} cases were read", cases.len());
    for case in cases {
        let wanted: Vec<String> = case.refused.clone().into_iter().collect();
        assert_eq!(messages(&definitions, &case), wanted, "{:#}", case.object);
    }
}

#[test]
fn every_rule_has_a_case_that_it_refuses() {
    fn rules(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(keys) => {
                for rule in
                    keys.get("x-kubernetes-validations").and_then(Value::as_array).into_iter().flatten()
                {
                    found.push(rule["message"].as_str().unwrap().to_owned());
                }
                keys.values().for_each(|below| rules(below, found));
            }
            Value::Array(items) => items.iter().for_each(|below| rules(below, found)),
            _ => {}
        }
    }
    let refusals: Vec<String> = cases::all().into_iter().filter_map(|case| case.refused).collect();
    for definition in manifest::definitions().unwrap() {
        let mut found = Vec::new();
        rules(&definition, &mut found);
        assert!(found.len() >= 8);
        for message in found {
            let tried = refusals.iter().any(|refusal| refusal.ends_with(&format!(": {message}")));
            assert!(tried, "no case is refused with this message: {message}");
        }
    }
}
