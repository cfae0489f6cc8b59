//! `capstan-operator inject -f FILE`: what annotated pods in a file become, printed as YAML.
//!
//! What always holds: nothing is asked of a cluster, so Secrets and CAs of destinations are not mounted; what has no pod
//! in it comes out as it went in.

use std::io::{Read, Write};
use std::path::Path;

use k8s_openapi::api::core::v1::Pod;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::inject::bounds::Bounds;
use crate::inject::{Context, Known, Outcome, SidecarSettings, inject};

/// The largest file that is read, in bytes.
const LARGEST: u64 = 16 << 20;

/// Why a file could not be printed.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It could not be read or printed.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: String,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// It is no YAML.
    #[error("{path}, document {number}: {source}")]
    Yaml {
        /// Which.
        path: String,
        /// Which of its documents, from 1.
        number: usize,
        /// Why not.
        #[source]
        source: serde_yaml_ng::Error,
    },
    /// An object is not of the form that it should have.
    #[error("{path}, document {number}: {reason}")]
    Object {
        /// Which.
        path: String,
        /// Which of its documents, from 1.
        number: usize,
        /// What is wrong.
        reason: String,
    },
}

/// Prints a file's objects with sidecars, and warnings on standard error.
pub fn print(path: &Path, namespace: &str, settings: &SidecarSettings) -> Result<(), FileError> {
    let name = path.display().to_string();
    let io = |source| FileError::Io { path: name.clone(), source };
    let text = read(path).map_err(io)?;
    let (printed, warnings) = convert(&text, &name, namespace, settings)?;
    for warning in warnings {
        eprintln!("{warning}");
    }
    std::io::stdout().write_all(printed.as_bytes()).map_err(io)
}

fn read(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    if path == Path::new("-") {
        std::io::stdin().take(LARGEST).read_to_string(&mut text)?;
    } else {
        std::fs::File::open(path)?.take(LARGEST).read_to_string(&mut text)?;
    }
    Ok(text)
}

/// The documents of a text with sidecars, and what was said about them.
pub fn convert(
    text: &str,
    path: &str,
    namespace: &str,
    settings: &SidecarSettings,
) -> Result<(String, Vec<String>), FileError> {
    let (mut printed, mut warnings) = (Vec::new(), Vec::new());
    for (index, document) in serde_yaml_ng::Deserializer::from_str(text).enumerate() {
        let number = index + 1;
        let yaml = |source| FileError::Yaml { path: path.to_owned(), number, source };
        let mut object = Value::deserialize(document).map_err(yaml)?;
        if object.is_null() {
            continue;
        }
        change(&mut object, namespace, settings, &mut warnings).map_err(|reason| FileError::Object {
            path: path.to_owned(),
            number,
            reason,
        })?;
        printed.push(serde_yaml_ng::to_string(&object).map_err(yaml)?);
    }
    Ok((printed.join("---\n"), warnings))
}

/// The place of the pod, or of its template, in an object.
fn pod_of(object: &mut Value) -> Option<&mut Value> {
    let pointer = match object["kind"].as_str()? {
        "Pod" => "",
        "CronJob" => "/spec/jobTemplate/spec/template",
        _ => "/spec/template",
    };
    object.pointer_mut(pointer).filter(|pod| pod["spec"]["containers"].is_array())
}

/// The names of a StatefulSet's claims: its pods get volumes of these names.
fn claims_of(object: &Value) -> Vec<String> {
    let templates = object["spec"]["volumeClaimTemplates"].as_array().into_iter().flatten();
    templates.filter_map(|template| template["metadata"]["name"].as_str().map(str::to_owned)).collect()
}

/// Adds the volumes to those of the template, in place of those with the same name.
fn add_claims(volumes: &mut Value, claims: Vec<String>) {
    for name in claims {
        let volume = json!({ "name": name, "persistentVolumeClaim": { "claimName": name } });
        match volumes.as_array_mut() {
            None => *volumes = json!([volume]),
            Some(all) => match all.iter_mut().find(|other| other["name"] == volume["name"]) {
                Some(other) => *other = volume,
                None => all.push(volume),
            },
        }
    }
}

