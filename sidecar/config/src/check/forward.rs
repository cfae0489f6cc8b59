//! Checks where the lines of a log are sent.

use super::at::At;
use super::text;
use crate::raw;
use crate::types::{Facility, Forward, Hostname, Metadata, MetadataValue, Severity};
use crate::units::DestinationName;

/// The most destinations of a log.
const MOST_DESTINATIONS: usize = 8;

/// The most parameters of an element.
pub(super) const MOST_PARAMS: usize = 16;

/// The longest HOSTNAME and APP-NAME (RFC 5424 section 6).
const LONGEST_HOSTNAME: usize = 255;
const LONGEST_APP_NAME: usize = 48;

pub(super) fn read(raw: &raw::Forward, at: &At) -> Option<Forward> {
    let destinations = destinations(raw, at);
    let hostname = hostname(raw, at);
    let app_name: Option<String> = at.optional("appName", &raw.app_name);
    let app_name = app_name.and_then(|name| at.key("appName").note(text::header(name, LONGEST_APP_NAME)));
    let facility = at.or("facility", &raw.facility, Facility::Local0);
    let severity = at.or("severity", &raw.severity, Severity::Info);
    let metadata = at.list("metadata", &raw.metadata, 0..=MOST_PARAMS, metadata);
    at.later("include", &raw.include);
    at.later("exclude", &raw.exclude);
    at.later("multiline", &raw.multiline);
    at.later("parse", &raw.parse);
    at.later("redact", &raw.redact);
    Some(Forward { destinations: destinations?, hostname, app_name, facility, severity, metadata: metadata? })
}

fn hostname(raw: &raw::Forward, at: &At) -> Option<Hostname> {
    let literal: Option<String> = at.optional("hostname", &raw.hostname);
    let literal = literal.and_then(|name| at.key("hostname").note(text::header(name, LONGEST_HOSTNAME)));
    let source = at.optional("hostnameFrom", &raw.hostname_from);
    if raw.hostname.is_some() {
        at.refuse("hostnameFrom", &raw.hostname_from, "does not go with hostname; leave one of them out");
    }
    literal.map(Hostname::Literal).or(source.map(Hostname::From))
}

fn metadata(raw: &raw::Param, at: &At) -> Option<Metadata> {
    let name = text::param_name(raw, at);
    if raw.value.is_some() {
        at.refuse("from", &raw.from, "does not go with value; leave one of them out");
    }
    let source = at.optional("from", &raw.from).map(MetadataValue::From);
    let value = match raw.from {
        None => text::param_value(raw, at, "write its value as text, or from").map(MetadataValue::Literal),
        Some(_) => source,
    };
    Some(Metadata { name: name?, value: value? })
}

fn destinations(raw: &raw::Forward, at: &At) -> Option<Vec<DestinationName>> {
    let names = at.list("destinations", &raw.destinations, 1..=MOST_DESTINATIONS, |raw, at| {
        at.required("name", &raw.name, "write the name of a destination of this file")
    })?;
    if names.len() > 1 {
        at.key("destinations").wrong("more than one destination for a log is not supported yet; write one");
    }
    Some(names)
}
