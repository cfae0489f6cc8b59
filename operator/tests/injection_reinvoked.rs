//! A pod that other webhooks have changed after it was injected, when it comes again.
#![allow(clippy::unwrap_used, reason = "a test ends at the first thing that is not as it should be")]

mod support;

use capstan_operator::inject::Outcome;
use capstan_operator::inject::status::Reason;
use serde_json::{Value, json};

use support::{Surroundings, inject_into, patched};

fn injected() -> Value {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": "p", "annotations": { "capstan.dev/policy": "web" } },
        "spec": {
            "securityContext": { "runAsUser": 1000 },
            "initContainers": [{ "name": "migrate", "image": "web" }],
            "containers": [{ "name": "app", "volumeMounts": [{ "name": "logs", "mountPath": "/logs" }] }],
            "volumes": [{ "name": "logs", "emptyDir": {} }, { "name": "certificates", "configMap": { "name": "c" } },
                        { "name": "more", "emptyDir": {} }],
        },
    });
    patched(&pod, &inject_into(&pod, &Surroundings::default()))
}

/// What comes out after somebody made a change, and that it is final.
fn again(pod: &Value, surroundings: &Surroundings) -> Value {
    let injection = inject_into(pod, surroundings);
    assert_eq!(injection.outcome, Outcome::Injected);
    let after = patched(pod, &injection);
    assert!(inject_into(&after, surroundings).patch.is_empty());
    after
}

fn names(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap()).collect()
}

#[test]
fn what_others_changed_in_the_sidecar_stays() {
    let mut pod = injected();
    let sidecar = &mut pod["spec"]["initContainers"][0];
    sidecar["image"] = json!("mirror.example.com/capstan-sidecar:0.1.0");
    sidecar["fieldOfTomorrow"] = json!(true);
    sidecar["env"]
        .as_array_mut()
        .unwrap()
        .push(json!({ "name": "SSL_CERT_FILE", "value": "/certificates/ca.crt" }));
    let mount = json!({ "name": "certificates", "mountPath": "/certificates", "readOnly": true });
    sidecar["volumeMounts"].as_array_mut().unwrap().push(mount);
    assert_eq!(again(&pod, &Surroundings::default()), pod);
}

#[test]
fn a_plugin_that_insists_on_pulling_always_is_obeyed() {
    let mut pod = injected();
    pod["spec"]["initContainers"][0]["imagePullPolicy"] = json!("Always");
    assert_eq!(again(&pod, &Surroundings::default()), pod);
}

#[test]
fn defaults_of_the_namespace_for_what_we_do_not_set_stay() {
    let mut pod = injected();
    let resources = &mut pod["spec"]["initContainers"][0]["resources"];
    resources["requests"]["ephemeral-storage"] = json!("1Gi");
    resources["limits"]["ephemeral-storage"] = json!("2Gi");
    assert_eq!(again(&pod, &Surroundings::default()), pod);
    pod["spec"]["initContainers"][0]["resources"]["limits"]["memory"] = json!("1Gi");
    let after = again(&pod, &Surroundings::default());
    assert_eq!(after["spec"]["initContainers"][0]["resources"]["limits"]["memory"], json!("64Mi"));
}

#[test]
fn what_is_ours_is_ours() {
    let before = injected();
    let mut pod = before.clone();
    let sidecar = &mut pod["spec"]["initContainers"][0];
    sidecar["startupProbe"] = json!({ "httpGet": { "path": "/", "port": 1 } });
    sidecar["args"] = json!(["sleep"]);
    sidecar["securityContext"]["runAsUser"] = json!(0);
    sidecar["volumeMounts"].as_array_mut().unwrap().retain(|mount| mount["name"] != "capstan-no-token");
    sidecar["volumeMounts"].as_array_mut().unwrap().push(json!({ "name": "more", "mountPath": "/more" }));
    pod["spec"]["volumes"].as_array_mut().unwrap().retain(|volume| volume["name"] != "capstan-no-token");
    assert_eq!(again(&pod, &Surroundings::default()), before);
}

#[test]
fn the_app_is_looked_at_anew() {
    let mut pod = injected();
    let mounts = pod["spec"]["containers"][0]["volumeMounts"].as_array_mut().unwrap();
    *mounts = vec![json!({ "name": "more", "mountPath": "/more" })];
    pod["spec"]["securityContext"]["runAsUser"] = json!(7);
    let after = again(&pod, &Surroundings::default());
    let sidecar = &after["spec"]["initContainers"][0];
    let last = sidecar["volumeMounts"].as_array().unwrap().last().unwrap();
    assert_eq!(*last, json!({ "name": "more", "mountPath": "/more" }));
    assert_eq!(sidecar["securityContext"]["runAsUser"], json!(7));
    assert!(!sidecar["volumeMounts"].to_string().contains("/logs"));
}

