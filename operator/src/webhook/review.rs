//! One admission review: bytes in, bytes out.

use json_patch::Patch;
use k8s_openapi::api::core::v1::Pod;
use kube::core::DynamicObject;
use kube::core::admission::{AdmissionRequest, AdmissionResponse, AdmissionReview};

use crate::inject::bounds::Bounds;
use crate::inject::status::Warning;
use crate::inject::{Context, Injection, Known, Outcome, SidecarSettings, annotations, inject};

/// The longest warning that API clients show in full.
const LONGEST_WARNING: usize = 256;

/// What is known beside the request.
pub trait Knowledge {
    /// What is known of these policies of a namespace.
    fn policies(&self, namespace: &str, names: &[String]) -> Known;
    /// Whether users of a namespace are assigned by OpenShift.
    fn users_are_assigned(&self, namespace: &str) -> bool;
    /// What LimitRanges leave to a container of a namespace.
    fn bounds(&self, namespace: &str) -> Bounds;
}

/// What stays the same for all requests.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What sidecars look like.
    pub sidecar: SidecarSettings,
    /// The operator's own namespace.
    pub own_namespace: String,
}

/// How much is asked of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It starts in any case.
    Lenient,
    /// It only starts with its sidecar, and once its policies exist.
    Strict,
}

/// An answer, and what it is counted as.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The review to send back.
    pub body: Vec<u8>,
    /// injected, skipped, denied or error.
    pub result: &'static str,
    /// Why, as one word; empty if there is nothing to say.
    pub reason: String,
}

/// Why there is no answer. The API server then does what the webhook's failurePolicy says.
#[derive(Debug, thiserror::Error)]
pub enum ReviewError {
    /// Not what the API server sends.
    #[error("this is no AdmissionReview of admission.k8s.io/v1: {0}")]
    NotAReview(#[from] serde_json::Error),
    /// A review of nothing.
    #[error("the AdmissionReview has no request")]
    NoRequest,
}

/// Answers one review.
pub fn answer(
    body: &[u8],
    mode: Mode,
    knows: &impl Knowledge,
    settings: &Settings,
) -> Result<Answer, ReviewError> {
    let review: AdmissionReview<DynamicObject> = serde_json::from_slice(body)?;
    let request: AdmissionRequest<DynamicObject> = review.try_into().map_err(|_| ReviewError::NoRequest)?;
    let response = AdmissionResponse::from(&request);
    match pod(&request) {
        Ok(pod) => {
            decide(&pod, request.namespace.as_deref().unwrap_or_default(), response, mode, knows, settings)
        }
        Err(error) => failed(response, mode, &error),
    }
}

fn pod(request: &AdmissionRequest<DynamicObject>) -> Result<Pod, String> {
    let object = request.object.as_ref().ok_or("the request has no object")?;
    let value = serde_json::to_value(object).map_err(|error| error.to_string())?;
    let pod: Pod = serde_json::from_value(value).map_err(|error| format!("the object is no pod: {error}"))?;
    Ok(pod)
}

fn decide(
    pod: &Pod,
    namespace: &str,
    response: AdmissionResponse,
    mode: Mode,
    knows: &impl Knowledge,
    settings: &Settings,
) -> Result<Answer, ReviewError> {
    let known = knows.policies(namespace, &annotations::policies_named(pod));
    let context = Context {
        namespace,
        own_namespace: &settings.own_namespace,
        users_are_assigned: knows.users_are_assigned(namespace),
        bounds: &knows.bounds(namespace),
        known: &known,
    };
    let injection = inject(pod, &context, &settings.sidecar);
    match refusal(mode, namespace, &injection) {
        Some((reason, sentence)) => finish(response.deny(format!("capstan: {sentence}")), "denied", reason),
        None => admit(response, namespace, &injection),
    }
}

/// Why a strict namespace does not take the pod. What is not even looked at says nothing, and passes; what the patch
/// holds is no criterion, since a pod may bring all of it.
fn refusal(mode: Mode, namespace: &str, injection: &Injection) -> Option<(String, String)> {
    if mode == Mode::Lenient {
        return None;
    }
    if let (Outcome::Skipped(reason), Some(why)) = (injection.outcome, injection.warnings.first()) {
        return Some((reason.to_string(), format!("{reason}: {}", why.message)));
    }
    let name = injection.missing.first()?;
    Some(("PolicyNotFound".to_owned(), not_found(namespace, name)))
}

fn not_found(namespace: &str, name: &str) -> String {
    format!(
        "PolicyNotFound: there is no LogRotationPolicy '{name}' in namespace {namespace}; create it, or correct annotation capstan.dev/policy"
    )
}

fn admit(
    mut response: AdmissionResponse,
    namespace: &str,
    injection: &Injection,
) -> Result<Answer, ReviewError> {
    let missing = injection
        .missing
        .iter()
        .map(|name| format!("capstan: {}; until then the sidecar waits", not_found(namespace, name)));
    let warnings = injection.warnings.iter().map(Warning::to_string).chain(missing.take(3)).map(shorten);
    response.warnings = Some(warnings.collect()).filter(|all: &Vec<String>| !all.is_empty());
    let (result, reason) = match injection.outcome {
        Outcome::Injected => {
            ("injected", injection.warnings.first().map(|warning| warning.reason.to_string()))
        }
        Outcome::Skipped(reason) => ("skipped", Some(reason.to_string())),
    };
    let response = with_patch(response, &injection.patch)?;
    finish(response, result, reason.unwrap_or_default())
}

fn with_patch(response: AdmissionResponse, patch: &Patch) -> Result<AdmissionResponse, ReviewError> {
    if patch.is_empty() {
        return Ok(response);
    }
    let spare = response.clone();
    // A patch is plain JSON; should it ever not be, the pod passes as it is.
    Ok(response.with_patch(patch.clone()).unwrap_or(spare))
}

/// Something is wrong with us or the request: the pod passes, and somebody is told.
fn failed(mut response: AdmissionResponse, mode: Mode, error: &str) -> Result<Answer, ReviewError> {
    let warning = format!("capstan: the pod was not looked at: {error}");
    if mode == Mode::Strict {
        return finish(response.deny(warning), "error", "Unreadable".to_owned());
    }
    response.warnings = Some(vec![shorten(warning)]);
    finish(response, "error", "Unreadable".to_owned())
}

fn finish(response: AdmissionResponse, result: &'static str, reason: String) -> Result<Answer, ReviewError> {
    Ok(Answer { body: serde_json::to_vec(&response.into_review())?, result, reason })
}

/// Longer warnings are cut by the API server at a place that it chooses.
fn shorten(warning: String) -> String {
    if warning.chars().count() <= LONGEST_WARNING {
        return warning;
    }
    let mut short: String = warning.chars().take(LONGEST_WARNING - 1).collect();
    short.push('…');
    short
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inject::KnownPolicy;
    use serde_json::{Value, json};

    struct Knows(&'static [&'static str]);

