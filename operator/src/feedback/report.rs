//! What a sidecar says in `/status`, as far as conditions are made of it.
//!
//! In: JSON. Out: a [`Report`]. What always holds: nothing in it changes while nothing happens, so that equal reports
//! mean that there is nothing to write; a field that an older sidecar does not have is unknown and not false; what is
//! kept is small and about the pod's own policies, since anything may answer on a pod's port.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use capstan_config::defaults::REOPEN_TIMEOUT;
use jiff::Timestamp;
use serde::Deserialize;

use super::bounded;

/// The longest message that is kept, in characters.
const LONGEST_MESSAGE: usize = 512;
/// The longest name, in bytes: a policy has 55, and a log or destination comes with it.
const LONGEST_NAME: usize = 320;
/// The most logs of a pod.
const MOST_LOGS: usize = 256;

/// What is known of one sidecar.
#[derive(Clone, Debug, Default)]
pub struct Observation {
    /// What it said last; `None` if it could not be asked.
    pub report: Option<Report>,
    /// Why it could not be asked.
    pub error: Option<String>,
    /// When it was asked last.
    pub at: Option<Instant>,
    /// How often in a row it had not yet what it should have.
    pub failures: u32,
    /// How often in a row it was asked in vain.
    pub unreached: u32,
}

/// What a pod's sidecar may speak of.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Concern {
    /// The policies that the pod names.
    pub policies: BTreeSet<String>,
    /// The destinations that these name, by the sidecar's names of them.
    pub destinations: BTreeSet<String>,
    /// How long the app of a log (`policy/log`) may take to reopen, where that is set.
    pub patience: BTreeMap<String, Duration>,
}

/// What a sidecar says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// By policy.
    pub policies: BTreeMap<String, PolicyReport>,
    /// By `policy/log`.
    pub logs: BTreeMap<String, LogReport>,
    /// By the sidecar's name of it, which is the destination's, or `policy/destination`.
    pub destinations: BTreeMap<String, DestinationReport>,
}

/// The configuration of a policy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PolicyReport {
    /// What is in effect.
    pub hash: Option<String>,
    /// Why the newest is not.
    pub error: Option<String>,
}

/// The files of a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogReport {
    /// How many there are.
    pub files: usize,
    /// One whose old file was still written when the time to reopen was over.
    pub held: Option<String>,
}

/// A destination.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DestinationReport {
    /// How far lines get.
    pub link: Link,
    /// What keeps lines from arriving, and since when.
    pub failing: Option<Failure>,
}

/// How far lines get on their way to a destination.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Link {
    /// Nothing was sent yet, and nothing waits.
    #[default]
    Idle,
    /// Lines wait, and there was no connection yet.
    Connecting,
    /// There is a connection, or an earlier one ended with a confirmation. Which of both changes with every connection,
    /// and would be news each time.
    Works,
}