#[test]
fn a_mesh_that_comes_later_gets_its_place_before_the_sidecar() {
    let proxy = json!({ "name": "linkerd-proxy", "image": "proxy", "restartPolicy": "Always" });
    for place in [0, 1, 2] {
        let mut pod = injected();
        pod["spec"]["initContainers"].as_array_mut().unwrap().insert(place, proxy.clone());
        let after = again(&pod, &Surroundings::default());
        let names = names(&after["spec"]["initContainers"]);
        let at = |name: &str| names.iter().position(|other| *other == name).unwrap();
        assert_eq!((at("capstan"), names.len()), (at("linkerd-proxy") + 1, 3), "{names:?}");
    }
}

#[test]
fn a_policy_that_came_in_between_brings_its_secrets_and_one_that_went_takes_them() {
    let known: Surroundings =
        serde_json::from_value(json!({ "policies": [{ "name": "web", "secrets": ["s"] }] })).unwrap();
    let pod = injected();
    let with = again(&pod, &known);
    assert!(names(&with["spec"]["volumes"]).contains(&"capstan-secret-s"));
    assert_eq!(again(&with, &Surroundings::default()), pod);
}

#[test]
fn another_version_of_the_operator_brings_its_own_image() {
    let mut pod = injected();
    pod["spec"]["initContainers"][0]["image"] = json!("capstan-sidecar:0.0.9");
    let status = pod["metadata"]["annotations"]["capstan.dev/status"].as_str().unwrap();
    pod["metadata"]["annotations"]["capstan.dev/status"] =
        json!(status.replace("sidecar:0.1.0", "sidecar:0.0.9"));
    assert_eq!(again(&pod, &Surroundings::default()), injected());
}

#[test]
fn a_container_that_only_has_the_sidecars_name_is_not_ours() {
    let mut pod = injected();
    pod["metadata"]["annotations"].as_object_mut().unwrap().remove("capstan.dev/status");
    assert!(matches!(inject_into(&pod, &Surroundings::default()).outcome, Outcome::Skipped(_)));
}

#[test]
fn a_sidecar_that_another_version_of_the_operator_put_in_is_known_by_what_both_understand() {
    let mut pod = injected();
    let status = pod["metadata"]["annotations"]["capstan.dev/status"].as_str().unwrap();
    let mut status: Value = serde_json::from_str(status).unwrap();
    status["warnings"] = json!([{ "reason": "ReasonOfTomorrow", "message": "more", "where": 7 }]);
    pod["metadata"]["annotations"]["capstan.dev/status"] = json!(status.to_string());
    assert_eq!(again(&pod, &Surroundings::default()), injected());
}

#[test]
fn a_copy_that_cannot_have_a_sidecar_any_more_loses_it() {
    let mut pod = injected();
    let mut bare = pod.clone();
    let volumes = bare["spec"]["volumes"].as_array_mut().unwrap();
    volumes.retain(|volume| !volume["name"].as_str().unwrap().starts_with("capstan-"));
    bare["spec"]["initContainers"].as_array_mut().unwrap().remove(0);
    pod["spec"]["hostNetwork"] = json!(true);
    bare["spec"]["hostNetwork"] = json!(true);
    let injection = inject_into(&pod, &Surroundings::default());
    assert_eq!(injection.outcome, Outcome::Skipped(Reason::HostNetwork));
    let after = patched(&pod, &injection);
    assert_eq!(after["spec"], bare["spec"]);
    assert_eq!(after["metadata"]["labels"], json!({}));
    assert!(inject_into(&after, &Surroundings::default()).patch.is_empty());
}

#[test]
fn a_volume_of_a_sidecar_that_goes_stays_if_somebody_else_mounts_it() {
    let mut pod = injected();
    pod["spec"]["hostNetwork"] = json!(true);
    let mount = json!({ "name": "capstan-pod", "mountPath": "/pod" });
    pod["spec"]["containers"][0]["volumeMounts"].as_array_mut().unwrap().push(mount);
    let after = patched(&pod, &inject_into(&pod, &Surroundings::default()));
    assert_eq!(names(&after["spec"]["volumes"]), ["logs", "certificates", "more", "capstan-pod"]);
}
