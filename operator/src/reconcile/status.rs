//! The fifth step: what was decided, done and seen -> the status of a policy.
//!
//! What always holds: what was not observed is `Unknown`; `Ready` is true only if nothing is false or unknown that
//! matters, and takes the reason of the first that does.

use capstan_config::ConfigHash;
use capstan_crds::{LogRotationPolicySpec, LogRotationPolicyStatus};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::apply::Delivery;
use super::conditions::{Finding, Truth, conditions};
use super::summary::{Example, PodSummary};
use super::validate::{Problem, Reason};

/// What the status is made of.
#[derive(Clone, Debug)]
pub struct Seen<'a> {
    /// What is wrong with the spec; nothing, if it was accepted.
    pub problems: &'a [Problem],
    /// What became of the configuration.
    pub delivery: &'a Delivery,
    /// What the pods amount to.
    pub pods: &'a PodSummary,
}

/// The status of a policy.
pub fn policy(
    spec: &LogRotationPolicySpec,
    generation: Option<i64>,
    before: &[Condition],
    seen: &Seen,
    now: Timestamp,
) -> LogRotationPolicyStatus {
    let mut findings = vec![
        accepted(seen.problems),
        resolved(spec, seen.problems),
        delivered(seen),
        rotating(spec, seen.pods),
        forwarding(spec, seen.pods),
    ];
    findings.push(ready(&findings, seen.pods));
    LogRotationPolicyStatus {
        observed_generation: generation,
        conditions: conditions(&findings, before, generation, now),
        config_hash: seen.delivery.hash().map(ToString::to_string),
        pods: Some(seen.pods.counts),
    }
}

/// The reason of `Ready` while nobody has looked for pods without a sidecar.
const NOT_SEARCHED: &str = "NotSearched";

/// How many pods of a policy had no sidecar by its status, if somebody had looked.
pub fn missing(before: &LogRotationPolicyStatus) -> Option<i64> {
    let looked = !before.conditions.iter().any(|condition| condition.reason == NOT_SEARCHED);
    before.pods.filter(|_| looked).map(|pods| pods.missing)
}

