//! The shape of the file: objects, lists and known keys, and nothing about values.
//!
//! serde stops at the first error. So what it refuses is noted, cut out, and the rest is read again, until only what
//! has the right shape is left: that way every wrong key is reported at once.

use serde::Deserialize;
use serde_json::Value;
use serde_path_to_error::{Path, Segment};

use crate::error::FieldError;
use crate::nearest;
use crate::raw;

/// How many errors are collected before giving up on a file that is something else altogether.
const MOST_ERRORS: usize = 50;

/// Reads the file's shape. `text` and `json` are the same file; the text still has keys that come twice.
///
/// # Errors
/// Every key that is not known, comes twice, or has the wrong kind of value.
pub(crate) fn read(text: &[u8], mut json: Value) -> Result<raw::Config, Vec<FieldError>> {
    let mut errors = Vec::new();
    while let Err(error) = serde_path_to_error::deserialize::<_, raw::Config>(&json) {
        let path = error.path().clone();
        errors.push(FieldError { path: written(&path), message: explain(&path, &error.inner().to_string()) });
        if errors.len() >= MOST_ERRORS || !cut(&mut json, &path) {
            break;
        }
    }
    lists_for_objects(&json, &mut errors);
    if !errors.is_empty() {
        return Err(errors);
    }
    let mut reader = serde_json::Deserializer::from_slice(text);
    serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        vec![FieldError { path: written(error.path()), message: twice(&error.inner().to_string()) }]
    })
}

/// A path as it is reported; the file itself has an empty one.
fn written(path: &Path) -> String {
    if path.iter().len() == 0 { "(file)".to_owned() } else { path.to_string() }
}

/// A sentence about the one thing that shows only in the text: a key that comes twice. The path is that of its
/// object, since the key itself was fine.
fn twice(message: &str) -> String {
    match message.strip_prefix("duplicate field `").and_then(|rest| rest.split_once('`')) {
        Some((key, _)) => format!("has the key {key} twice; leave one out"),
        None => message.to_owned(),
    }
}

/// What kind of value this is, with its article.
pub(crate) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// A sentence with the fix, from what serde says about the value at `path`.
fn explain(path: &Path, message: &str) -> String {
    // What was found may itself contain the words that are looked for; what was expected comes last and does not.
    let Some((found, expected)) = message.rsplit_once(", expected ") else { return message.to_owned() };
    if found.starts_with("unknown field ") {
        let key = path.iter().next_back().map(Segment::to_string).unwrap_or_default();
        return nearest::not_known(&key, expected.split('`').skip(1).step_by(2));
    }
    let expected = if expected == "a sequence" { "a list" } else { expected };
    match found.strip_prefix("invalid type: ") {
        Some(found) => format!("must be {expected}, not {}", plain(found)),
        None => message.to_owned(),
    }
}

/// serde's word for a kind of value, in ours.
fn plain(found: &str) -> &str {
    match found.split(' ').next().unwrap_or(found) {
        "string" => "text",
        "integer" | "floating" => "a number",
        "boolean" => "true or false",
        "sequence" => "a list",
        "map" => "an object",
        "null" => "nothing",
        _ => found,
    }
}

/// Removes the value at `path`; in a list, puts in its place what has any shape.
fn cut(json: &mut Value, path: &Path) -> bool {
    let segments: Vec<&Segment> = path.iter().collect();
    let Some((last, parents)) = segments.split_last() else { return false };
    let mut parent = json;
    for segment in parents {
        let Some(child) = child(parent, segment) else { return false };
        parent = child;
    }
    match (parent, last) {
        (Value::Object(keys), Segment::Map { key }) => keys.remove(key).is_some(),
        (Value::Array(items), Segment::Seq { index }) if *index < items.len() => {
            items[*index] = Value::Object(serde_json::Map::new());
            true
        }
        _ => false,
    }
}

fn child<'a>(parent: &'a mut Value, segment: &Segment) -> Option<&'a mut Value> {
    match segment {
        Segment::Map { key } => parent.get_mut(key),
        Segment::Seq { index } => parent.get_mut(index),
        Segment::Enum { .. } | Segment::Unknown => None,
    }
}

/// serde takes a list where it wants an object, as the object's values in order. That is found by writing what was
/// read: it comes out as an object.
fn lists_for_objects(json: &Value, errors: &mut Vec<FieldError>) {
    let Ok(understood) = raw::Config::deserialize(json).and_then(serde_json::to_value) else { return };
    compare(json, &understood, String::new(), errors);
}

fn compare(given: &Value, understood: &Value, path: String, errors: &mut Vec<FieldError>) {
    match (given, understood) {
        (Value::Object(keys), Value::Object(known)) => {
            for (key, value) in known {
                let separator = if path.is_empty() { "" } else { "." };
                compare(keys.get(key).unwrap_or(value), value, format!("{path}{separator}{key}"), errors);
            }
        }
        (Value::Array(items), Value::Array(known)) => {
            for (index, (item, value)) in items.iter().zip(known).enumerate() {
                compare(item, value, format!("{path}[{index}]"), errors);
            }
        }
        (Value::Array(_), Value::Object(_)) => {
            errors.push(FieldError { path, message: "must be an object, not a list".to_owned() });
        }
        _ => {}
    }
}
