//! Conditions from what was observed.

mod delivery;

use std::collections::BTreeMap;

use capstan_config::ConfigHash;
use capstan_crds::destination::LastError;
use capstan_crds::policy::PodCounts;

use super::*;
use crate::feedback::report::{
    DestinationReport, Failure, Link, LogReport, Observation, PolicyReport, Report,
};
use crate::pods::index::Entry;
use crate::pods::record::{Pod, PodPart, Sidecar};
use crate::reconcile::summary::{self, Question};

const BOTH: &str = "logs: [{ name: access, files: { include: [/a] },
    rotate: { when: { size: 1 }, reopen: { none: {} }, retention: { count: 1 } },
    forward: { destinations: [{ name: central }] } }]";
const ROTATED: &str = "logs: [{ name: access, files: { include: [/a] },
    rotate: { when: { size: 1 }, reopen: { none: {} }, retention: { count: 1 } } }]";

fn hash() -> ConfigHash {
    "0123456789abcdef".parse().unwrap()
}

/// A pod with a running sidecar that mounts what it should.
fn pod(name: &str) -> Pod {
    let yaml = format!(
        "metadata: {{ namespace: shop, name: {name}, uid: {name}, annotations: {{ capstan.dev/policy: web }} }}
spec: {{ initContainers: [{{ name: capstan, volumeMounts: [{{ mountPath: /etc/capstan/policies/web }}] }}] }}
status: {{ phase: Running, podIP: 10.0.0.1, initContainerStatuses: [{{ name: capstan, image: i, imageID: i,
  ready: true, restartCount: 0, state: {{ running: {{}} }} }}] }}"
    );
    Pod::read(&serde_yaml_ng::from_str::<PodPart>(&yaml).unwrap())
}

/// What a sidecar says that does everything right.
fn good() -> Report {
    let policy = PolicyReport { hash: Some(hash().to_string()), error: None };
    Report {
        policies: BTreeMap::from([("web".to_owned(), policy)]),
        logs: BTreeMap::from([("web/access".to_owned(), LogReport { files: 1, held: None })]),
        destinations: BTreeMap::from([(
            "central".to_owned(),
            DestinationReport { link: Link::Works, failing: None },
        )]),
    }
}

fn said(name: &str, report: Report) -> Entry {
    Entry { pod: pod(name), seen: Observation { report: Some(report), ..Observation::default() } }
}

fn silent(name: &str) -> Entry {
    let error = Some("connection refused".to_owned());
    Entry { pod: pod(name), seen: Observation { error, ..Observation::default() } }
}

fn sum(entries: &[Entry], missing: i64) -> PodSummary {
    sum_found(entries, Some(missing))
}

fn sum_found(entries: &[Entry], missing: Option<i64>) -> PodSummary {
    let hash = hash();
    let question = Question {
        policy: "web",
        hash: Some(&hash),
        secrets: Default::default(),
        destinations: ["central".to_owned()].into(),
    };
    summary::of_policy(&question, entries.iter(), missing)
}

/// The conditions as `Kind=Status Reason`, without those that are as they should be, but always `Ready`.
fn conditions_of(spec: &str, problems: &[Problem], delivery: Delivery, pods: &PodSummary) -> Vec<String> {
    let spec = serde_yaml_ng::from_str(spec).unwrap();
    let seen = Seen { problems, delivery: &delivery, pods };
    let status = policy(&spec, Some(3), &[], &seen, Timestamp::UNIX_EPOCH);
    assert_eq!(status.observed_generation, Some(3));
    assert!(status.conditions.iter().all(|condition| condition.observed_generation == Some(3)));
    let odd = status.conditions.iter().filter(|it| it.status != "True" || it.type_ == "Ready");
    odd.map(|it| format!("{}={} {}", it.type_, it.status, it.reason)).collect()
}

fn observed(entries: &[Entry], missing: i64) -> Vec<String> {
    conditions_of(BOTH, &[], Delivery::Applied(hash()), &sum(entries, missing))
}

#[test]
fn everything_that_was_seen_to_be_right_is_true() {
    assert_eq!(observed(&[said("a", good()), said("b", good())], 0), ["Ready=True AsConfigured"]);
    let counts = sum(&[said("a", good()), silent("b")], 1).counts;
    let expected =
        PodCounts { matched: 3, injected: 2, missing: 1, up_to_date: 1, unobserved: 1, need_restart: 0 };
    assert_eq!(counts, expected);
}

