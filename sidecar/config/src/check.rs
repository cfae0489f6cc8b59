//! From the file's shape to checked values. Every function reads one object, notes what is wrong with it, and goes
//! on, so that all errors are found at once.
//!
//! What always holds: a function that returns `None` has noted an error, and a note is the end of the configuration:
//! until then defaults stand in for values that could not be used.

mod at;
mod destination;
mod field;
mod forward;
mod log;
mod rotate;
mod text;
mod tls;

use std::collections::BTreeSet;
use std::fmt::Display;

use crate::error::FieldError;
use crate::types::Config;
use crate::{nearest, raw};
use at::{At, Notes};

/// The most logs in a file.
const MOST_LOGS: usize = 64;

/// The most destinations in a file.
const MOST_DESTINATIONS: usize = 16;

/// Checks everything.
///
/// # Errors
/// Every field that cannot be used.
pub(crate) fn config(raw: &raw::Config) -> Result<Config, Vec<FieldError>> {
    let notes = Notes::default();
    let checked = read(raw, &At::top(&notes));
    let errors = notes.into_errors();
    match checked {
        Some(config) if errors.is_empty() => Ok(config),
        _ => Err(errors),
    }
}

fn read(raw: &raw::Config, at: &At) -> Option<Config> {
    let policy = at.required("policy", &raw.policy, "write the name of the policy");
    let logs = at.list("logs", &raw.logs, 1..=MOST_LOGS, log::read);
    let destinations = at.list("destinations", &raw.destinations, 0..=MOST_DESTINATIONS, destination::read);
    at.later("budget", &raw.budget);
    let config = Config { policy: policy?, logs: logs?, destinations: destinations? };
    unique(at, "logs", config.logs.iter().map(|log| &log.name));
    unique(at, "destinations", config.destinations.iter().map(|destination| &destination.name));
    references(&config, at);
    Some(config)
}

/// Checks that no name comes twice in the list `key`.
fn unique<Name: Ord + Display>(at: &At, key: &str, names: impl Iterator<Item = Name>) {
    let mut seen = BTreeSet::new();
    for (index, name) in names.enumerate() {
        let place = at.key(key).index(index).key("name");
        if seen.contains(&name) {
            place.wrong(format!("\"{name}\" comes twice; give each its own name"));
        }
        seen.insert(name);
    }
}

/// Checks that every destination that a log names is there.
fn references(config: &Config, at: &At) {
    let known = || config.destinations.iter().map(|destination| destination.name.as_str());
    for (index, log) in config.logs.iter().enumerate() {
        let named = log.forward.iter().flat_map(|forward| &forward.destinations).enumerate();
        for (position, name) in named.filter(|(_, name)| !known().any(|known| known == name.as_str())) {
            let place =
                at.key("logs").index(index).key("forward").key("destinations").index(position).key("name");
            let problem = format!("\"{name}\" is not among the destinations of this file");
            place.wrong(match nearest::nearest(name.as_str(), known()) {
                Some(near) => format!("{problem}; did you mean \"{near}\"?"),
                None => format!("{problem}; add it there"),
            });
        }
    }
}
