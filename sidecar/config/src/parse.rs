//! From the text of a file to a checked configuration: JSON, version, shape, then every value.

use serde_json::Value;
use serde_json::error::Category;

use crate::error::{FieldError, ParseError};
use crate::names::{MAX_FILE_BYTES, VERSION};
use crate::types::Config;
use crate::{check, shape};

/// Reads a configuration from the text of a file.
///
/// # Errors
/// Every field that cannot be used is reported, each with its path and what to write instead. A version that is not
/// known, an empty and a torn file are told apart, because they call for going on with the last good configuration.
pub fn parse(text: &[u8]) -> Result<Config, ParseError> {
    let json = read_json(text)?;
    check_version(&json)?;
    let raw = shape::read(text, json).map_err(|fields| ParseError::Invalid { fields })?;
    check::config(&raw).map_err(|fields| ParseError::Invalid { fields })
}

/// Reads JSON, and tells what was cut off from what never was JSON.
fn read_json(text: &[u8]) -> Result<Value, ParseError> {
    if text.len() > MAX_FILE_BYTES {
        return Err(ParseError::TooLarge { bytes: text.len(), limit: MAX_FILE_BYTES });
    }
    if text.iter().all(u8::is_ascii_whitespace) {
        return Err(ParseError::Empty);
    }
    serde_json::from_slice(text).map_err(|error| match error.classify() {
        Category::Eof => ParseError::Torn { line: error.line(), column: error.column() },
        Category::Syntax | Category::Data | Category::Io => {
            ParseError::NotJson { message: error.to_string() }
        }
    })
}

/// Checks the version before anything else: the rest of another version may have any shape.
fn check_version(json: &Value) -> Result<(), ParseError> {
    let invalid = |path: &str, message: String| {
        Err(ParseError::Invalid { fields: vec![FieldError { path: path.to_owned(), message }] })
    };
    let Value::Object(keys) = json else {
        return invalid("(file)", format!("is {}; write an object in braces", shape::kind(json)));
    };
    match keys.get("version") {
        None | Some(Value::Null) => invalid("version", format!("is missing; write {VERSION}")),
        Some(Value::Number(number)) if number.as_u64() == Some(VERSION) => Ok(()),
        Some(found @ Value::Number(_)) => {
            Err(ParseError::UnsupportedVersion { found: found.to_string(), known: VERSION })
        }
        Some(other) => {
            invalid("version", format!("must be a number, not {}; write {VERSION}", shape::kind(other)))
        }
    }
}