#[test]
fn what_was_not_asked_is_unknown() {
    assert_eq!(
        observed(&[said("a", good()), silent("b")], 0),
        [
            "ConfigDelivered=Unknown NotObserved",
            "Rotating=Unknown NotObserved",
            "Forwarding=Unknown NotObserved",
            "Ready=Unknown NotObserved"
        ]
    );
    let not_asked_yet = Entry { pod: pod("a"), seen: Observation::default() };
    assert_eq!(
        observed(&[not_asked_yet], 0),
        [
            "ConfigDelivered=Unknown Progressing",
            "Rotating=Unknown NotObserved",
            "Forwarding=Unknown NotObserved",
            "Ready=Unknown Progressing"
        ]
    );
}

#[test]
fn without_pods_there_is_nothing_to_observe() {
    assert_eq!(
        observed(&[], 0),
        ["Rotating=Unknown NoPods", "Forwarding=Unknown NoPods", "Ready=True NoPods"]
    );
    let missing = observed(&[], 2);
    assert_eq!(missing.last().unwrap(), "Ready=False PodsMissing");
}

#[test]
fn a_sidecar_that_is_behind_is_progress_and_one_that_refuses_is_not() {
    let behind = |hash: Option<&str>, error: Option<&str>, failures: u32| {
        let mut report = good();
        let policy = PolicyReport { hash: hash.map(str::to_owned), error: error.map(str::to_owned) };
        report.policies.insert("web".to_owned(), policy);
        let mut entry = said("a", report);
        entry.seen.failures = failures;
        observed(&[entry], 0)
    };
    let progressing = ["ConfigDelivered=Unknown Progressing", "Ready=Unknown Progressing"];
    let older = Some("fedcba9876543210");
    assert_eq!(behind(older, None, 9), progressing);
    assert_eq!(behind(None, None, 9), progressing);
    assert_eq!(behind(None, Some("not there yet"), 9), progressing);
    assert_eq!(behind(older, Some("the file is empty"), 1), progressing, "that may be about the one before");
    let refused = ["ConfigDelivered=False SidecarRefused", "Ready=False SidecarRefused"];
    assert_eq!(behind(older, Some("the file is empty"), 4), refused);
    assert_eq!(behind(Some(hash().as_str()), Some("the file is gone"), 0), ["Ready=True AsConfigured"]);
}

#[test]
fn files_and_destinations_that_trouble_a_sidecar_are_told() {
    let mut held = good();
    held.logs.insert("web/access".to_owned(), LogReport { files: 1, held: Some("/var/log/a".to_owned()) });
    held.logs.insert("other/access".to_owned(), LogReport { files: 1, held: Some("/b".to_owned()) });
    assert_eq!(
        observed(&[said("a", held.clone())], 0),
        ["Rotating=False NotReopened", "Ready=False NotReopened"]
    );
    let summary = sum(&[said("a", held)], 0);
    assert_eq!(summary.held, Some(("a".to_owned(), "/var/log/a of log access".to_owned())));

    let failing = Some(Failure { message: "certificate expired".to_owned(), since: String::new() });
    let mut failed = good();
    failed.destinations.insert("central".to_owned(), DestinationReport { link: Link::Connecting, failing });
    assert_eq!(
        observed(&[said("a", good()), said("b", failed.clone())], 0),
        ["Forwarding=False DestinationUnreachable", "Ready=False DestinationUnreachable"]
    );
    let summary = sum(&[said("b", failed)], 0);
    assert_eq!(summary.unreachable, Some(("b".to_owned(), "central: certificate expired".to_owned())));
}

#[test]
fn that_lines_arrive_is_said_only_of_what_was_seen() {
    let with = |link: Link| {
        let mut report = good();
        report.destinations.insert("central".to_owned(), DestinationReport { link, failing: None });
        observed(&[said("a", good()), said("b", report)], 0)
    };
    assert_eq!(with(Link::Idle), ["Forwarding=Unknown Idle", "Ready=True AsConfigured"]);
    assert_eq!(with(Link::Connecting), ["Forwarding=Unknown Connecting", "Ready=Unknown Connecting"]);
    assert_eq!(with(Link::Works), ["Ready=True AsConfigured"]);
    let mut older = good();
    older.destinations.clear();
    assert_eq!(observed(&[said("a", older)], 0)[0], "Forwarding=Unknown Idle");
}

