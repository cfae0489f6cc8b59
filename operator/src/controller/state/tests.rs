//! What leads to what.

use std::time::Duration;

use hyper::body::Bytes;

use super::*;
use crate::pods::record::{PodPart, Stage};

const INTERVAL: Duration = Duration::from_secs(30);

fn policy() -> Key {
    Key::new("shop", "web")
}

fn pod(name: &str, stage: Stage) -> Pod {
    let yaml = format!(
        "metadata: {{ namespace: shop, name: {name}, uid: {name}, annotations: {{ capstan.dev/policy: web }} }}
spec: {{ initContainers: [{{ name: capstan }}] }}
status: {{ podIP: 10.0.0.1 }}"
    );
    Pod { stage, ..Pod::read(&serde_yaml_ng::from_str::<PodPart>(&yaml).unwrap()) }
}

fn plan(hash: &str) -> Plan {
    Plan { hash: Some(hash.parse().unwrap()), destinations: ["central".to_owned()].into(), ..Plan::default() }
}

const OLD: &str = "0123456789abcdef";
const NEW: &str = "fedcba9876543210";

fn answer(hash: &str) -> Result<Bytes, String> {
    Ok(Bytes::from(format!(r#"{{"policies":{{"web":{{"hash":"{hash}"}}}}}}"#)))
}

/// Takes everything out of a queue that may be taken now.
fn drain(wanted: &Wanted) -> Vec<String> {
    drain_at(wanted, Instant::now())
}

fn drain_at(wanted: &Wanted, now: Instant) -> Vec<String> {
    std::iter::from_fn(|| wanted.take_due(now).ok()).map(|key| key.to_string()).collect()
}

#[test]
fn a_pod_leads_to_its_policy_and_is_told_its_configuration() {
    let state = State::default();
    let now = Instant::now();
    state.pod_seen(pod("a", Stage::Running), now);
    assert_eq!(drain(&state.policies), ["shop/web"]);
    assert_eq!(state.new_hashes(&Key::new("shop", "a"), now), None, "nothing was delivered yet");
    state.planned(&policy(), plan(OLD), now);
    assert_eq!(drain(&state.pushes), ["shop/a"]);
    assert_eq!(state.new_hashes(&Key::new("shop", "a"), now).as_deref(), Some("web=0123456789abcdef"));
    state.pod_gone(&Key::new("shop", "a"));
    assert_eq!(drain(&state.policies), ["shop/web"]);
    assert_eq!(state.new_hashes(&Key::new("shop", "a"), now), None);
}

#[test]
fn a_pod_that_may_not_be_told_is_left_alone_until_there_is_something_new() {
    let state = State::default();
    let now = Instant::now();
    let key = Key::new("shop", "a");
    state.pod_seen(pod("a", Stage::Running), now);
    state.planned(&policy(), plan(OLD), now);
    drain(&state.pushes);
    state.push_refused(&key, state.new_hashes(&key, now).unwrap(), now);
    assert_eq!(state.new_hashes(&key, now), None);
    state.planned(&policy(), plan(NEW), now);
    assert!(state.new_hashes(&key, now).is_some());
}

#[test]
fn a_pod_that_could_not_be_told_is_told_later_and_nobody_waits_for_it() {
    let state = State::default();
    let mut now = Instant::now();
    let key = Key::new("shop", "a");
    state.pod_seen(pod("a", Stage::Running), now);
    state.planned(&policy(), plan(OLD), now);
    drain(&state.pushes);
    let hashes = state.new_hashes(&key, now).unwrap();
    for seconds in [1, 5, 30, 600, 600] {
        state.push_failed(&key, hashes.clone(), now);
        let again = now + Duration::from_secs(seconds);
        assert_eq!(state.pushes.take_due(now), Err(Some(again)));
        // Somebody else wants it to be looked at, which is too early.
        state.pushes.add_at(key.clone(), now);
        assert_eq!(drain_at(&state.pushes, now), ["shop/a"]);
        assert_eq!(state.new_hashes(&key, now), None);
        assert_eq!(drain_at(&state.pushes, again), ["shop/a"], "it is back in the queue");
        assert_eq!(state.new_hashes(&key, again), Some(hashes.clone()));
        now = again;
    }
    state.pod_gone(&key);
    state.push_failed(&key, hashes, now);
    assert_eq!(
        drain_at(&state.pushes, now + Duration::from_secs(601)),
        [""; 0],
        "a pod that is gone is forgotten"
    );
}

#[test]
fn pods_are_told_once_and_not_at_each_reconciliation() {
    let state = State::default();
    let now = Instant::now();
    state.pod_seen(pod("a", Stage::Running), now);
    drain(&state.pushes);
    state.planned(&policy(), plan(OLD), now);
    assert_eq!(drain(&state.pushes), ["shop/a"]);
    state.planned(&policy(), plan(OLD), now);
    assert_eq!(drain(&state.pushes), [""; 0]);
    state.planned(&policy(), plan(NEW), now);
    assert_eq!(drain(&state.pushes), ["shop/a"]);
}

#[test]
fn nobody_is_kept_to_be_told_if_kubelet_does_it() {
    let state = State::new(false);
    let now = Instant::now();
    state.pod_seen(pod("a", Stage::Running), now);
    state.planned(&policy(), plan(OLD), now);
    assert_eq!(state.pushes.take_due(now + INTERVAL), Err(None));
}

#[test]
fn a_sidecar_is_asked_until_it_has_what_it_should_and_rarely_then() {
    let state = State::default();
    let now = Instant::now();
    state.planned(&policy(), plan(NEW), now);
    state.pod_seen(pod("a", Stage::Running), now);
    let soon = state.take_due(now).unwrap_err().unwrap();
    assert_eq!(soon, now + schedule::SOON);
    let question = state.take_due(soon).unwrap();
    assert_eq!((question.key.to_string().as_str(), question.address.as_str()), ("shop/a", "10.0.0.1"));
    assert_eq!(state.take_due(soon).unwrap_err(), None, "it is being asked");
    drain(&state.policies);

    state.answered(&question, answer(OLD), soon, INTERVAL);
    assert_eq!(drain(&state.policies), ["shop/web"]);
    assert_eq!(drain(&state.destinations), ["shop/central"]);
    let again = state.take_due(soon).unwrap_err().unwrap();
    assert_eq!(again, soon + schedule::SOON * 2);

    let question = state.take_due(again).unwrap();
    state.answered(&question, answer(NEW), again, INTERVAL);
    assert_eq!(drain(&state.policies), ["shop/web"]);
    let rarely = state.take_due(again).unwrap_err().unwrap();
    assert_eq!(rarely, again + INTERVAL);

    let question = state.take_due(rarely).unwrap();
    state.answered(&question, answer(NEW), rarely, INTERVAL);
    assert_eq!(drain(&state.policies), [""; 0], "nothing is new");
}

#[test]
fn something_new_brings_the_question_forward() {
    let state = State::default();
    let now = Instant::now();
    state.planned(&policy(), plan(OLD), now);
    state.pod_seen(pod("a", Stage::Running), now);
    let at = now + schedule::SOON;
    let question = state.take_due(at).unwrap();
    state.answered(&question, answer(OLD), at, INTERVAL);
    state.planned(&policy(), plan(NEW), at);
    assert_eq!(state.take_due(at).unwrap_err(), Some(at + schedule::SOON));
}

#[test]
fn who_does_not_run_is_not_observed_and_not_asked() {
    let state = State::default();
    let now = Instant::now();
    state.planned(&policy(), plan(OLD), now);
    state.pod_seen(pod("a", Stage::Running), now);
    let question = state.take_due(now + schedule::SOON).unwrap();
    state.answered(&question, answer(OLD), now, INTERVAL);
    assert_eq!(state.summary(&policy(), &plan(OLD), None).counts.up_to_date, 1);
    state.pod_seen(pod("a", Stage::Waiting), now);
    let counts = state.summary(&policy(), &plan(OLD), None).counts;
    assert_eq!((counts.up_to_date, counts.unobserved), (0, 1));
    assert_eq!(state.take_due(now + INTERVAL * 2).unwrap_err(), None);
}

#[test]
fn an_answer_of_a_pod_that_was_replaced_counts_for_nothing() {
    let state = State::default();
    let now = Instant::now();
    state.planned(&policy(), plan(OLD), now);
    state.pod_seen(pod("a", Stage::Running), now);
    let question = state.take_due(now + schedule::SOON).unwrap();
    let successor = Pod { uid: "another".to_owned(), ..pod("a", Stage::Running) };
    state.pod_seen(successor, now);
    state.answered(&question, answer(OLD), now, INTERVAL);
    assert_eq!(state.summary(&policy(), &plan(OLD), None).counts.up_to_date, 0);
    assert!(state.take_due(now + schedule::SOON).is_ok(), "the successor is asked");
}

#[test]
fn a_sidecar_that_cannot_be_reached_is_asked_ever_more_rarely_even_about_something_new() {
    let state = State::default();
    let mut now = Instant::now();
    state.planned(&policy(), plan(OLD), now);
    state.pod_seen(pod("a", Stage::Running), now);
    now += schedule::SOON;
    let mut pauses = Vec::new();
    for _ in 0..12 {
        let question = state.take_due(now).unwrap();
        state.answered(&question, Err("it could not be reached".to_owned()), now, INTERVAL);
        let due = state.take_due(now).unwrap_err().unwrap();
        pauses.push((due - now).as_secs());
        now = due;
    }
    assert_eq!(pauses[..4], [0, 1, 2, 4]);
    assert_eq!(pauses[11], 240);
    state.planned(&policy(), plan(NEW), now - INTERVAL);
    assert_eq!(state.take_due(now - INTERVAL).unwrap_err(), Some(now));
    let question = state.take_due(now).unwrap();
    state.answered(&question, answer(NEW), now, INTERVAL);
    assert_eq!(state.take_due(now).unwrap_err(), Some(now + INTERVAL), "it can be reached again");
}

#[test]
fn a_sidecar_is_asked_once_it_has_an_address_and_again_with_another_one() {
    let state = State::default();
    let now = Instant::now();
    let at = |address: Option<&str>| Pod { address: address.map(str::to_owned), ..pod("a", Stage::Running) };
    state.pod_seen(at(None), now);
    assert_eq!(state.take_due(now + INTERVAL).unwrap_err(), None);
    for address in ["10.0.0.1", "10.0.0.2"] {
        state.pod_seen(at(Some(address)), now);
        assert_eq!(state.take_due(now + schedule::SOON).unwrap().address, address);
    }
}

#[test]
fn many_pods_are_asked_as_they_are_told() {
    let state = State::default();
    let now = Instant::now();
    state.planned(&policy(), plan(OLD), now);
    for number in 0..1000 {
        state.pod_seen(pod(&format!("web-{number:03}"), Stage::Running), now);
    }
    while let Ok(question) = state.take_due(now + schedule::SOON) {
        state.answered(&question, answer(OLD), now, INTERVAL);
    }
    state.planned(&policy(), plan(NEW), now);
    let soon = now + schedule::SOON;
    assert_eq!(state.take_due(soon).unwrap().key.name, "web-000");
    assert_eq!(
        state.take_due(soon).unwrap_err(),
        Some(soon + Duration::from_millis(20)),
        "the next one's turn"
    );
    state.pod_seen(Pod { hashes: Some(format!("web={NEW}")), ..pod("web-999", Stage::Running) }, now);
    assert_eq!(state.take_due(soon).unwrap().key.name, "web-999", "it was told");
}

#[test]
fn what_was_said_long_ago_counts_no_more() {
    let state = State::default();
    let now = Instant::now();
    state.planned(&policy(), plan(OLD), now);
    state.pod_seen(pod("a", Stage::Running), now);
    let question = state.take_due(now + schedule::SOON).unwrap();
    state.answered(&question, answer(OLD), now, INTERVAL);
    let observed = || state.summary(&policy(), &plan(OLD), None).observed;
    state.expire(now + INTERVAL * 3, INTERVAL);
    assert_eq!(observed(), 1);
    drain(&state.policies);
    state.expire(now + INTERVAL * 3 + schedule::SOON, INTERVAL);
    assert_eq!(observed(), 0);
    assert_eq!(drain(&state.policies), ["shop/web"]);
}

#[test]
fn pods_without_a_sidecar_are_news_once() {
    let state = State::default();
    let bare = |name: &str| Bare {
        key: Key::new("shop", name),
        uid: name.to_owned(),
        policies: ["web".to_owned()].into(),
        owner: None,
        created: None,
        never_injected: true,
        reason: "SidecarMissing".to_owned(),
        message: String::new(),
    };
    let missing = || state.summary(&policy(), &Plan::default(), Some(7)).counts.missing;
    assert_eq!(missing(), 7, "nobody has looked since");
    assert_eq!(state.swept(vec![bare("a")]).len(), 1);
    assert_eq!(drain(&state.policies), ["shop/web"]);
    assert_eq!(missing(), 1);
    assert_eq!(state.swept(vec![bare("a")]).len(), 0);
    assert_eq!(drain(&state.policies), [""; 0]);
    assert_eq!(state.swept(vec![]).len(), 0);
    assert_eq!(drain(&state.policies), ["shop/web"]);
    assert_eq!(missing(), 0);
}

#[test]
fn that_nobody_is_missing_is_news_the_first_time() {
    let state = State::default();
    state.planned(&policy(), plan(OLD), Instant::now());
    assert!(!state.summary(&policy(), &plan(OLD), None).searched);
    assert_eq!(state.swept(vec![]).len(), 0);
    assert_eq!(drain(&state.policies), ["shop/web"]);
    assert!(state.summary(&policy(), &plan(OLD), None).searched);
    state.swept(vec![]);
    assert_eq!(drain(&state.policies), [""; 0]);
}