fn change(
    object: &mut Value,
    namespace: &str,
    settings: &SidecarSettings,
    warnings: &mut Vec<String>,
) -> Result<(), String> {
    if object["kind"] == "List" {
        let items = object["items"].as_array_mut().into_iter().flatten();
        return items.into_iter().try_for_each(|item| change(item, namespace, settings, warnings));
    }
    let namespace = object["metadata"]["namespace"].as_str().unwrap_or(namespace).to_owned();
    let called = format!(
        "{} {}",
        object["kind"].as_str().unwrap_or("?"),
        object["metadata"]["name"].as_str().unwrap_or("?")
    );
    let claims = claims_of(object);
    let Some(place) = pod_of(object) else { return Ok(()) };
    let mut typed = json!({ "apiVersion": "v1", "kind": "Pod" });
    typed["metadata"] = place["metadata"].clone();
    typed["spec"] = place["spec"].clone();
    let only_claims = !claims.is_empty() && place["spec"]["volumes"].is_null();
    add_claims(&mut typed["spec"]["volumes"], claims);
    let pod: Pod = serde_json::from_value(typed).map_err(|error| format!("{called}: {error}"))?;
    let known = Known::new();
    let bounds = Bounds::default();
    let context = Context {
        namespace: &namespace,
        own_namespace: "",
        users_are_assigned: false,
        bounds: &bounds,
        known: &known,
    };
    let injection = inject(&pod, &context, settings);
    if only_claims && injection.outcome == Outcome::Injected {
        // The patch adds to the list that the claims made.
        place["spec"]["volumes"] = json!([]);
    }
    json_patch::patch(place, &injection.patch).map_err(|error| format!("{called}: {error}"))?;
    warnings.extend(injection.warnings.iter().map(|warning| format!("{called}: {warning}")));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Cli;

    const DEPLOYMENT: &str = r#"
kind: Deployment
metadata: { name: web }
spec:
  template:
    metadata: { annotations: { capstan.dev/policy: web } }
    spec:
      containers: [{ name: app, volumeMounts: [{ name: logs, mountPath: /logs }] }]
      volumes: [{ name: logs, emptyDir: {} }]
"#;

    #[test]
    fn a_template_gets_the_sidecar_and_everything_else_stays() {
        let text = format!("kind: Service\nspec: {{ a: 1 }}\n---{DEPLOYMENT}");
        let (printed, warnings) = convert(&text, "x.yaml", "default", &Cli::parse_from_nothing()).unwrap();
        assert!(printed.starts_with("kind: Service\nspec:\n  a: 1\n---\nkind: Deployment\n"));
        assert!(printed.contains("name: capstan\n"));
        assert!(warnings[0].starts_with("Deployment web: capstan: UnknownAppUser: "));
    }

    #[test]
    fn claims_of_a_stateful_set_are_volumes_and_stay_out_of_the_template() {
        for volumes in ["", "\n      volumes: [{ name: other, configMap: { name: c } }]"] {
            let text = format!(
                r#"
kind: StatefulSet
metadata: {{ name: db }}
spec:
  volumeClaimTemplates: [{{ metadata: {{ name: logs }} }}]
  template:
    metadata: {{ annotations: {{ capstan.dev/policy: web }} }}
    spec:
      securityContext: {{ runAsUser: 999 }}
      containers: [{{ name: app, volumeMounts: [{{ name: logs, mountPath: /logs }}] }}]{volumes}
"#
            );
            let (printed, warnings) = convert(&text, "x", "default", &Cli::parse_from_nothing()).unwrap();
            assert!(warnings.is_empty(), "{warnings:?}");
            assert!(printed.contains("\"kind\":\"persistentVolumeClaim\""), "{printed}");
            assert!(!printed.contains("claimName"), "{printed}");
        }
    }

    #[test]
    fn an_error_names_file_and_document() {
        let error =
            convert("kind: A\n---\nkind: [", "x.yaml", "default", &Cli::parse_from_nothing()).unwrap_err();
        assert!(error.to_string().starts_with("x.yaml, document 2: "), "{error}");
    }
}
