//! The second step: specs and the destinations that were found -> a configuration that every sidecar accepts, or what
//! is wrong, field by field.
//!
//! What always holds: what is called [`Validated`] was read back by the contract's own parser; a problem names the
//! object and the field as the user wrote them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use capstan_config::{Config, ConfigHash, FieldError, ParseError};
use capstan_crds::{LogDestination, LogDestinationSpec, LogRotationPolicy, LogRotationPolicySpec};
use serde_json::{Value, json};

use super::resolve;
use crate::references;

/// The largest configuration that is delivered, in bytes: half of what a ConfigMap holds, so that the file of a later
/// version has its place beside it.
pub const LARGEST_FILE: usize = 512 << 10;

/// The greatest length of all authorities together, in bytes. The public ones have about 200 KiB.
const LARGEST_AUTHORITIES: usize = 384 << 10;

/// The destinations that a policy names, by name.
pub type Found = BTreeMap<String, Result<FoundDestination, Absent>>;

/// Why a destination cannot be looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Absent {
    /// There is none of that name.
    Missing,
    /// It is there, and cannot be read.
    Unreadable(String),
}

/// A destination, and what it needs from other objects.
#[derive(Clone, Debug)]
pub struct FoundDestination {
    /// The destination.
    pub destination: Arc<LogDestination>,
    /// The ConfigMap with the authorities to trust, if it names one: PEM, or what is wrong.
    pub authority: Option<Result<String, String>>,
}

impl FoundDestination {
    /// The authorities from a ConfigMap, if they are there.
    fn pem(&self) -> Option<&str> {
        self.authority.as_ref()?.as_deref().ok()
    }
}

/// A configuration that every sidecar accepts.
#[derive(Clone, Debug, PartialEq)]
pub struct Validated {
    /// The file's text.
    pub file: String,
    /// Its hash.
    pub hash: ConfigHash,
    /// What is in it.
    pub config: Config,
    /// The files beside it: authorities to trust, by name.
    pub authorities: BTreeMap<String, String>,
    /// The Secrets that sidecars must mount for it.
    pub secrets: BTreeSet<String>,
}

/// A field that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The destination that has the field; `None` is the policy.
    pub destination: Option<String>,
    /// Why.
    pub reason: Reason,
    /// The field and what to write instead.
    pub message: String,
}

/// Why a field cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// A value that cannot work.
    Invalid,
    /// Something that is part of the API and not yet of the sidecar.
    NotSupported,
    /// All together is too large.
    TooLarge,
    /// A destination that is not there.
    DestinationMissing,
    /// The authorities that a destination names are not there.
    AuthorityMissing,
}

impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.destination {
            Some(name) => write!(out, "LogDestination {name}: {}", self.message),
            None => out.write_str(&self.message),
        }
    }
}

/// Checks a policy with the destinations that it names.
///
/// # Errors
/// Everything that is wrong.
pub fn policy(policy: &LogRotationPolicy, found: &Found) -> Result<Validated, Vec<Problem>> {
    let name = policy.metadata.name.as_deref().unwrap_or_default();
    let mut problems = missing(&policy.spec, found);
    problems.extend(unreadable(found));
    problems.extend(unknown_authorities(found));
    let checked = check(resolve_all(name, &policy.spec, found));
    match checked {
        Ok((config, file)) if problems.is_empty() => Ok(Validated {
            hash: ConfigHash::of(file.as_bytes()),
            authorities: authorities(found),
            secrets: each(found)
                .flat_map(|(_, found)| references::secrets(&found.destination.spec))
                .collect(),
            file,
            config,
        }),
        Ok(_) => Err(problems),
        Err(more) => {
            let names: Vec<&String> = found.keys().collect();
            problems.extend(more.into_iter().map(|problem| attribute(problem, &names)));
            Err(problems)
        }
    }
}