#[test]
fn one_failure_is_the_example_while_it_goes_on() {
    let failing = |name: &str, message: &str, minute: u32| {
        let since = format!("2026-11-21T00:{minute:02}:00Z");
        let failing = Some(Failure { message: message.to_owned(), since });
        let mut report = good();
        report
            .destinations
            .insert("central".to_owned(), DestinationReport { link: Link::Connecting, failing });
        said(name, report)
    };
    let example = |entries: &[Entry], told: Option<&LastError>| {
        let entries = entries.iter().map(|entry| (entry, "web"));
        summary::of_destination("central", entries, told).last_error
    };
    let (old, new) = (failing("b", "refused", 1), failing("a", "timed out", 2));
    let first = example(&[old.clone(), new.clone()], None).unwrap();
    assert_eq!((first.pod.as_str(), first.message.as_str()), ("b", "refused"), "the longest");
    let older = failing("0", "refused", 0);
    assert_eq!(example(&[older, old, new.clone()], Some(&first)), Some(first.clone()), "it goes on");
    assert_eq!(example(&[new], Some(&first)).unwrap().pod, "a", "it is over");
    assert_eq!(example(&[said("b", good())], Some(&first)), None);
}

#[test]
fn patterns_that_match_nothing_are_no_success() {
    let mut none = good();
    none.logs.clear();
    assert_eq!(
        observed(&[said("a", none)], 0),
        ["Rotating=Unknown NoFiles", "Forwarding=Unknown NoFiles", "Ready=Unknown NoFiles"]
    );
}

#[test]
fn what_is_not_configured_does_not_matter() {
    let conditions = conditions_of(ROTATED, &[], Delivery::Applied(hash()), &sum(&[said("a", good())], 0));
    assert_eq!(conditions, ["Forwarding=Unknown NotConfigured", "Ready=True AsConfigured"]);
}

#[test]
fn a_pod_that_lacks_a_mount_needs_a_restart() {
    let mut old = said("a", good());
    old.pod.mounts.clear();
    assert_eq!(observed(&[old], 0), ["ConfigDelivered=False RestartNeeded", "Ready=False RestartNeeded"]);
}

#[test]
fn a_sidecar_that_does_not_run_says_why() {
    let mut entry = Entry { pod: pod("a"), seen: Observation::default() };
    entry.pod.trouble = Some("ImagePullBackOff: not found".to_owned());
    let summary = sum(&[entry], 0);
    let spec = serde_yaml_ng::from_str(BOTH).unwrap();
    let seen = Seen { problems: &[], delivery: &Delivery::Applied(hash()), pods: &summary };
    let status = policy(&spec, None, &[], &seen, Timestamp::UNIX_EPOCH);
    assert_eq!(
        status.conditions[2].message,
        "0 of 1 sidecars have it; that of pod a says nothing: ImagePullBackOff: not found"
    );
}

#[test]
fn before_anybody_has_looked_for_pods_without_a_sidecar_nothing_is_ready() {
    let spec = serde_yaml_ng::from_str(BOTH).unwrap();
    let of = |pods: &PodSummary| {
        let seen = Seen { problems: &[], delivery: &Delivery::Applied(hash()), pods };
        policy(&spec, None, &[], &seen, Timestamp::UNIX_EPOCH)
    };
    let unknown = of(&sum_found(&[said("a", good())], None));
    let ready = unknown.conditions.last().unwrap();
    assert_eq!((ready.status.as_str(), ready.reason.as_str()), ("Unknown", "NotSearched"));
    assert_eq!(missing(&unknown), None, "the next leader has nothing to go by either");
    assert_eq!(missing(&of(&sum(&[], 2))), Some(2));
    assert_eq!(missing(&LogRotationPolicyStatus::default()), None);
}

#[test]
fn a_pod_with_the_label_and_without_the_sidecar_is_missing() {
    let mut labelled = silent("b");
    labelled.pod.sidecar = Sidecar::Missing;
    let counts = sum(&[said("a", good()), labelled], 1).counts;
    assert_eq!((counts.matched, counts.injected, counts.missing, counts.unobserved), (3, 1, 2, 0));
}

#[test]
fn who_was_not_asked_yet_is_known() {
    let fresh = Entry { pod: pod("a"), seen: Observation::default() };
    let mut waiting = fresh.clone();
    waiting.pod.stage = crate::pods::record::Stage::Waiting;
    assert_eq!(sum(&[fresh, waiting, silent("b"), said("c", good())], 0).unasked, 1);
}

#[test]
fn pods_that_end_are_not_counted() {
    let mut ending = said("a", good());
    ending.pod.stage = crate::pods::record::Stage::Ending;
    assert_eq!(sum(&[ending], 0).counts, PodCounts::default());
}
