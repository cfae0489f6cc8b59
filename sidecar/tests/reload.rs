//! The configuration changes while everything runs: what changed takes effect, and nothing else is touched.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod fsupport;

use std::fs;
use std::path::Path;

use capstan_peers::collector::{Collector, Settings};
use capstan_peers::http;
use fsupport::pod::{Pod, mount};
use fsupport::rfc5424;
use fsupport::{Destination, Pen, Scene, assert_complete, assert_exact, eventually, forwarded, rotated};
use serde_json::{Value, json};

fn policy(name: &str, logs: Vec<Value>, destinations: Vec<Destination>) -> String {
    let mut file = fsupport::config::config(logs, destinations);
    file["policy"] = json!(name);
    serde_json::to_string_pretty(&file).unwrap()
}

fn to(collector: &Collector, name: &str) -> Destination {
    Destination::tcp(name, collector.port())
}

fn receiver() -> Collector {
    Collector::start(Settings::default()).unwrap()
}

#[test]
fn a_policy_that_arrives_late_is_taken_up_with_what_the_pod_knows() {
    let (scene, collector) = (Scene::new(), receiver());
    let log = scene.log("app.log");
    Pen::append_once(&log, 0, 0, 100);
    // The volume is there, the ConfigMap is not.
    mount(&scene, "web", None);
    let pod = Pod::start(&scene);
    pod.wait_for_error("web", "not there yet");
    assert_eq!(pod.policy("web")["hash"], Value::Null);
    assert_eq!(pod.metric("config_valid", &[]), 0.0);
    let mut app = forwarded("app", &log, "central");
    app["forward"]["hostnameFrom"] = json!("Pod");
    app["forward"]["metadata"] = json!([
        {"name": "container", "from": "Container"}, {"name": "node", "from": "Node"},
        {"name": "workload", "from": "Workload"}, {"name": "env", "value": "test"},
    ]);
    let hash = mount(&scene, "web", Some(&policy("web", vec![app], vec![to(&collector, "central")])));
    assert_exact(&collector, &[("w00", 100)]);
    pod.wait_until_good("web", &hash);
    let message = rfc5424::parse(&collector.messages()[0].bytes);
    assert_eq!(message.hostname, "web-0");
    let element = "capstan@32473";
    assert_eq!(message.param(element, "container"), Some("app"));
    assert_eq!(message.param(element, "node"), Some("node-7"));
    assert_eq!(message.param(element, "workload"), None);
    assert_eq!(message.param(element, "env"), Some("test"));
    assert_eq!(pod.metric("config_valid", &[]), 1.0);
    assert_eq!(pod.metric("config_last_reload_successful", &[("policy", "web")]), 1.0);
    assert!(pod.metric("config_last_reload_success_timestamp_seconds", &[("policy", "web")]) > 1e9);
    assert!(!pod.problems().contains("policy"), "{}", pod.problems());
}

#[test]
fn a_change_reaches_what_changed_and_nothing_else() {
    let (scene, steady, other) = (Scene::new(), receiver(), receiver());
    let (one, two, three) = (scene.log("one.log"), scene.log("two.log"), scene.log("three.log"));
    let one_to = || forwarded("one", &one, "steady");
    let mut two_to = forwarded("two", &two, "other");
    let both = || vec![to(&steady, "steady"), to(&other, "other")];
    mount(&scene, "web", Some(&policy("web", vec![one_to(), two_to.clone()], both())));
    Pen::append_once(&one, 1, 0, 100);
    Pen::append_once(&two, 2, 0, 100);
    let pod = Pod::start(&scene);
    assert_exact(&steady, &[("w01", 100)]);
    assert_exact(&other, &[("w02", 100)]);
    // Another receiver, another header, another log; the first log and its receiver stay.
    let moved = receiver();
    two_to["forward"]["appName"] = json!("renamed");
    let logs = vec![one_to(), two_to, forwarded("three", &three, "steady")];
    Pen::append_once(&three, 3, 0, 50);
    let hash =
        mount(&scene, "web", Some(&policy("web", logs, vec![to(&steady, "steady"), to(&moved, "other")])));
    pod.wait_until_good("web", &hash);
    Pen::append_once(&one, 1, 100, 100);
    Pen::append_once(&two, 2, 100, 100);
    assert_exact(&steady, &[("w01", 200), ("w03", 50)]);
    eventually("the new receiver", || moved.message_count() == 100);
    let message = rfc5424::parse(&moved.messages()[0].bytes);
    assert_eq!((message.app_name.as_str(), &message.body[..13]), ("renamed", &b"w02 000000100"[..]));
    assert_eq!(other.message_count(), 100, "what the old receiver confirmed is not sent to the new one");
    assert_eq!(pod.metric("replays_total", &[]), 0.0);
}