    impl Knowledge for Knows {
        fn policies(&self, namespace: &str, names: &[String]) -> Known {
            assert_eq!(namespace, "shop");
            let known = names.iter().filter(|name| self.0.contains(&name.as_str()));
            known.map(|name| (name.clone(), KnownPolicy::default())).collect()
        }
        fn users_are_assigned(&self, _: &str) -> bool {
            false
        }
        fn bounds(&self, _: &str) -> Bounds {
            Bounds::default()
        }
    }

    fn ask(pod: Value, mode: Mode, knows: &Knows) -> (Answer, Value) {
        let kind = json!({ "group": "", "version": "v1", "kind": "Pod" });
        let resource = json!({ "group": "", "version": "v1", "resource": "pods" });
        let review = json!({
            "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
            "request": { "uid": "u1", "kind": kind, "resource": resource, "namespace": "shop", "operation": "CREATE",
                         "userInfo": {}, "object": pod, "dryRun": true },
        });
        let settings = crate::settings::Cli::parse_from_nothing();
        let settings = Settings { sidecar: settings, own_namespace: "capstan-system".to_owned() };
        let answer = answer(review.to_string().as_bytes(), mode, knows, &settings).unwrap();
        let body: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!((&body["response"]["uid"], &body["kind"]), (&json!("u1"), &json!("AdmissionReview")));
        assert_eq!(body["apiVersion"], "admission.k8s.io/v1");
        (answer, body["response"].clone())
    }

