//! From what users wrote to the sidecar's configuration: presets expanded, destinations inlined, objects named by the
//! path they are mounted at.
//!
//! In: specs. Out: the JSON of a configuration that is not checked yet, and what presets had to refuse. What always
//! holds: a field keeps its name and place, so that the contract's own parser finds what is wrong, and a field that it
//! does not know is refused instead of forgotten; [`source_path`] leads back to what the user wrote.

use capstan_config::names;
use capstan_crds::policy::{Forward, Log, Metadata, Rotate};
use capstan_crds::{LogDestinationSpec, LogRotationPolicySpec};
use serde_json::{Map, Value, json};

use crate::{presets, references};

/// What is wrong with a field, in the words of [`capstan_config`].
pub type Refusals = Vec<capstan_config::FieldError>;

/// A policy without its destinations.
pub fn policy(name: &str, spec: &LogRotationPolicySpec, refusals: &mut Refusals) -> Value {
    let LogRotationPolicySpec { logs, budget } = spec;
    let logs: Vec<Value> =
        logs.iter().enumerate().map(|(index, each)| log(each, &format!("logs[{index}]"), refusals)).collect();
    let mut file = json!({ "version": capstan_config::names::VERSION, "policy": name, "logs": logs });
    if let Some(budget) = budget {
        file["budget"] = as_written(budget);
    }
    file
}

fn log(log: &Log, path: &str, refusals: &mut Refusals) -> Value {
    let mut resolved = as_written(log);
    if let Some(Rotate { reopen: Some(reopen), .. }) = &log.rotate
        && let Some(preset) = &reopen.preset
    {
        let way = presets::app(&preset.0).unwrap_or_else(|message| {
            refuse(refusals, format!("{path}.rotate.reopen.preset"), message);
            json!({ "none": {} })
        });
        let reopen = &mut resolved["rotate"]["reopen"];
        take(reopen, "preset");
        merge(reopen, way);
    }
    if let Some(forward) = &log.forward {
        origin(forward, &mut resolved["forward"]);
    }
    resolved
}

/// What messages say about their origin: words of the API become questions to each pod.
fn origin(forward: &Forward, resolved: &mut Value) {
    let source = forward.hostname.as_deref().filter(|word| ["Pod", "Node", "Workload"].contains(word));
    if let Some(word) = source {
        take(resolved, "hostname");
        resolved["hostnameFrom"] = word.into();
    } else if forward.hostname.is_none() {
        resolved["hostnameFrom"] = "Pod".into();
    }
    if let Some(metadata) = &forward.metadata {
        resolved["metadata"] = metadata.iter().map(parameter).collect();
    }
}

fn parameter(metadata: &Metadata) -> Value {
    let (name, from) = match metadata {
        Metadata::Namespace => ("namespace", "Namespace"),
        Metadata::Pod => ("pod", "Pod"),
        Metadata::PodUid => ("pod_uid", "PodUid"),
        Metadata::Container => ("container", "Container"),
        Metadata::Node => ("node", "Node"),
        Metadata::Workload => ("workload", "Workload"),
    };
    json!({ "name": name, "from": from })
}

/// A destination of a policy; its place in the file is `path`, and the authorities that it takes from a ConfigMap, if it
/// does, are `pem`.
pub fn destination(
    policy: &str,
    name: &str,
    spec: &LogDestinationSpec,
    pem: &str,
    path: &str,
    refusals: &mut Refusals,
) -> Value {
    let LogDestinationSpec { syslog } = spec;
    let mut resolved = json!({ "name": name });
    let Some(syslog) = syslog else { return resolved };
    let mut written = as_written(syslog);
    if let Some(preset) = &syslog.preset {
        take(&mut written, "preset");
        match presets::receiver(&preset.0) {
            Ok(known) => receiver(&mut written, &known),
            Err(message) => refuse(refusals, format!("{path}.syslog.preset"), message),
        }
    }
    for (index, element) in syslog.structured_data.iter().flatten().enumerate() {
        let written = &mut written["structuredData"][index];
        take(written, "id");
        match &element.id.secret_key_ref {
            Some(key) => written["idFile"] = secret_file(key).into(),
            None => written["id"] = element.id.value.clone().unwrap_or_default().into(),
        }
    }
    if let Some(tls) = &syslog.tls {
        certificates(tls, &mut written["tls"]);
    }
    if references::authority(spec).is_some() {
        let file = references::authority_file(name, pem);
        written["tls"]["caFile"] = format!("{}/{file}", names::policy_directory(policy)).into();
    }
    resolved["syslog"] = written;
    resolved
}

/// Fills in what a known receiver needs, where nothing was written.
fn receiver(written: &mut Value, known: &presets::Receiver) {
    let mut fill = |key: &str, value: Value| {
        if written[key].is_null() {
            written[key] = value;
        }
    };
    fill("framing", known.framing.into());
    fill("maxMessageBytes", known.max_message_bytes.into());
    if let Some((host, port)) = known.endpoint {
        fill("endpoints", json!([{ "host": host, "port": port }]));
    }
}

fn certificates(tls: &capstan_crds::destination::Tls, written: &mut Value) {
    take(written, "ca");
    if let Some(key) = tls.ca.as_ref().and_then(|ca| ca.secret_key_ref.as_ref()) {
        written["caFile"] = secret_file(key).into();
    }
    if let Some(client) = &tls.client_certificate {
        let directory = names::secret_directory(&client.secret_ref.name.0);
        // The keys of a Secret of type kubernetes.io/tls.
        written["clientCertificate"] = json!({
            "certificateFile": format!("{directory}/tls.crt"),
            "keyFile": format!("{directory}/tls.key"),
        });
    }
}

/// Where a sidecar finds a key of a Secret.
fn secret_file(key: &capstan_crds::values::KeyRef) -> String {
    format!("{}/{}", names::secret_directory(&key.name.0), key.key)
}

/// A destination that stands in for one that is not there, so that everything else can be checked.
pub fn stand_in(name: &str) -> Value {
    json!({ "name": name, "syslog": { "endpoints": [{ "host": "missing.invalid" }] } })
}

/// Where in the object a path of the configuration comes from, below the object or the destination.
pub fn source_path(path: &str) -> String {
    const RENAMED: [(&str, &str); 6] = [
        (".tls.caFile", ".tls.ca"),
        (".tls.clientCertificate.certificateFile", ".tls.clientCertificate.secretRef.name"),
        (".tls.clientCertificate.keyFile", ".tls.clientCertificate.secretRef.name"),
        (".forward.hostnameFrom", ".forward.hostname"),
        ("].idFile", "].id.secretKeyRef"),
        ("].id", "].id.value"),
    ];
    let renamed =
        RENAMED.iter().find_map(|(from, to)| path.strip_suffix(from).map(|head| format!("{head}{to}")));
    format!("spec.{}", renamed.unwrap_or_else(|| path.to_owned()))
}

/// What the user wrote, as JSON. Serializing fails only for maps with keys that are no text, and there are none.
fn as_written(value: &impl serde::Serialize) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}

fn refuse(refusals: &mut Refusals, path: String, message: String) {
    refusals.push(capstan_config::FieldError { path, message });
}

fn take(object: &mut Value, key: &str) {
    if let Some(keys) = object.as_object_mut() {
        keys.remove(key);
    }
}

fn merge(object: &mut Value, more: Value) {
    if let (Some(keys), Value::Object(more)) = (object.as_object_mut(), more) {
        let more: Map<String, Value> = more;
        keys.extend(more);
    }
}
