//! Checks text that becomes part of a message or an address.

use std::net::IpAddr;

use super::at::At;
use crate::raw;
use crate::types::Param;
use crate::units::ValueError;

/// The longest value of a parameter, in bytes.
const LONGEST_VALUE: usize = 1024;

/// Checks a header field: 1 to `most` printable ASCII characters (RFC 5424 section 6: PRINTUSASCII).
pub(super) fn header(text: String, most: usize) -> Result<String, ValueError> {
    if (1..=most).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic()) {
        return Ok(text);
    }
    Err(ValueError::new(format!(
        "{text:?} does not fit; write 1 to {most} printable ASCII characters without space"
    )))
}

/// Checks the name of an element or a parameter (RFC 5424 section 6.3: SD-NAME).
pub(super) fn sd_name(text: String) -> Result<String, ValueError> {
    let allowed = |b: u8| b.is_ascii_graphic() && !matches!(b, b'=' | b']' | b'"');
    if (1..=32).contains(&text.len()) && text.bytes().all(allowed) {
        return Ok(text);
    }
    Err(ValueError::new(format!(
        "{text:?} does not fit; write 1 to 32 printable ASCII characters without space, =, ] and \""
    )))
}

/// Checks the host of an address: a DNS name (RFC 1123 section 2.1, with underscores), or an IP address.
pub(super) fn host(text: String) -> Result<String, ValueError> {
    if text.parse::<IpAddr>().is_ok() || is_dns_name(&text) {
        return Ok(text);
    }
    Err(ValueError::new(format!(
        "{text:?} is not a host; write a DNS name, or an IP address without brackets, and the port into port"
    )))
}

fn is_dns_name(text: &str) -> bool {
    let name = text.strip_suffix('.').unwrap_or(text);
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    let label = |label: &str| {
        let inner = !label.starts_with('-') && !label.ends_with('-');
        (1..=63).contains(&label.len()) && inner && label.bytes().all(allowed)
    };
    // A name whose last label is a number would be taken for an IPv4 address (RFC 3696 section 2).
    let numeric = name.rsplit('.').next().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()));
    name.len() <= 253 && !numeric && name.split('.').all(label)
}

/// Checks a parameter of a structured-data element.
pub(super) fn param(raw: &raw::Param, at: &At) -> Option<Param> {
    let name = param_name(raw, at);
    at.refuse("from", &raw.from, "has no place here, only in metadata; write value");
    let value = match raw.from {
        None => param_value(raw, at, "write its value as text"),
        Some(_) => None,
    };
    Some(Param { name: name?, value: value? })
}

/// Checks the name of a parameter.
pub(super) fn param_name(raw: &raw::Param, at: &At) -> Option<String> {
    let name: Option<String> = at.required("name", &raw.name, "write the name of the parameter");
    name.and_then(|name| at.key("name").note(sd_name(name)))
}

/// Checks the value of a parameter; `hint` says what to write if it is missing.
pub(super) fn param_value(raw: &raw::Param, at: &At, hint: &str) -> Option<String> {
    let value: Option<String> = at.required("value", &raw.value, hint);
    value.filter(|value| {
        let fits = value.len() <= LONGEST_VALUE;
        if !fits {
            at.key("value").wrong(format!("has {} bytes; write at most {LONGEST_VALUE}", value.len()));
        }
        fits
    })
}
