//! What the pods of a policy, and what their sidecars said, amount to.
//!
//! In: pods with their observations. Out: counts, and one example of each thing that is wrong. What always holds: a
//! sidecar that was not asked counts as not observed, whatever it said before it fell silent.

use std::collections::BTreeSet;

use capstan_config::ConfigHash;
use capstan_crds::destination::{LastError, SidecarCounts};
use capstan_crds::policy::PodCounts;

use crate::feedback::report::{DestinationReport, Failure, Link, Report};
use crate::pods::index::Entry;
use crate::pods::record::Stage;

/// How often in a row a sidecar must be found without the configuration until that counts as a refusal. Before, what it
/// says may be about the one before: kubelet takes a moment.
pub const REFUSALS: u32 = 4;

/// What is asked about a policy.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Question<'a> {
    /// The policy's name.
    pub policy: &'a str,
    /// The configuration that sidecars should have.
    pub hash: Option<&'a ConfigHash>,
    /// The Secrets that they need for it.
    pub secrets: BTreeSet<String>,
    /// The destinations that it sends to.
    pub destinations: BTreeSet<String>,
}

/// What is wrong with one sidecar, as an example for all.
pub type Example = Option<(String, String)>;

/// What the pods of a policy amount to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodSummary {
    /// The counts for the status.
    pub counts: PodCounts,
    /// Whether pods without a sidecar were looked for.
    pub searched: bool,
    /// Sidecars that said something.
    pub observed: i64,
    /// Sidecars that run and were not asked yet.
    pub unasked: i64,
    /// Log files that they have found.
    pub files: usize,
    /// A pod whose sidecar does not run, and why.
    pub not_running: Example,
    /// A pod whose sidecar could not be asked, and why.
    pub silent: Example,
    /// A pod whose sidecar keeps an older configuration, and why.
    pub refused: Example,
    /// A pod whose sidecar has no configuration yet, or not long enough to tell, and what it says.
    pub lagging: Example,
    /// A pod whose app has not reopened a file, and which.
    pub held: Example,
    /// A pod from which a destination cannot be reached, and why.
    pub unreachable: Example,
    /// A pod whose lines wait for the first connection to a destination, and which.
    pub connecting: Example,
    /// A pod that has sent nothing yet to a destination, since there was nothing to send, and which.
    pub idle: Example,
}

/// Sums up the pods of a policy; `missing` is how many have no sidecar, if somebody has looked.
pub fn of_policy<'a>(
    question: &Question,
    entries: impl Iterator<Item = &'a Entry>,
    missing: Option<i64>,
) -> PodSummary {
    let mut summary = PodSummary { searched: missing.is_some(), ..PodSummary::default() };
    // Those that carry the label without the sidecar are not found by who looks for the label's absence.
    let mut labelled = 0;
    for entry in entries {
        labelled += i64::from(entry.pod.is_bare());
        if entry.pod.counts() {
            add(&mut summary, question, entry);
        }
    }
    summary.counts.missing = missing.unwrap_or_default().saturating_add(labelled);
    summary.counts.matched = summary.counts.injected + summary.counts.missing;
    summary.counts.unobserved = summary.counts.injected - summary.observed;
    summary
}