    fn pod() -> Value {
        json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "annotations": { "capstan.dev/policy": "web" } },
                "spec": { "securityContext": { "runAsUser": 1000 },
                          "containers": [{ "name": "app", "volumeMounts": [{ "name": "logs", "mountPath": "/logs" }] }],
                          "volumes": [{ "name": "logs", "emptyDir": {} }] } })
    }

    #[test]
    fn a_pod_is_injected() {
        let (answer, response) = ask(pod(), Mode::Lenient, &Knows(&["web"]));
        assert_eq!((answer.result, answer.reason.as_str()), ("injected", ""));
        assert_eq!((&response["allowed"], &response["patchType"]), (&json!(true), &json!("JSONPatch")));
        assert!(response.get("warnings").is_none());
    }

    #[test]
    fn a_policy_that_is_missing_is_told_and_only_strictly_refused() {
        let (_, response) = ask(pod(), Mode::Lenient, &Knows(&[]));
        assert_eq!(response["allowed"], json!(true));
        assert_eq!(
            response["warnings"],
            json!([
                "capstan: PolicyNotFound: there is no LogRotationPolicy 'web' in namespace shop; create it, or correct annotation capstan.dev/policy; until then the sidecar waits"
            ])
        );
        let (answer, response) = ask(pod(), Mode::Strict, &Knows(&[]));
        assert_eq!((answer.result, &response["allowed"]), ("denied", &json!(false)));
        assert_eq!(
            response["status"]["message"],
            json!(
                "capstan: PolicyNotFound: there is no LogRotationPolicy 'web' in namespace shop; create it, or correct annotation capstan.dev/policy"
            )
        );
    }

    #[test]
    fn a_pod_that_cannot_have_a_sidecar_is_only_strictly_refused() {
        let mut pod = pod();
        pod["spec"]["hostPID"] = json!(true);
        let (answer, response) = ask(pod.clone(), Mode::Lenient, &Knows(&["web"]));
        assert_eq!((answer.result, answer.reason.as_str()), ("skipped", "HostPid"));
        assert_eq!(response["allowed"], json!(true));
        assert_eq!(ask(pod.clone(), Mode::Strict, &Knows(&["web"])).1["allowed"], json!(false));
        pod["metadata"]["annotations"]["capstan.dev/inject"] = json!("false");
        assert_eq!(ask(pod, Mode::Strict, &Knows(&["web"])).1["allowed"], json!(true));
    }

    #[test]
    fn a_pod_that_brings_the_status_of_a_skip_is_strictly_refused_too() {
        let mut pod = pod();
        pod["spec"]["hostPID"] = json!(true);
        let (_, response) = ask(pod.clone(), Mode::Lenient, &Knows(&["web"]));
        let patch: Vec<u8> = serde_json::from_value(response["patch"].clone()).unwrap();
        json_patch::patch(&mut pod, &serde_json::from_slice::<Patch>(&patch).unwrap()).unwrap();
        let (_, response) = ask(pod.clone(), Mode::Lenient, &Knows(&["web"]));
        assert_eq!((response.get("patch"), &response["allowed"]), (None, &json!(true)));
        assert_eq!(ask(pod, Mode::Strict, &Knows(&["web"])).1["allowed"], json!(false));
    }

    #[test]
    fn what_is_no_pod_passes_with_a_warning() {
        let (answer, response) = ask(json!({ "spec": { "containers": 7 } }), Mode::Lenient, &Knows(&[]));
        assert_eq!((answer.result, &response["allowed"]), ("error", &json!(true)));
        assert!(
            response["warnings"][0].as_str().unwrap().starts_with("capstan: the pod was not looked at: ")
        );
        assert_eq!(ask(json!({ "spec": 7 }), Mode::Strict, &Knows(&[])).1["allowed"], json!(false));
    }

    #[test]
    fn what_is_no_review_has_no_answer() {
        let settings =
            Settings { sidecar: crate::settings::Cli::parse_from_nothing(), own_namespace: String::new() };
        for body in ["", "{}", "[]", "{\"kind\":\"AdmissionReview\"}"] {
            assert!(answer(body.as_bytes(), Mode::Lenient, &Knows(&[]), &settings).is_err(), "{body}");
        }
    }

    #[test]
    fn long_warnings_are_cut_where_characters_end() {
        let short = shorten("ä".repeat(300));
        assert_eq!(short.chars().count(), 256);
        assert!(short.ends_with('…'));
    }
}
