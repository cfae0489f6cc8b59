//! Who did what, by the API server's own account: in, its audit log; out, the requests of one user.
//!
//! Only a cluster that was made for tests writes one where tests can read it. Its path is in `CAPSTAN_E2E_AUDIT_LOG`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::Deserialize;

/// What a test says that needs the audit log where there is none.
pub const ABSENT: &str = "CAPSTAN_E2E_AUDIT_LOG is not set: what the API server recorded is not looked at";

/// A place in the log.
#[derive(Debug, Clone, Copy)]
pub struct Mark(u64);

/// A request that was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// `get`, `list`, …
    pub verb: String,
    /// API group, empty for the core.
    pub group: String,
    /// `pods`, or `pods/status`; empty for paths that are no resource.
    pub resource: String,
    /// The object, if one was named.
    pub name: String,
    /// Where.
    pub namespace: String,
    /// The answer's HTTP status.
    pub code: u16,
    /// Whether the user may do this at all; the answer can be a refusal even so.
    pub authorized: bool,
    /// The pod whose token was used.
    pub pod: String,
}

/// A request that changed something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// The pod whose token was used.
    pub pod: String,
    /// What was done.
    pub what: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    stage: String,
    verb: String,
    user: User,
    #[serde(default)]
    object_ref: Object,
    #[serde(default)]
    response_status: Response,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct User {
    #[serde(default)]
    username: String,
    #[serde(default)]
    extra: BTreeMap<String, Vec<String>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Object {
    resource: String,
    subresource: String,
    api_group: String,
    namespace: String,
    name: String,
}

#[derive(Deserialize, Default)]
struct Response {
    #[serde(default)]
    code: u16,
}

/// The end of the log as it is now; the start if there is none.
pub fn now() -> Mark {
    let length = path().and_then(|path| path.metadata().ok()).map_or(0, |data| data.len());
    Mark(length)
}

/// All requests of a user, in the order of their ends; none is `None` if there is no log.
///
/// # Errors
///
/// The log cannot be read.
pub fn requests(user: &str) -> Result<Option<Vec<Request>>> {
    requests_since(Mark(0), user)
}

/// What a user changed since then, Leases apart, which every replica writes.
///
/// # Errors
///
/// The log cannot be read.
pub fn writes_since(mark: &Mark, user: &str) -> Result<Option<Vec<Write>>> {
    let Some(requests) = requests_since(*mark, user)? else { return Ok(None) };
    let changes = requests.into_iter().filter(|request| {
        let changing = matches!(request.verb.as_str(), "create" | "update" | "patch" | "delete");
        changing && request.code < 300 && request.resource != "leases"
    });
    Ok(Some(changes.map(write).collect()))
}

fn write(request: Request) -> Write {
    let Request { verb, resource, namespace, name, .. } = request;
    Write { pod: request.pod, what: format!("{verb} {resource} {namespace}/{name}") }
}

fn requests_since(mark: Mark, user: &str) -> Result<Option<Vec<Request>>> {
    let Some(path) = path() else { return Ok(None) };
    let mut file = File::open(&path).with_context(|| format!("cannot read {}", path.display()))?;
    file.seek(SeekFrom::Start(mark.0))?;
    let mut requests = Vec::new();
    for line in BufReader::new(file).split(b'\n') {
        requests.extend(parse(&line?, user));
    }
    Ok(Some(requests))
}

/// The request of a line; the last line may be half written, and others are not of this user.
fn parse(line: &[u8], user: &str) -> Option<Request> {
    let event: Event = serde_json::from_slice(line).ok()?;
    // A watch is answered when it starts; it may still go on.
    let answered = event.stage == "ResponseComplete" || event.stage == "ResponseStarted";
    if !answered || event.user.username != user {
        return None;
    }
    let Object { resource, subresource, api_group, namespace, name } = event.object_ref;
    let resource = if subresource.is_empty() { resource } else { format!("{resource}/{subresource}") };
    let pod = event.user.extra.get("authentication.kubernetes.io/pod-name");
    let pod = pod.and_then(|names| names.first()).cloned().unwrap_or_default();
    let code = event.response_status.code;
    let decision = event.annotations.get("authorization.k8s.io/decision");
    let authorized = decision.is_none_or(|decision| decision != "forbid");
    Some(Request { verb: event.verb, group: api_group, resource, name, namespace, code, authorized, pod })
}

fn path() -> Option<PathBuf> {
    std::env::var_os("CAPSTAN_E2E_AUDIT_LOG").filter(|path| !path.is_empty()).map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"kind":"Event","stage":"ResponseComplete","verb":"patch","user":{"username":"u","extra":{"authentication.kubernetes.io/pod-name":["p-1"]}},"objectRef":{"resource":"logrotationpolicies","namespace":"n","name":"web","apiGroup":"capstan.dev","apiVersion":"v1alpha1","subresource":"status"},"responseStatus":{"metadata":{},"code":200}}"#;

    #[test]
    fn a_line_says_who_did_what_with_which_answer() {
        let request = parse(LINE.as_bytes(), "u").unwrap();
        assert_eq!((request.resource.as_str(), request.code), ("logrotationpolicies/status", 200));
        assert!(request.authorized);
        assert_eq!(write(request).what, "patch logrotationpolicies/status n/web");
        let forbidden = LINE.replace(
            r#""code":200}"#,
            r#""code":403},"annotations":{"authorization.k8s.io/decision":"forbid"}"#,
        );
        assert!(!parse(forbidden.as_bytes(), "u").unwrap().authorized);
        assert_eq!(parse(LINE.as_bytes(), "other"), None);
        assert_eq!(parse(&LINE.as_bytes()[..50], "u"), None);
        assert_eq!(parse(LINE.replace("ResponseComplete", "RequestReceived").as_bytes(), "u"), None);
    }
}