#[test]
fn what_is_taken_out_is_closed_and_comes_back_where_it_stood() {
    let (scene, collector) = (Scene::new(), receiver());
    let (one, two) = (scene.log("one.log"), scene.log("two.log"));
    let destinations = || vec![to(&collector, "central")];
    let logs = || vec![forwarded("one", &one, "central"), rotated("two", &two, "central", "1Ki")];
    Pen::append_once(&one, 1, 0, 10);
    Pen::append_once(&two, 2, 0, 5);
    mount(&scene, "web", Some(&policy("web", logs(), destinations())));
    let pod = Pod::start(&scene);
    assert_exact(&collector, &[("w01", 10), ("w02", 5)]);
    eventually("proof", || pod.metric("confirmed_lines_total", &[]) == 15.0);
    mount(&scene, "web", Some(&policy("web", logs()[..1].to_vec(), destinations())));
    let opened = |path: &Path| {
        let open = fs::read_dir(format!("/proc/{}/fd", pod.child.id())).unwrap().flatten();
        open.filter(|entry| fs::read_link(entry.path()).is_ok_and(|link| link == path)).count()
    };
    eventually("the file to be closed", || opened(&two) == 0);
    assert!(opened(&one) > 0);
    eventually("the stream to go", || pod.status()["streams"].as_array().unwrap().len() == 1);
    assert_eq!(pod.metric("lag_bytes", &[("log", "two")]), 0.0);
    // Neither sent nor rotated, whatever is written.
    Pen::append_once(&two, 2, 5, 95);
    Pen::append_once(&one, 1, 10, 10);
    assert_exact(&collector, &[("w01", 20), ("w02", 5)]);
    assert_eq!(pod.metric("rotations_total", &[]), 0.0);
    mount(&scene, "web", Some(&policy("web", logs(), destinations())));
    assert_exact(&collector, &[("w01", 20), ("w02", 100)]);
    eventually("the rotation", || pod.metric("rotations_total", &[("log", "two"), ("result", "ok")]) >= 1.0);
}

#[test]
fn a_destination_that_is_gone_holds_nothing_and_is_remembered() {
    let (scene, first, second) = (Scene::new(), receiver(), receiver());
    let log = scene.log("app.log");
    let write = |name: &str, collector: &Collector| {
        let mut app = rotated("app", &log, name, "1Gi");
        app["rotate"]["retention"] = json!({ "count": 0 });
        let file = policy("web", vec![app], vec![to(collector, name)]);
        mount(&scene, "web", Some(&file))
    };
    Pen::append_once(&log, 0, 0, 100);
    write("first", &first);
    let pod = Pod::start(&scene);
    assert_exact(&first, &[("w00", 100)]);
    let hash = write("second", &second);
    pod.wait_until_good("web", &hash);
    eventually("the new one", || pod.metric("connection_up", &[("destination", "second")]) == 1.0);
    assert_eq!(pod.status()["destinations"].as_object().unwrap().keys().collect::<Vec<_>>(), ["second"]);
    // It begins with what comes now.
    Pen::append_once(&log, 0, 100, 50);
    eventually("the new lines", || second.message_count() == 50);
    let hash = write("first", &first);
    pod.wait_until_good("web", &hash);
    assert_exact(&first, &[("w00", 150)]);
}

#[test]
fn what_cannot_be_used_leaves_the_last_good_in_effect_also_after_a_restart() {
    let (scene, collector) = (Scene::new(), receiver());
    let log = scene.log("app.log");
    let file = policy("web", vec![forwarded("app", &log, "central")], vec![to(&collector, "central")]);
    Pen::append_once(&log, 0, 0, 10);
    let hash = mount(&scene, "web", Some(&file));
    let mut pod = Pod::start(&scene);
    assert_exact(&collector, &[("w00", 10)]);
    eventually("it to be kept", || scene.log(".capstan/policy.web.json").is_file());
    let mut written = 10;
    for (content, error) in [
        (Some(&file[..100]), "the file ends in the middle"),
        (Some("{\"version\": 2}"), "version: 2 is not known to this sidecar, which reads version 1"),
        (None, "gone"),
    ] {
        mount(&scene, "web", content);
        pod.wait_for_error("web", error);
        assert!(
            pod.problems().contains("policy web: the last good configuration goes on; "),
            "{}",
            pod.problems()
        );
        assert_eq!(pod.policy("web")["hash"], hash.as_str());
        assert_eq!(pod.metric("config_last_reload_successful", &[("policy", "web")]), 0.0);
        Pen::append_once(&log, 0, written, 10);
        written += 10;
        assert_exact(&collector, &[("w00", written)]);
        let shown = pod.exec(&["status"]);
        assert!(
            shown.contains("web/app") && shown.contains("the last good configuration goes on"),
            "{shown}"
        );
        let rotated = pod.exec(&["rotate", "--force", "--dry-run"]);
        assert_eq!(
            rotated, "no file to rotate\n",
            "the log is forwarded alone, which only the running sidecar knows"
        );
    }
    // There and unusable: what is kept with the state goes on.
    mount(&scene, "web", Some("{"));
    pod.restart();
    pod.wait_for_error("web", "the file ends in the middle");
    assert_eq!(pod.policy("web")["hash"], hash.as_str());
    Pen::append_once(&log, 0, written, 10);
    assert_exact(&collector, &[("w00", written + 10)]);
    // Absent: nothing is resurrected.
    mount(&scene, "web", None);
    pod.restart();
    pod.wait_for_error("web", "not there yet");
    assert_eq!(pod.policy("web")["hash"], Value::Null);
    assert_eq!(pod.status()["streams"], json!([]));
}

