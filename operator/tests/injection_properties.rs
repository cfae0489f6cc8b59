//! What holds for every pod, however odd.
#![allow(clippy::unwrap_used, reason = "a test ends at the first thing that is not as it should be")]

mod support;

use capstan_operator::inject::Outcome;
use proptest::prelude::*;
use serde_json::{Value, json};

use support::{Surroundings, inject_into, patched};

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        10 => Just("app"),
        10 => Just("web"),
        10 => Just("logs"),
        1 => Just("capstan"),
        1 => Just("capstan-pod"),
        2 => Just("istio-proxy"),
    ]
    .prop_map(str::to_owned)
}

fn source() -> impl Strategy<Value = Value> {
    prop_oneof![
        8 => Just(json!({ "emptyDir": {} })),
        1 => Just(json!({ "emptyDir": { "medium": "Memory", "sizeLimit": "1Mi" } })),
        1 => Just(json!({ "persistentVolumeClaim": { "claimName": "c" } })),
        1 => Just(json!({ "ephemeral": { "volumeClaimTemplate": { "spec": {} } } })),
        1 => Just(json!({ "secret": { "secretName": "s" } })),
        1 => Just(json!({ "configMap": { "name": "c" } })),
        1 => Just(json!({ "hostPath": { "path": "/" } })),
        1 => Just(json!({ "projected": { "sources": [] } })),
        1 => Just(json!({ "somethingNew": {} })),
    ]
}

fn volumes() -> impl Strategy<Value = Vec<Value>> {
    prop::collection::btree_map(name(), source(), 2..6).prop_map(|volumes| {
        let named = volumes.into_iter().map(|(name, mut volume)| {
            volume["name"] = json!(name);
            volume
        });
        named.collect()
    })
}

fn mount() -> impl Strategy<Value = Value> {
    let path = prop_oneof![
        5 => Just("/logs"),
        1 => Just("/logs/"),
        5 => Just("/data"),
        1 => Just("/etc/capstan/pod"),
        1 => Just("/var/run/secrets/kubernetes.io/serviceaccount")
    ];
    let sub_path =
        prop_oneof![6 => Just(json!(null)), 2 => Just(json!("$(A)/x")), 1 => Just(json!("$(CAPSTAN_POD)"))];
    (name(), path, sub_path, any::<bool>()).prop_map(|(name, path, expression, read_only)| {
        json!({ "name": name, "mountPath": path, "subPathExpr": expression, "readOnly": read_only })
    })
}

fn security() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!(null)),
        Just(json!({})),
        Just(json!({ "runAsUser": 0 })),
        Just(json!({ "runAsUser": 1000, "runAsGroup": 7, "runAsNonRoot": true })),
    ]
}

fn container() -> impl Strategy<Value = Value> {
    let env = prop::collection::vec(prop_oneof![Just("A"), Just("B"), Just("CAPSTAN_POD")], 0..3);
    let restart = prop_oneof![Just(json!(null)), Just(json!("Always"))];
    (name(), prop::collection::vec(mount(), 0..6), security(), env, restart).prop_map(
        |(name, mounts, security, env, restart)| {
            let env: Vec<Value> = env.iter().map(|name| json!({ "name": name, "value": "v" })).collect();
            json!({ "name": name, "image": "i", "volumeMounts": mounts, "securityContext": security, "env": env,
                    "restartPolicy": restart, "fieldOfTomorrow": { "x": 1 } })
        },
    )
}

fn annotations() -> impl Strategy<Value = Value> {
    let users = prop_oneof![Just(json!(null)), Just(json!("999")), Just(json!("root"))];
    let containers =
        prop_oneof![5 => Just(json!(null)), 1 => Just(json!("app")), 1 => Just(json!("web,app"))];
    (users, containers, any::<bool>()).prop_map(|(user, container, share)| {
        let mut all = json!({ "capstan.dev/policy": "web,audit", "capstan.dev/share-process-namespace": share.to_string() });
        for (key, value) in [("capstan.dev/run-as-user", user), ("capstan.dev/container", container)] {
            if !value.is_null() {
                all[key] = value;
            }
        }
        all
    })
}

fn pod() -> impl Strategy<Value = Value> {
    let lists = (
        prop::collection::vec(container(), 1..4),
        prop::option::of(prop::collection::vec(container(), 0..3)),
        prop::option::weighted(0.9, volumes()),
    );
    (lists, annotations(), security(), prop::option::of(any::<bool>())).prop_map(
        |((containers, init, volumes), annotations, security, share)| {
            json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "p", "annotations": annotations },
                    "spec": { "containers": containers, "initContainers": init, "volumes": volumes,
                              "securityContext": security, "shareProcessNamespace": share } })
        },
    )
}

