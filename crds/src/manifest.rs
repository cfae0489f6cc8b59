//! The YAML of the custom resource definitions, made from the types.
//!
//! What always holds: no field is nullable, so that the API server drops a `null` as if the field were missing and
//! rules may ask with `has()`; numbers have no formats that the API server does not know.

use kube::CustomResourceExt;
use serde_json::Value;

use crate::{LogDestination, LogRotationPolicy};

/// The greatest length of each file, in bytes: an annotation of client-side apply holds 256 KiB, and people read them.
pub const MAX_BYTES: usize = 60_000;

/// What stands at the top of each file.
const HEADER: &str =
    "# Made by `cargo run -p capstan-crds --bin crdgen` from the types in crds/src. Do not edit.\n";

/// Why no YAML was made.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// A definition could not be written as JSON, or read back from it.
    #[error("the definition has no JSON form: {0}")]
    Json(#[from] serde_json::Error),
    /// A definition could not be written as YAML.
    #[error("the definition has no YAML form: {0}")]
    Yaml(#[from] serde_yaml_ng::Error),
}

/// Both definitions, as JSON.
///
/// # Errors
/// If one cannot be written as JSON, which would be a mistake in the types.
pub fn definitions() -> Result<Vec<Value>, ManifestError> {
    let mut definitions =
        vec![serde_json::to_value(LogRotationPolicy::crd())?, serde_json::to_value(LogDestination::crd())?];
    definitions.iter_mut().for_each(tidy);
    Ok(definitions)
}

/// The files that belong beside this package: name and text.
///
/// # Errors
/// If a definition cannot be written, which would be a mistake in the types.
pub fn files() -> Result<Vec<(String, String)>, ManifestError> {
    definitions()?
        .into_iter()
        .map(|definition| {
            let name = definition["metadata"]["name"].as_str().unwrap_or_default();
            Ok((format!("{name}.yaml"), format!("{HEADER}{}", serde_yaml_ng::to_string(&definition)?)))
        })
        .collect()
}

/// Turns what the derive macros write into what the API server is to see.
fn tidy(value: &mut Value) {
    match value {
        Value::Object(keys) => {
            keys.remove("nullable");
            if keys.get("type").is_some_and(|kind| kind == "object") && keys.contains_key("properties") {
                keys.remove("title");
            }
            if keys.get("type").is_some_and(|kind| kind == "integer") {
                keys.retain(|key, format| key != "format" || format == "int64" || format == "int32");
            }
            if let Some(Value::Array(choices)) = keys.get_mut("enum") {
                choices.retain(|choice| !choice.is_null());
            }
            keys.values_mut().for_each(tidy);
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        // Bounds come as floating point numbers, and all of ours are whole.
        Value::Number(number) => {
            if let Some(whole) = number.as_f64().filter(|float| number.is_f64() && float.fract() == 0.0) {
                *number = (whole as i64).into();
            }
        }
        _ => {}
    }
}
