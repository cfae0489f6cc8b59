//! What the pods of a policy, and what their sidecars said, amount to.
//!
//! In: pods with their observations. Out: counts, and one example of each thing that is wrong. What always holds: a
//! sidecar that was not asked counts as not observed, whatever it said before it fell silent.

use std::collections::BTreeSet;

use capstan_config::ConfigHash;
use capstan_crds::destination::{LastError, SidecarCounts};
use capstan_crds::policy::PodCounts;

use crate::feedback::report::{DestinationReport, Report};
use crate::pods::index::Entry;

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
    /// Sidecars that said something.
    pub observed: i64,
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
}

/// Sums up the pods of a policy; `missing` is how many have no sidecar.
pub fn of_policy<'a>(
    question: &Question,
    entries: impl Iterator<Item = &'a Entry>,
    missing: usize,
) -> PodSummary {
    let mut summary = PodSummary::default();
    for entry in entries.filter(|entry| entry.pod.counts()) {
        add(&mut summary, question, entry);
    }
    summary.counts.missing = i64::try_from(missing).unwrap_or(i64::MAX);
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
        if let Some(error) = &seen.error {
            note(&mut summary.silent, error.clone());
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
        if let Some(failure) = destination(report, question.policy, name).and_then(|it| it.failing.as_ref()) {
            note(&mut summary.unreachable, format!("{name}: {}", failure.message));
        }
    }
}

/// What a sidecar says of a destination, which it knows by its own name or, if another policy has another one of that
/// name, together with the policy's.
fn destination<'a>(report: &'a Report, policy: &str, name: &str) -> Option<&'a DestinationReport> {
    report.destinations.get(&format!("{policy}/{name}")).or_else(|| report.destinations.get(name))
}

/// What the sidecars that send to a destination amount to. Each entry comes with the policies through which it sends
/// there.
pub fn of_destination<'a>(
    name: &str,
    entries: impl Iterator<Item = (&'a Entry, &'a str)>,
) -> (SidecarCounts, Option<LastError>) {
    let mut counts = SidecarCounts::default();
    let mut last: Option<LastError> = None;
    for (entry, policy) in entries.filter(|(entry, _)| entry.pod.counts()) {
        let said = entry.seen.report.as_ref().and_then(|report| destination(report, policy, name));
        let Some(said) = said else { continue };
        counts.observed += 1;
        match &said.failing {
            None => counts.connected += 1,
            Some(failure) => {
                counts.failing += 1;
                if last.as_ref().is_none_or(|last| last.time < failure.since) {
                    let message: String = failure.message.chars().take(512).collect();
                    let pod = entry.pod.key.name.clone();
                    last = Some(LastError { pod, message, time: failure.since.clone() });
                }
            }
        }
    }
    (counts, last)
}
