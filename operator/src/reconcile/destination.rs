//! Reconciles a destination: it has no objects of its own, only a status.

use capstan_crds::destination::{LastError, SidecarCounts};
use capstan_crds::{LogDestination, LogDestinationStatus};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::conditions::{Finding, Truth, conditions};
use super::validate::{self, Problem, Reason};
use super::{ReconcileError, write};
use crate::controller::context::Context;
use crate::pods::Key;

/// Reconciles a destination.
///
/// # Errors
/// The step that failed.
pub async fn reconcile(destination: &LogDestination, context: &Context) -> Result<(), ReconcileError> {
    let key = Key::of(destination);
    let problems = validate::destination(&key.name, &destination.spec).err().unwrap_or_default();
    let (sidecars, last_error) = context.state.destination_summary(&key);
    let seen = Seen { problems: &problems, used_by: context.users(&key), sidecars, last_error };
    let before = context.last_destination_status(destination);
    let generation = destination.metadata.generation;
    let after = status(generation, &before.conditions, &seen, Timestamp::now());
    write::destination_status(context, destination, &before, after).await.map_err(ReconcileError::Status)
}

/// What the status is made of.
#[derive(Clone, Debug)]
struct Seen<'a> {
    problems: &'a [Problem],
    used_by: usize,
    sidecars: SidecarCounts,
    last_error: Option<LastError>,
}

fn status(
    generation: Option<i64>,
    before: &[Condition],
    seen: &Seen,
    now: Timestamp,
) -> LogDestinationStatus {
    let mut findings = vec![accepted(seen.problems), connected(seen)];
    findings.push(ready(&findings));
    LogDestinationStatus {
        observed_generation: generation,
        conditions: conditions(&findings, before, generation, now),
        used_by: i64::try_from(seen.used_by).ok(),
        sidecars: Some(seen.sidecars),
        last_error: seen.last_error.clone(),
    }
}

fn accepted(problems: &[Problem]) -> Finding {
    let worst = problems.iter().map(|problem| problem.reason).min();
    let reason = match worst {
        None => return Finding::yes("Accepted", "Accepted", "every field can be used"),
        Some(Reason::NotSupported) => "NotSupported",
        Some(_) => "Invalid",
    };
    let sentences: Vec<String> = problems.iter().map(ToString::to_string).collect();
    Finding::no("Accepted", reason, sentences.join("; "))
}

fn connected(seen: &Seen) -> Finding {
    const KIND: &str = "Connected";
    let SidecarCounts { observed, connected, failing } = seen.sidecars;
    if let Some(LastError { pod, message, .. }) = seen.last_error.as_ref().filter(|_| failing > 0) {
        let message =
            format!("{failing} of {observed} sidecars cannot reach it, such as that of pod {pod}: {message}");
        return Finding::no(KIND, "Unreachable", message);
    }
    if seen.used_by == 0 {
        return Finding::unknown(KIND, "NotUsed", "no policy sends to it");
    }
    if observed == 0 {
        return Finding::unknown(KIND, "NotObserved", "no sidecar has said anything of it yet");
    }
    Finding::yes(KIND, "Connected", format!("{connected} of {observed} sidecars report no trouble with it"))
}

fn ready(findings: &[Finding]) -> Finding {
    const KIND: &str = "Ready";
    let same = |finding: &Finding| Finding { kind: KIND, ..finding.clone() };
    let wrong = findings.iter().find(|finding| finding.truth == Truth::False);
    let unknown =
        || findings.iter().find(|finding| finding.truth == Truth::Unknown && finding.reason != "NotUsed");
    wrong.or_else(unknown).map_or_else(
        || Finding::yes(KIND, "Accepted", "it can be used, and nobody reports trouble with it"),
        same,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready_of(seen: &Seen) -> (String, String) {
        let status = status(Some(1), &[], seen, Timestamp::UNIX_EPOCH);
        let ready = status.conditions.into_iter().find(|condition| condition.type_ == "Ready").unwrap();
        (ready.status, ready.reason)
    }

    #[test]
    fn a_destination_is_as_ready_as_was_observed() {
        let fresh = Seen { problems: &[], used_by: 0, sidecars: SidecarCounts::default(), last_error: None };
        assert_eq!(ready_of(&fresh), ("True".into(), "Accepted".into()));
        let used = Seen { used_by: 1, ..fresh.clone() };
        assert_eq!(ready_of(&used), ("Unknown".into(), "NotObserved".into()));
        let good = Seen { sidecars: SidecarCounts { observed: 2, connected: 2, failing: 0 }, ..used.clone() };
        assert_eq!(ready_of(&good), ("True".into(), "Accepted".into()));
        let last_error =
            Some(LastError { pod: "web-0".into(), message: "refused".into(), time: String::new() });
        let sidecars = SidecarCounts { observed: 2, connected: 1, failing: 1 };
        let bad = Seen { sidecars, last_error, ..used };
        assert_eq!(ready_of(&bad), ("False".into(), "Unreachable".into()));
        assert_eq!(
            connected(&bad).message,
            "1 of 2 sidecars cannot reach it, such as that of pod web-0: refused"
        );
        let problems = validate::destination("a", &serde_json::from_str("{}").unwrap()).unwrap_err();
        let invalid = Seen { problems: &problems, ..fresh };
        assert_eq!(ready_of(&invalid), ("False".into(), "Invalid".into()));
    }
}