/// What keeps lines from arriving.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What went wrong.
    pub message: String,
    /// When it did first, as far as was seen.
    pub since: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Document {
    #[serde(deserialize_with = "bounded::map")]
    policies: BTreeMap<String, PolicyReport>,
    #[serde(deserialize_with = "bounded::list")]
    streams: Vec<StreamDocument>,
    #[serde(deserialize_with = "bounded::map")]
    destinations: BTreeMap<String, DestinationDocument>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct StreamDocument {
    log: String,
    path: String,
    #[serde(deserialize_with = "bounded::list")]
    held: Vec<HeldDocument>,
    #[serde(deserialize_with = "bounded::map")]
    lag: BTreeMap<String, LagDocument>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct HeldDocument {
    seconds: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct LagDocument {
    bytes: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct DestinationDocument {
    connected: bool,
    last_error: Option<String>,
    last_error_at: Option<String>,
    last_confirmed_at: Option<String>,
}

impl Report {
    /// Reads what a sidecar says, and keeps what it may speak of.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub fn read(json: &[u8], concern: &Concern) -> Result<Self, String> {
        let document: Document =
            serde_json::from_slice(json).map_err(|error| format!("its status cannot be read: {error}"))?;
        let mut logs: BTreeMap<String, LogReport> = BTreeMap::new();
        for stream in &document.streams {
            let log = logs.entry(stream.log.clone()).or_default();
            log.files += 1;
            let patience = concern.patience.get(&stream.log).unwrap_or(&REOPEN_TIMEOUT).as_secs();
            if stream.held.iter().any(|held| held.seconds > patience) {
                log.held.get_or_insert_with(|| stream.path.clone());
            }
        }
        let lags = |name: &str| {
            let lags = document.streams.iter().filter_map(|stream| stream.lag.get(name));
            lags.map(|lag| lag.bytes).any(|bytes| bytes > 0)
        };
        let destinations = document.destinations.iter();
        let destinations =
            destinations.map(|(name, each)| (name.clone(), destination(each, lags(name)))).collect();
        let mut report = Self { policies: document.policies, logs, destinations };
        report.keep_only(concern);
        Ok(report)
    }

    fn keep_only(&mut self, concern: &Concern) {
        let Self { policies, logs, destinations } = self;
        policies.retain(|policy, _| concern.policies.contains(policy));
        destinations.retain(|name, _| concern.destinations.contains(name));
        let mut kept = 0;
        logs.retain(|name, _| {
            let own = name.split_once('/').is_some_and(|(policy, _)| concern.policies.contains(policy));
            let keeps = own && name.len() <= LONGEST_NAME && kept < MOST_LOGS;
            kept += usize::from(keeps);
            keeps
        });
        let failures = destinations.values_mut().filter_map(|destination| destination.failing.as_mut());
        let failures = failures.flat_map(|failure| [&mut failure.message, &mut failure.since]);
        let policies = policies.values_mut().flat_map(|policy| [policy.hash.as_mut(), policy.error.as_mut()]);
        let held = logs.values_mut().map(|log| log.held.as_mut());
        policies.chain(held).flatten().chain(failures).for_each(cut);
    }

    /// Keeps the first failure of a destination as it was written while it goes on, so that trying again is no news. What
    /// was said of another configuration is not kept.
    pub fn keep_failures_of(&mut self, before: &Report) {
        let hashes = |report: &Report| {
            report.policies.iter().map(|(name, it)| (name.clone(), it.hash.clone())).collect::<Vec<_>>()
        };
        if hashes(self) != hashes(before) {
            return;
        }
        for (name, destination) in &mut self.destinations {
            let known = before.destinations.get(name).and_then(|before| before.failing.as_ref());
            if let (Some(failing), Some(known)) = (&mut destination.failing, known)
                && known.goes_on_as(failing)
            {
                failing.clone_from(known);
            }
        }
    }
}

/// How long the words of a failure stay, even if it is told in others: a name with several addresses, of which some
/// refuse and some are silent, would else be told anew at every attempt.
const WORDS_STAY: Duration = Duration::from_secs(600);

impl Failure {
    /// Whether a later failure says nothing that is worth telling.
    pub fn goes_on_as(&self, later: &Failure) -> bool {
        let time = |text: &str| text.parse::<Timestamp>().ok();
        let passed = time(&self.since)
            .zip(time(&later.since))
            .is_none_or(|(first, now)| now.duration_since(first).unsigned_abs() >= WORDS_STAY);
        !passed || words(&self.message) == words(&later.message)
    }
}

/// The words of a message without digits and order: addresses come in any order, and ports and counts change.
fn words(message: &str) -> Vec<&str> {
    let split = message.split(|letter: char| !letter.is_alphabetic());
    let mut words: Vec<&str> = split.filter(|word| !word.is_empty()).collect();
    words.sort_unstable();
    words
}

/// A destination fails if there is no connection, something waits for it or nothing was ever confirmed, and its error
/// is newer than what was confirmed last. One without a connection and with nothing to send is idle.
fn destination(document: &DestinationDocument, lags: bool) -> DestinationReport {
    let DestinationDocument { connected, last_error, last_error_at, last_confirmed_at } = document;
    let newer = match (last_error_at, last_confirmed_at) {
        (Some(error), Some(confirmed)) => error >= confirmed,
        _ => true,
    };
    let failing =
        last_error.as_ref().filter(|_| !connected && newer && (lags || last_confirmed_at.is_none()));
    let since = last_error_at.clone().unwrap_or_default();
    let link = match () {
        () if *connected || last_confirmed_at.is_some() => Link::Works,
        () if lags => Link::Connecting,
        () => Link::Idle,
    };
    DestinationReport { link, failing: failing.map(|message| Failure { message: message.clone(), since }) }
}

fn cut(text: &mut String) {
    if let Some((end, _)) = text.char_indices().nth(LONGEST_MESSAGE) {
        text.truncate(end);
        text.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn concern() -> Concern {
        let name = |name: &str| BTreeSet::from([name.to_owned()]);
        Concern { policies: name("web"), destinations: name("central"), patience: BTreeMap::new() }
    }

    fn read(document: &Value) -> Report {
        Report::read(document.to_string().as_bytes(), &concern()).unwrap()
    }

    #[test]
    fn of_what_an_impostor_says_little_is_kept() {
        let long = "ä".repeat(5000);
        let logs =
            (0..1000).map(|log| format!("web/{log}")).chain(["other/log".into(), format!("web/{long}")]);
        let held = json!({ "log": "web/0", "path": long, "held": [{ "seconds": 99 }] });
        let streams: Vec<Value> =
            std::iter::once(held).chain(logs.map(|log| json!({ "log": log }))).collect();
        let failing = json!({ "lastError": long, "lastErrorAt": long });
        let report = read(&json!({
            "policies": { "web": { "hash": long, "error": long }, "other": {} },
            "streams": streams,
            "destinations": { "central": failing, "other": failing },
        }));
        assert_eq!((report.policies.len(), report.logs.len(), report.destinations.len()), (1, 256, 1));
        let policy = &report.policies["web"];
        let failure = report.destinations["central"].failing.clone().unwrap();
        let texts = [&policy.hash, &policy.error, &report.logs["web/0"].held, &Some(failure.message)];
        assert!(texts.iter().all(|text| text.as_ref().is_some_and(|text| text.chars().count() == 512)));
    }

    #[test]
    fn an_older_sidecar_says_less() {
        assert_eq!(read(&json!({ "version": "0.1.0", "more": [] })), Report::default());
        assert!(Report::read(b"<html>", &concern()).unwrap_err().contains("cannot be read"));
    }

    #[test]
    fn configurations_are_told_by_policy() {
        let report = read(&json!({ "policies": { "web": { "hash": "0123456789abcdef", "expected": null,
            "loadedAt": "2026-11-21T00:00:00Z", "error": null } } }));
        let hash = Some("0123456789abcdef".to_owned());
        assert_eq!(report.policies["web"], PolicyReport { hash, error: None });
    }

    #[test]
    fn a_file_is_held_once_the_app_has_had_its_time() {
        let with = |seconds: u64| {
            read(&json!({ "streams": [
                { "log": "web/access", "path": "/var/log/a.log", "held": [{ "seconds": seconds }] },
                { "log": "web/access", "path": "/var/log/b.log", "held": [] },
            ] }))
        };
        assert_eq!(with(30).logs["web/access"], LogReport { files: 2, held: None });
        assert_eq!(with(31).logs["web/access"].held.as_deref(), Some("/var/log/a.log"));
        assert_eq!(with(31), with(3100), "that time passes is no news");
    }

    #[test]
    fn a_destination_fails_only_if_lines_wait_for_it() {
        let with = |destination: Value, bytes: u64| {
            let stream =
                json!({ "log": "web/access", "lag": { "central": { "bytes": bytes, "seconds": 1.0 } } });
            let report = read(&json!({ "streams": [stream], "destinations": { "central": destination } }));
            report.destinations["central"].failing.clone().map(|failure| failure.message)
        };
        let error = |confirmed: Option<&str>, connected: bool| {
            json!({ "connected": connected, "lastError": "refused", "lastErrorAt": "2026-11-21T00:00:02Z",
                "lastConfirmedAt": confirmed })
        };
        assert_eq!(with(error(None, false), 0).as_deref(), Some("refused"), "never confirmed");
        assert_eq!(with(error(Some("2026-11-21T00:00:01Z"), false), 9).as_deref(), Some("refused"));
        assert_eq!(with(error(Some("2026-11-21T00:00:01Z"), false), 0), None, "idle");
        assert_eq!(with(error(Some("2026-11-21T00:00:03Z"), false), 9), None, "it was overcome");
        assert_eq!(with(error(None, true), 9), None, "connected");
        assert_eq!(with(json!({ "connected": false }), 9), None, "no error yet");
    }

    #[test]
    fn a_link_works_once_there_was_a_connection_or_a_confirmation() {
        let with = |destination: Value, bytes: u64| {
            let stream = json!({ "log": "web/access", "lag": { "central": { "bytes": bytes } } });
            let report = read(&json!({ "streams": [stream], "destinations": { "central": destination } }));
            report.destinations["central"].link
        };
        assert_eq!(with(json!({}), 0), Link::Idle);
        assert_eq!(with(json!({}), 9), Link::Connecting);
        assert_eq!(with(json!({ "connected": true }), 9), Link::Works);
        let confirmed = json!({ "connected": false, "lastConfirmedAt": "2026-11-21T00:00:00Z" });
        assert_eq!([with(confirmed.clone(), 0), with(confirmed, 9)], [Link::Works; 2], "between connections");
    }

    /// What is told of an error, if `first` was told before and `later` is the case `minutes` later.
    fn told(first: &str, later: &str, minutes: u64) -> String {
        let at = |minutes: u64, message: &str| {
            let time = format!("2026-11-21T00:{minutes:02}:00Z");
            read(&json!({ "destinations": { "central": { "lastError": message, "lastErrorAt": time } } }))
        };
        let (first, mut later) = (at(1, first), at(1 + minutes, later));
        later.keep_failures_of(&first);
        later.destinations["central"].failing.clone().unwrap().message
    }

    #[test]
    fn a_failure_that_goes_on_is_told_in_its_first_words() {
        let (one, other) =
            ("10.0.0.1: refused; 10.0.0.2: timed out", "10.0.0.2: timed out; 10.0.0.1: refused");
        assert_eq!(told(one, other, 0), one);
        assert_eq!(told(one, other, 30), one, "only the order is another");
        assert_eq!(told("refused", "timed out", 9), "refused", "the next attempt may say the first again");
        assert_eq!(told("refused", "timed out", 10), "timed out");
    }

    #[test]
    fn what_fails_with_another_configuration_is_told_at_once() {
        let with = |hash: &str, message: &str| {
            read(&json!({ "policies": { "web": { "hash": hash } }, "destinations": { "central": {
                "lastError": message, "lastErrorAt": "2026-11-21T00:00:01Z" } } }))
        };
        let mut later = with("fedcba9876543210", "expired");
        later.keep_failures_of(&with("0123456789abcdef", "refused"));
        assert_eq!(later, with("fedcba9876543210", "expired"));
    }
}