/// Checks a destination for itself.
///
/// # Errors
/// Everything that is wrong.
pub fn destination(name: &str, spec: &LogDestinationSpec) -> Result<(), Vec<Problem>> {
    let mut refusals = Vec::new();
    let resolved = resolve::destination("policy", name, spec, "", "destinations[0]", &mut refusals);
    let log = json!({
        "name": "log",
        "files": { "include": ["/var/log/log"] },
        "forward": { "destinations": [{ "name": name }] },
    });
    let file = json!({ "version": 1, "policy": "policy", "logs": [log], "destinations": [resolved] });
    let problems = check((file, refusals)).err().unwrap_or_default();
    let name = name.to_owned();
    let problems: Vec<Problem> = problems
        .into_iter()
        .map(|problem| Problem { destination: None, ..attribute(problem, &[&name]) })
        .collect();
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

fn missing(spec: &LogRotationPolicySpec, found: &Found) -> Vec<Problem> {
    let is_missing = |name: &str| matches!(found.get(name), None | Some(Err(Absent::Missing)));
    let mut problems = Vec::new();
    for (index, log) in spec.logs.iter().enumerate() {
        for (position, to) in log.forward.iter().flat_map(|forward| &forward.destinations).enumerate() {
            if is_missing(&to.name.0) {
                problems.push(Problem {
                    destination: None,
                    reason: Reason::DestinationMissing,
                    message: format!(
                        "spec.logs[{index}].forward.destinations[{position}].name: there is no LogDestination \"{}\" in \
                         this namespace; create it, or write the name of another",
                        to.name
                    ),
                });
            }
        }
    }
    problems
}

fn unreadable(found: &Found) -> impl Iterator<Item = Problem> {
    found.iter().filter_map(|(name, found)| match found {
        Err(Absent::Unreadable(error)) => Some(Problem {
            destination: Some(name.clone()),
            reason: Reason::Invalid,
            message: format!("it cannot be read; is its definition of a later version? {error}"),
        }),
        _ => None,
    })
}

/// The destinations that are there.
fn each(found: &Found) -> impl Iterator<Item = (&String, &FoundDestination)> {
    found.iter().filter_map(|(name, found)| Some((name, found.as_ref().ok()?)))
}

fn unknown_authorities(found: &Found) -> Vec<Problem> {
    let mut problems: Vec<Problem> = each(found)
        .filter_map(|(name, found)| {
            let error = found.authority.as_ref()?.as_ref().err()?;
            Some(Problem {
                destination: Some(name.clone()),
                reason: Reason::AuthorityMissing,
                message: format!("spec.syslog.tls.ca.configMapKeyRef: {error}"),
            })
        })
        .collect();
    let bytes: usize = authorities(found).values().map(String::len).sum();
    if bytes > LARGEST_AUTHORITIES {
        problems.push(Problem {
            destination: None,
            reason: Reason::TooLarge,
            message: format!(
                "the authorities that its destinations trust have {bytes} bytes, more than the {LARGEST_AUTHORITIES} \
                 that are delivered; name ConfigMaps with only those that the receivers need"
            ),
        });
    }
    problems
}

fn authorities(found: &Found) -> BTreeMap<String, String> {
    let files = each(found)
        .filter_map(|(name, found)| Some((name, found.pem()?)))
        .map(|(name, pem)| (references::authority_file(name, pem), pem.to_owned()));
    files.collect()
}

fn resolve_all(name: &str, spec: &LogRotationPolicySpec, found: &Found) -> (Value, Vec<FieldError>) {
    let mut refusals = Vec::new();
    let mut file = resolve::policy(name, spec, &mut refusals);
    let destinations: Vec<Value> = found
        .iter()
        .enumerate()
        .map(|(index, (destination, found))| match found {
            Ok(found) => {
                let path = format!("destinations[{index}]");
                let (spec, pem) = (&found.destination.spec, found.pem().unwrap_or_default());
                resolve::destination(name, destination, spec, pem, &path, &mut refusals)
            }
            Err(_) => resolve::stand_in(destination),
        })
        .collect();
    file["destinations"] = destinations.into();
    (file, refusals)
}

/// Reads the file as a sidecar would. Also what was refused before is an error; the parser adds the rest.
fn check((file, refusals): (Value, Vec<FieldError>)) -> Result<(Config, String), Vec<FieldError>> {
    let parsed = read(&file.to_string()).and_then(|config| {
        // What is delivered is what was read back, with every setting written out.
        let text = capstan_config::render(&config);
        if text.len() > LARGEST_FILE { Err(vec![too_large(text.len())]) } else { Ok((config, text)) }
    });
    match parsed {
        Ok(checked) if refusals.is_empty() => Ok(checked),
        Ok(_) => Err(refusals),
        Err(more) => Err(first_causes(refusals.into_iter().chain(more).collect())),
    }
}

/// Leaves out what is said to be missing only because something stands in its place that is not supported yet.
fn first_causes(errors: Vec<FieldError>) -> Vec<FieldError> {
    let (later, others): (Vec<_>, Vec<_>) = errors.into_iter().partition(is_later);
    if later.is_empty() {
        return others;
    }
    let stay = others.into_iter().filter(|error| !error.message.starts_with("is missing"));
    later.into_iter().chain(stay).collect()
}

fn is_later(error: &FieldError) -> bool {
    error.message.contains("not supported yet")
}

fn read(text: &str) -> Result<Config, Vec<FieldError>> {
    capstan_config::parse(text.as_bytes()).map_err(|error| match error {
        ParseError::Invalid { fields } => fields,
        ParseError::TooLarge { bytes, .. } => vec![too_large(bytes)],
        other => vec![FieldError { path: String::new(), message: other.to_string() }],
    })
}

fn too_large(bytes: usize) -> FieldError {
    let message = format!(
        "the configuration has {bytes} bytes, more than the {LARGEST_FILE} that are delivered; write fewer logs or \
         patterns, or several policies"
    );
    FieldError { path: String::new(), message }
}

/// Leads a field of the file back to the object that it came from.
fn attribute(field: FieldError, destinations: &[&String]) -> Problem {
    let reason = match &field {
        FieldError { path, .. } if path.is_empty() => Reason::TooLarge,
        field if is_later(field) => Reason::NotSupported,
        _ => Reason::Invalid,
    };
    let below = field.path.strip_prefix("destinations[").and_then(|rest| rest.split_once("]."));
    let destination = below.and_then(|(index, rest)| {
        let index: usize = index.parse().ok()?;
        Some((destinations.get(index)?.to_string(), rest))
    });
    match destination {
        Some((name, path)) => Problem {
            message: format!("{}: {}", resolve::source_path(path), field.message),
            destination: Some(name),
            reason,
        },
        None if field.path.is_empty() => Problem { destination: None, reason, message: field.message },
        None => Problem {
            message: format!("{}: {}", resolve::source_path(&field.path), field.message),
            destination: None,
            reason,
        },
    }
}

#[cfg(test)]
mod tests;