fn sentences<'a>(problems: impl Iterator<Item = &'a Problem>) -> String {
    problems.map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

fn accepted(problems: &[Problem]) -> Finding {
    let own = || {
        let of_policy = problems.iter().filter(|problem| problem.destination.is_none());
        of_policy.filter(|problem| problem.reason != Reason::DestinationMissing)
    };
    let worst = own().map(|problem| problem.reason).min();
    let reason = match worst {
        None => return Finding::yes("Accepted", "Accepted", "every field can be used"),
        Some(Reason::TooLarge) => "TooLarge",
        Some(Reason::NotSupported) => "NotSupported",
        Some(_) => "Invalid",
    };
    Finding::no("Accepted", reason, sentences(own()))
}

fn resolved(spec: &LogRotationPolicySpec, problems: &[Problem]) -> Finding {
    const KIND: &str = "DestinationsResolved";
    let of_destinations = || {
        problems
            .iter()
            .filter(|problem| problem.destination.is_some() || problem.reason == Reason::DestinationMissing)
    };
    let has = |reason| of_destinations().any(|problem| problem.reason == reason);
    let reason = match () {
        () if has(Reason::DestinationMissing) => "DestinationMissing",
        () if has(Reason::AuthorityMissing) => "AuthorityMissing",
        () if of_destinations().next().is_some() => "DestinationInvalid",
        () if !forwards(spec) => return Finding::yes(KIND, "NoDestinations", "no log is forwarded"),
        () => return Finding::yes(KIND, "Resolved", "every destination can be used"),
    };
    Finding::no(KIND, reason, sentences(of_destinations()))
}

fn forwards(spec: &LogRotationPolicySpec) -> bool {
    spec.logs.iter().any(|log| log.forward.is_some())
}

fn rotates(spec: &LogRotationPolicySpec) -> bool {
    spec.logs.iter().any(|log| log.rotate.is_some())
}

fn delivered(seen: &Seen) -> Finding {
    const KIND: &str = "ConfigDelivered";
    let PodSummary { counts, refused, lagging, not_running, silent, .. } = seen.pods;
    match seen.delivery {
        Delivery::NameTaken(name) => {
            return Finding::no(
                KIND,
                "NameTaken",
                format!("there is a ConfigMap {name:?} that is not Capstan's; rename or delete it"),
            );
        }
        Delivery::Refused { message, .. } => {
            let message = format!("the API server does not take its ConfigMap: {message}");
            return Finding::no(KIND, "ApplyFailed", message);
        }
        Delivery::Lost { name, last, found } => return lost(KIND, name, last, found.as_ref()),
        Delivery::Kept(None) => {
            return Finding::no(
                KIND,
                "NothingDelivered",
                "no configuration of this policy could be used yet",
            );
        }
        Delivery::Kept(Some(hash)) => {
            return Finding::no(
                KIND,
                "LastGoodKept",
                format!("this generation cannot be used, so configuration {hash} stays in effect"),
            );
        }
        Delivery::Applied(_) => {}
    }
    let (injected, up_to_date) = (counts.injected, counts.up_to_date);
    if let Some((pod, error)) = refused {
        return Finding::no(KIND, "SidecarRefused", format!("the sidecar of pod {pod} refuses it: {error}"));
    }
    if counts.need_restart > 0 {
        let message = format!(
            "{} of {injected} pods do not mount a Secret or policy that is needed; restart them, for example with \
             kubectl rollout restart",
            counts.need_restart
        );
        return Finding::no(KIND, "RestartNeeded", message);
    }
    if injected == 0 {
        return Finding::yes(KIND, "NoPods", "the configuration is ready; no pod with a sidecar uses it");
    }
    if up_to_date == injected {
        return Finding::yes(KIND, "Delivered", format!("{injected} of {injected} sidecars have it"));
    }
    let not_observed = not_running.as_ref().or(silent.as_ref()).filter(|_| counts.unobserved > 0);
    let progress = format!("{up_to_date} of {injected} sidecars have it");
    match not_observed {
        Some((pod, why)) => Finding::unknown(
            KIND,
            "NotObserved",
            format!("{progress}; that of pod {pod} says nothing: {why}"),
        ),
        None => {
            let example = lagging.as_ref().map(|(pod, error)| format!("; that of pod {pod} says: {error}"));
            Finding::unknown(KIND, "Progressing", format!("{progress}{}", example.unwrap_or_default()))
        }
    }
}

fn lost(kind: &'static str, name: &str, last: &ConfigHash, found: Option<&ConfigHash>) -> Finding {
    let instead = match found {
        Some(found) => format!("somebody else wrote configuration {found} into ConfigMap {name}"),
        None => format!("ConfigMap {name} does not hold it any more, and new pods get none"),
    };
    let message = format!(
        "this generation cannot be used, configuration {last} was the last good one, and {instead}; correct the policy"
    );
    Finding::no(kind, "LastGoodLost", message)
}

/// What is unknown of sidecars as long as not all were asked; nothing, if all were.
fn not_observed(kind: &'static str, pods: &PodSummary) -> Option<Finding> {
    let counts = &pods.counts;
    if counts.injected == 0 {
        return Some(Finding::unknown(kind, "NoPods", "no pod with a sidecar uses this policy"));
    }
    let example = pods.not_running.as_ref().or(pods.silent.as_ref());
    let example = example.map(|(pod, why)| format!("; that of pod {pod}: {why}")).unwrap_or_default();
    let message =
        format!("{} of {} sidecars could not be asked{example}", counts.unobserved, counts.injected);
    (counts.unobserved > 0).then(|| Finding::unknown(kind, "NotObserved", message))
}

fn rotating(spec: &LogRotationPolicySpec, pods: &PodSummary) -> Finding {
    const KIND: &str = "Rotating";
    if !rotates(spec) {
        return Finding::unknown(KIND, "NotConfigured", "no log is rotated");
    }
    wrong(KIND, "NotReopened", "the app has not reopened", &pods.held)
        .or_else(|| not_observed(KIND, pods))
        .or_else(|| no_files(KIND, pods))
        .unwrap_or_else(|| {
            Finding::yes(KIND, "AsConfigured", "no sidecar reports a file that was not reopened")
        })
}

fn forwarding(spec: &LogRotationPolicySpec, pods: &PodSummary) -> Finding {
    const KIND: &str = "Forwarding";
    if !forwards(spec) {
        return Finding::unknown(KIND, "NotConfigured", "no log is forwarded");
    }
    wrong(KIND, "DestinationUnreachable", "lines do not arrive at", &pods.unreachable)
        .or_else(|| not_observed(KIND, pods))
        .or_else(|| no_files(KIND, pods))
        .or_else(|| on_the_way(KIND, pods))
        .unwrap_or_else(|| {
            let message = "every sidecar has a connection to each destination, or had all it sent confirmed";
            Finding::yes(KIND, "AsConfigured", message)
        })
}

/// What is not known of destinations that nobody reports trouble with: whether lines would arrive.
fn on_the_way(kind: &'static str, pods: &PodSummary) -> Option<Finding> {
    if let Some((pod, destination)) = &pods.connecting {
        let message = format!("lines of pod {pod} wait for its first connection to {destination}");
        return Some(Finding::unknown(kind, "Connecting", message));
    }
    let (pod, destination) = pods.idle.as_ref()?;
    let message = format!("pod {pod} has had nothing to send to {destination} yet");
    Some(Finding::unknown(kind, "Idle", message))
}

fn wrong(kind: &'static str, reason: &'static str, what: &str, example: &Example) -> Option<Finding> {
    let (pod, detail) = example.as_ref()?;
    Some(Finding::no(kind, reason, format!("in pod {pod}, {what} {detail}")))
}

fn no_files(kind: &'static str, pods: &PodSummary) -> Option<Finding> {
    let message = "no sidecar has found a file yet that the patterns match";
    (pods.files == 0).then(|| Finding::unknown(kind, "NoFiles", message))
}

/// Reasons for not knowing that leave nothing to be desired.
const NO_MATTER: [&str; 3] = ["NotConfigured", "NoPods", "Idle"];

fn ready(findings: &[Finding], pods: &PodSummary) -> Finding {
    const KIND: &str = "Ready";
    let same = |finding: &Finding| Finding { kind: KIND, ..finding.clone() };
    if let Some(wrong) = findings.iter().find(|finding| finding.truth == Truth::False) {
        return same(wrong);
    }
    if pods.counts.missing > 0 {
        let message = format!(
            "{} of {} pods have no sidecar; their Events say why, and new pods get one",
            pods.counts.missing, pods.counts.matched
        );
        return Finding::no(KIND, "PodsMissing", message);
    }
    if !pods.searched {
        let message = "nobody has looked yet whether there are pods without a sidecar";
        return Finding::unknown(KIND, NOT_SEARCHED, message);
    }
    let matters =
        |finding: &&Finding| finding.truth == Truth::Unknown && !NO_MATTER.contains(&finding.reason);
    match findings.iter().find(matters) {
        Some(unknown) => same(unknown),
        None if pods.counts.injected == 0 => {
            Finding::yes(KIND, "NoPods", "the configuration is ready; no pod uses it")
        }
        None => {
            Finding::yes(KIND, "AsConfigured", "every sidecar does what the policy says, as far as it tells")
        }
    }
}

#[cfg(test)]
mod tests;