fn add(summary: &mut PodSummary, question: &Question, entry: &Entry) {
    let Entry { pod, seen } = entry;
    let note = |example: &mut Example, what: String| {
        example.get_or_insert_with(|| (pod.key.name.clone(), what));
    };
    summary.counts.injected += 1;
    if !pod.mounts_all(question.policy, &question.secrets) {
        summary.counts.need_restart += 1;
    }
    if let Some(trouble) = &pod.trouble {
        note(&mut summary.not_running, trouble.clone());
    }
    let Some(report) = &seen.report else {
        match &seen.error {
            Some(error) => note(&mut summary.silent, error.clone()),
            None => summary.unasked += i64::from(was_not_asked(entry)),
        }
        return;
    };
    summary.observed += 1;
    if let Some(policy) = report.policies.get(question.policy) {
        let current = policy.hash.as_deref() == question.hash.map(ConfigHash::as_str);
        match (&policy.hash, &policy.error) {
            (Some(_), _) if current => summary.counts.up_to_date += 1,
            (Some(_), Some(error)) if seen.failures >= REFUSALS => note(&mut summary.refused, error.clone()),
            (_, Some(error)) => note(&mut summary.lagging, error.clone()),
            (_, None) => {}
        }
    }
    let own = format!("{}/", question.policy);
    for (name, log) in report.logs.iter().filter(|(name, _)| name.starts_with(&own)) {
        summary.files += log.files;
        if let Some(path) = &log.held {
            note(&mut summary.held, format!("{path} of log {}", name.trim_start_matches(&own)));
        }
    }
    for name in &question.destinations {
        // A sidecar that does not speak of it has nothing to send there.
        let said = destination(report, question.policy, name);
        match said.map(|said| (&said.failing, said.link)) {
            Some((Some(failure), _)) => {
                note(&mut summary.unreachable, format!("{name}: {}", failure.message));
            }
            Some((None, Link::Works)) => {}
            Some((None, Link::Connecting)) => note(&mut summary.connecting, name.clone()),
            Some((None, Link::Idle)) | None => note(&mut summary.idle, name.clone()),
        }
    }
}

/// Whether a sidecar is about to be asked for the first time.
fn was_not_asked(Entry { pod, seen }: &Entry) -> bool {
    let runs = pod.stage == Stage::Running && pod.address.is_some();
    runs && seen.report.is_none() && seen.error.is_none()
}

/// What a sidecar says of a destination, which it knows by its own name or, if another policy has another one of that
/// name, together with the policy's.
fn destination<'a>(report: &'a Report, policy: &str, name: &str) -> Option<&'a DestinationReport> {
    report.destinations.get(&format!("{policy}/{name}")).or_else(|| report.destinations.get(name))
}

/// What the sidecars that send to a destination amount to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DestinationSummary {
    /// The policies that send to it and were reconciled.
    pub policies: usize,
    /// The counts for the status.
    pub counts: SidecarCounts,
    /// Sidecars whose lines wait for the first connection.
    pub connecting: i64,
    /// Sidecars that run and were not asked yet.
    pub unasked: i64,
    /// A failure, as an example for all.
    pub last_error: Option<LastError>,
}

/// Sums up the sidecars that send to a destination. Each entry comes with the policies through which it sends there;
/// `told` is the example that the status has: it stays while that sidecar fails, and else it is the one that has failed
/// longest, so that one more that fails changes a count only.
pub fn of_destination<'a>(
    name: &str,
    entries: impl Iterator<Item = (&'a Entry, &'a str)>,
    told: Option<&LastError>,
) -> DestinationSummary {
    let mut summary = DestinationSummary::default();
    let mut failures: Vec<LastError> = Vec::new();
    for (entry, policy) in entries.filter(|(entry, _)| entry.pod.counts()) {
        summary.unasked += i64::from(was_not_asked(entry));
        let said = entry.seen.report.as_ref().and_then(|report| destination(report, policy, name));
        let Some(said) = said else { continue };
        summary.counts.observed += 1;
        match (&said.failing, said.link) {
            (Some(failure), _) => failures.push(last_error(&entry.pod.key.name, failure)),
            (None, Link::Works) => summary.counts.connected += 1,
            (None, Link::Connecting) => summary.connecting += 1,
            (None, Link::Idle) => {}
        }
    }
    summary.counts.failing = i64::try_from(failures.len()).unwrap_or(i64::MAX);
    let goes_on = |told: &&LastError| {
        failures.iter().any(|error| error.pod == told.pod && failure(told).goes_on_as(&failure(error)))
    };
    let longest = || failures.iter().min_by_key(|error| (&error.time, &error.pod));
    summary.last_error = told.filter(goes_on).or_else(longest).cloned();
    summary
}

fn last_error(pod: &str, failure: &Failure) -> LastError {
    let message = failure.message.chars().take(512).collect();
    LastError { pod: pod.to_owned(), message, time: failure.since.clone() }
}

fn failure(error: &LastError) -> Failure {
    Failure { message: error.message.clone(), since: error.time.clone() }
}