/// Everything but what is ours to add.
fn without_ours(pod: &Value) -> Value {
    let mut pod = pod.clone();
    pod["metadata"] = json!(null);
    pod["spec"]["shareProcessNamespace"] = json!(null);
    for (list, ours) in [("initContainers", "capstan"), ("volumes", "capstan-")] {
        let items = pod["spec"][list].as_array().cloned().unwrap_or_default();
        let others = items.into_iter().filter(|item| !item["name"].as_str().unwrap().starts_with(ours));
        pod["spec"][list] = others.collect();
    }
    pod
}

fn sidecar(pod: &Value) -> &Value {
    let all = pod["spec"]["initContainers"].as_array().unwrap();
    all.iter().find(|container| container["name"] == "capstan").unwrap()
}

proptest! {
    #[test]
    fn injecting_twice_is_injecting_once(pod in pod(), assigned: bool) {
        let surroundings = Surroundings { users_are_assigned: assigned, ..Surroundings::default() };
        let first = inject_into(&pod, &surroundings);
        let once = patched(&pod, &first);
        let second = inject_into(&once, &surroundings);
        prop_assert_eq!(&second.outcome, &first.outcome);
        prop_assert_eq!(patched(&once, &second), once);
    }

    #[test]
    fn nothing_of_others_is_touched(pod in pod()) {
        let after = patched(&pod, &inject_into(&pod, &Surroundings::default()));
        prop_assert_eq!(without_ours(&after), without_ours(&pod));
    }

    #[test]
    fn what_is_forbidden_is_never_mounted_and_no_token_is(pod in pod()) {
        let injection = inject_into(&pod, &Surroundings::default());
        if injection.outcome != Outcome::Injected {
            return Ok(());
        }
        let after = patched(&pod, &injection);
        let volumes = after["spec"]["volumes"].as_array().unwrap();
        for mount in sidecar(&after)["volumeMounts"].as_array().unwrap() {
            let volume = volumes.iter().find(|volume| volume["name"] == mount["name"]).unwrap();
            if mount["name"].as_str().unwrap().starts_with("capstan-") {
                prop_assert_eq!(&mount["readOnly"], &json!(true));
                continue;
            }
            let kinds = ["emptyDir", "persistentVolumeClaim", "ephemeral"];
            prop_assert!(kinds.iter().any(|kind| volume.get(kind).is_some()), "{volume}");
        }
        let paths = sidecar(&after)["volumeMounts"].as_array().unwrap().iter().map(|mount| &mount["mountPath"]);
        prop_assert_eq!(paths.filter(|path| **path == "/var/run/secrets/kubernetes.io/serviceaccount").count(), 1);
    }

    /// Pod Security `restricted`, as far as a container can break it: the sidecar adds nothing that breaks it.
    #[test]
    fn the_sidecar_passes_restricted(pod in pod(), assigned: bool) {
        let surroundings = Surroundings { users_are_assigned: assigned, ..Surroundings::default() };
        let injection = inject_into(&pod, &surroundings);
        if injection.outcome != Outcome::Injected {
            return Ok(());
        }
        let after = patched(&pod, &injection);
        let context = &sidecar(&after)["securityContext"];
        prop_assert_eq!(&context["allowPrivilegeEscalation"], &json!(false));
        prop_assert_eq!(&context["capabilities"], &json!({ "drop": ["ALL"] }));
        prop_assert_eq!(&context["runAsNonRoot"], &json!(true));
        prop_assert_ne!(&context["runAsUser"], &json!(0));
        prop_assert_eq!(&context["seccompProfile"]["type"], &json!("RuntimeDefault"));
        prop_assert_eq!(&context["readOnlyRootFilesystem"], &json!(true));
        prop_assert!(context.get("privileged").is_none() && context.get("procMount").is_none());
    }
}

/// The properties above would hold trivially if no pod were injected.
#[test]
fn many_of_these_pods_are_injected() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let pods = (0..300).map(|_| pod().new_tree(&mut runner).unwrap().current());
    let mut outcomes = std::collections::BTreeMap::<String, usize>::new();
    for pod in pods {
        *outcomes.entry(format!("{:?}", inject_into(&pod, &Surroundings::default()).outcome)).or_default() +=
            1;
    }
    assert!(outcomes["Injected"] > 60, "{outcomes:?}");
}
