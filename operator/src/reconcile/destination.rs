//! Reconciles a destination: it has no objects of its own, only a status.

use capstan_crds::destination::{LastError, SidecarCounts};
use capstan_crds::{LogDestination, LogDestinationStatus};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::conditions::{self, Finding, Truth};
use super::summary::DestinationSummary;
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
    let generation = destination.metadata.generation;
    let before = context.last_destination_status(destination);
    // What was told of an earlier generation is no example for this one.
    let told = before.last_error.as_ref().filter(|_| before.observed_generation == generation);
    let sidecars = context.state.destination_summary(&key, told);
    let seen = Seen { problems: &problems, used_by: context.users(&key), sidecars };
    let unasked = seen.sidecars.unasked > 0 || seen.sidecars.policies < seen.used_by;
    if conditions::are_early(context.leading(), unasked, before.observed_generation, generation) {
        context.state.destinations.add_at(key, context.asked_by());
        return Ok(());
    }
    let after = status(generation, &before.conditions, &seen, Timestamp::now());
    write::destination_status(context, destination, &before, after).await.map_err(ReconcileError::Status)
}

/// What the status is made of.
#[derive(Clone, Debug)]
struct Seen<'a> {
    problems: &'a [Problem],
    used_by: usize,
    sidecars: DestinationSummary,
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
        conditions: conditions::conditions(&findings, before, generation, now),
        used_by: i64::try_from(seen.used_by).ok(),
        sidecars: Some(seen.sidecars.counts),
        last_error: seen.sidecars.last_error.clone(),
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
    let DestinationSummary { counts, connecting, last_error, .. } = &seen.sidecars;
    let SidecarCounts { observed, connected, failing } = counts;
    if let Some(LastError { pod, message, .. }) = last_error {
        let message =
            format!("{failing} of {observed} sidecars cannot reach it, such as that of pod {pod}: {message}");
        return Finding::no(KIND, "Unreachable", message);
    }
    if seen.used_by == 0 {
        return Finding::unknown(KIND, "NotUsed", "no policy sends to it");
    }
    if *observed == 0 {
        return Finding::unknown(KIND, "NotObserved", "no sidecar has said anything of it yet");
    }
    let message =
        format!("{connected} of {observed} sidecars have a connection, or had all they sent confirmed");
    match () {
        () if *connecting > 0 => Finding::unknown(KIND, "Connecting", format!("{message}; others begin to")),
        () if connected < observed => {
            Finding::unknown(KIND, "Idle", format!("{message}; others have had nothing to send yet"))
        }
        () => Finding::yes(KIND, "Connected", message),
    }
}

/// Reasons for not knowing that leave nothing to be desired.
const NO_MATTER: [&str; 2] = ["NotUsed", "Idle"];

fn ready(findings: &[Finding]) -> Finding {
    const KIND: &str = "Ready";
    let same = |finding: &Finding| Finding { kind: KIND, ..finding.clone() };
    let wrong = findings.iter().find(|finding| finding.truth == Truth::False);
    let matters =
        |finding: &&Finding| finding.truth == Truth::Unknown && !NO_MATTER.contains(&finding.reason);
    let unknown = || findings.iter().find(matters);
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

    fn said(observed: i64, connected: i64, connecting: i64) -> DestinationSummary {
        let counts = SidecarCounts { observed, connected, failing: 0 };
        DestinationSummary { counts, connecting, ..DestinationSummary::default() }
    }

    #[test]
    fn a_destination_is_as_ready_as_was_observed() {
        let fresh = Seen { problems: &[], used_by: 0, sidecars: said(0, 0, 0) };
        assert_eq!(ready_of(&fresh), ("True".into(), "Accepted".into()));
        let used = Seen { used_by: 1, ..fresh.clone() };
        assert_eq!(ready_of(&used), ("Unknown".into(), "NotObserved".into()));
        let good = Seen { sidecars: said(2, 2, 0), ..used.clone() };
        assert_eq!(ready_of(&good), ("True".into(), "Accepted".into()));
        let last_error =
            Some(LastError { pod: "web-0".into(), message: "refused".into(), time: String::new() });
        let counts = SidecarCounts { observed: 2, connected: 1, failing: 1 };
        let sidecars = DestinationSummary { counts, last_error, ..DestinationSummary::default() };
        let bad = Seen { sidecars, ..used };
        assert_eq!(ready_of(&bad), ("False".into(), "Unreachable".into()));
        assert_eq!(
            connected(&bad).message,
            "1 of 2 sidecars cannot reach it, such as that of pod web-0: refused"
        );
        let problems = validate::destination("a", &serde_json::from_str("{}").unwrap()).unwrap_err();
        let invalid = Seen { problems: &problems, ..fresh };
        assert_eq!(ready_of(&invalid), ("False".into(), "Invalid".into()));
    }

    #[test]
    fn a_sidecar_that_has_sent_nothing_is_not_connected_and_nothing_is_wrong() {
        let of = |sidecars: DestinationSummary| {
            let seen = Seen { problems: &[], used_by: 1, sidecars };
            let connected = connected(&seen);
            (connected.truth, connected.reason, ready_of(&seen).0)
        };
        assert_eq!(of(said(2, 1, 0)), (Truth::Unknown, "Idle", "True".into()));
        assert_eq!(of(said(2, 0, 0)), (Truth::Unknown, "Idle", "True".into()));
        assert_eq!(of(said(3, 1, 1)), (Truth::Unknown, "Connecting", "Unknown".into()));
        assert_eq!(of(said(2, 2, 0)), (Truth::True, "Connected", "True".into()));
    }
}