#[test]
fn the_hash_tells_whether_what_should_be_in_effect_is() {
    let (scene, collector) = (Scene::new(), receiver());
    let log = scene.log("app.log");
    let file =
        |name: &str| policy(name, vec![forwarded("app", &log, "central")], vec![to(&collector, "central")]);
    let hash = mount(&scene, "web", Some(&file("web")));
    let pod = Pod::start(&scene);
    pod.wait_until_good("web", &hash);
    let matches = |name: &str| {
        let page = http::get(pod.port, "/metrics").unwrap().body;
        let page = fsupport::prometheus::Page::parse(&page);
        let found = page.samples.iter().find(|sample| {
            sample.name == "capstan_sidecar_config_hash_match" && sample.labels["policy"] == name
        });
        found.map(|sample| sample.value)
    };
    assert_eq!(matches("web"), None, "what should be is not known yet");
    assert_eq!(pod.policy("web")["expected"], Value::Null);
    let annotate = |text: &str| fs::write(scene.root().join("annotations"), text).unwrap();
    annotate(&format!("a=\"b\"\ncapstan.dev/config-hash=\"audit=0123456789abcdef,web={hash}\"\n"));
    eventually("the match", || matches("web") == Some(1.0) && matches("audit") == Some(0.0));
    assert_eq!(pod.policy("web")["expected"], hash.as_str());
    assert_eq!(pod.policy("audit")["error"], "no directory of this policy is mounted");
    annotate("capstan.dev/config-hash=\"web=0123456789abcdef\"\n");
    eventually("the mismatch", || matches("web") == Some(0.0) && matches("audit").is_none());
    annotate("capstan.dev/config-hash=\"web\"\n");
    eventually("the problem", || {
        pod.problems().contains("annotation capstan.dev/config-hash: \\\"web\\\" has no \\\"=\\\"")
    });
}

#[test]
fn several_policies_come_and_change_each_by_itself() {
    let (scene, collector) = (Scene::new(), receiver());
    let (one, two) = (scene.log("one.log"), scene.log("two.log"));
    let file = |name: &str, log: &Path| {
        policy(name, vec![forwarded("app", log, "central")], vec![to(&collector, "central")])
    };
    let web = mount(&scene, "web", Some(&file("web", &one)));
    mount(&scene, "audit", Some("{}"));
    Pen::append_once(&one, 1, 0, 10);
    Pen::append_once(&two, 2, 0, 10);
    let pod = Pod::start(&scene);
    pod.wait_until_good("web", &web);
    pod.wait_for_error("audit", "version: is missing; write 1");
    assert!(pod.problems().contains("this policy cannot be used: "), "{}", pod.problems());
    assert_exact(&collector, &[("w01", 10)]);
    let audit = mount(&scene, "audit", Some(&file("audit", &two)));
    pod.wait_until_good("audit", &audit);
    Pen::append_once(&one, 1, 10, 10);
    assert_exact(&collector, &[("w01", 20), ("w02", 10)]);
    // One destination, one connection: the policies name the same.
    assert_eq!(pod.status()["destinations"].as_object().unwrap().len(), 1);
}

#[test]
fn lines_keep_coming_while_the_configuration_changes_all_the_time() {
    let (scene, collector) = (Scene::new(), receiver());
    let log = scene.log("app.log");
    let file = |round: u64| {
        let mut app = rotated("app", &log, "central", "8Ki");
        app["forward"]["appName"] = json!(format!("round-{round}"));
        app["rotate"]["when"]["size"] = json!(8192 + round);
        let delivery = format!("{}s", 5 + round % 2);
        let destination = to(&collector, "central").delivery("closeTimeout", delivery);
        policy("web", vec![app], vec![destination])
    };
    mount(&scene, "web", Some(&file(0)));
    let pod = Pod::start(&scene);
    for round in 0..12 {
        Pen::append_once(&log, 0, round * 100, 100);
        let hash = mount(&scene, "web", Some(&file(round)));
        pod.wait_until_good("web", &hash);
    }
    let comparison = assert_complete(&collector, &[("w00", 1200)]);
    assert!(comparison.is_exact(), "{comparison}");
    assert!(pod.metric("rotations_total", &[("result", "ok")]) >= 1.0);
}
