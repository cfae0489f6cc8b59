//! From a checked configuration to the text of a file, with every setting written out.

use std::time::Duration;

use serde_json::Value;

use crate::names::VERSION;
use crate::raw;
use crate::types::{
    Archive, ClientCertificate, Config, Delivery, Destination, Endpoint, Files, Forward, Hostname, Log,
    Metadata, MetadataValue, Param, Process, Reopen, ReopenAction, Retention, Rotate, SdElement, SdId,
    Syslog, Tls, When,
};
use crate::units::format_duration;

/// Writes a configuration as the text of a file: indented JSON that ends with a line feed, in the order of the
/// reference. Equal configurations give equal text, and [`parse`](crate::parse()) reads it back equal.
pub fn render(config: &Config) -> String {
    // Serializing fails only for maps with keys that are no text, and there are none in the file.
    let mut text = serde_json::to_string_pretty(&file(config)).unwrap_or_default();
    text.push('\n');
    text
}

fn file(config: &Config) -> raw::Config {
    let Config { policy, logs, destinations } = config;
    raw::Config {
        version: Some(VERSION.into()),
        policy: text(policy),
        logs: Some(logs.iter().map(log).collect()),
        destinations: Some(destinations.iter().map(destination).collect()),
        budget: None,
    }
}

fn log(log: &Log) -> raw::Log {
    let Log { name, files: Files { include, exclude }, container, read_from, max_line, .. } = log;
    let Log { rotate: rotation, forward: to, .. } = log;
    raw::Log {
        name: text(name),
        files: Some(raw::Files { include: texts(include), exclude: texts(exclude) }),
        syslog: None,
        container: container.as_ref().and_then(text),
        read_from: text(read_from.name()),
        max_line_bytes: text(max_line),
        rotate: rotation.as_ref().map(rotate),
        forward: to.as_ref().map(forward),
    }
}

fn rotate(rotate: &Rotate) -> raw::Rotate {
    let Rotate { when: due, method, reopen: how, archive: to, retention: keep, mode } = rotate;
    raw::Rotate {
        when: Some(when(due)),
        method: text(method.name()),
        allow_loss: None,
        reopen: Some(reopen(how)),
        archive: Some(archive(to)),
        retention: Some(retention(keep)),
        mode: mode.as_ref().and_then(text),
    }
}

fn when(when: &When) -> raw::When {
    let When { size, schedule, min_size, if_empty } = when;
    raw::When {
        size: size.as_ref().and_then(text),
        schedule: schedule.as_ref().and_then(|schedule| text(schedule.text())),
        time_zone: schedule.as_ref().and_then(|schedule| text(schedule.time_zone())),
        min_size: text(min_size),
        if_empty: Some((*if_empty).into()),
    }
}

fn reopen(reopen: &Reopen) -> raw::Reopen {
    let Reopen { action, timeout, fallback } = reopen;
    let (signal, none) = match action {
        ReopenAction::Signal { signal, process } => {
            (Some(raw::Signal { name: text(signal), process: Some(target(process)) }), None)
        }
        ReopenAction::None => (None, Some(raw::Nothing {})),
    };
    raw::Reopen {
        preset: None,
        signal,
        http: None,
        fifo: None,
        none,
        timeout: duration(*timeout),
        fallback: text(fallback.name()),
    }
}

fn target(process: &Process) -> raw::Process {
    let Process { command_pattern, pid_file } = process;
    raw::Process {
        command_pattern: command_pattern.as_ref().and_then(text),
        pid_file: pid_file.as_ref().and_then(text),
    }
}

fn archive(archive: &Archive) -> raw::Archive {
    let Archive { directory, naming, compression } = archive;
    raw::Archive {
        directory: directory.as_ref().and_then(text),
        naming: text(naming.name()),
        compression: text(compression.name()),
    }
}

fn retention(retention: &Retention) -> raw::Retention {
    let Retention { count, age, total_size, when_unconfirmed } = retention;
    raw::Retention {
        count: count.map(Value::from),
        age: age.and_then(duration),
        total_size: total_size.as_ref().and_then(text),
        when_unconfirmed: text(when_unconfirmed.name()),
    }
}

fn forward(forward: &Forward) -> raw::Forward {
    let Forward { destinations, hostname, app_name, facility, severity, metadata: about } = forward;
    let (literal, source) = match hostname {
        Some(Hostname::Literal(name)) => (text(name), None),
        Some(Hostname::From(source)) => (None, text(source.name())),
        None => (None, None),
    };
    raw::Forward {
        destinations: Some(destinations.iter().map(|name| raw::Reference { name: text(name) }).collect()),
        hostname: literal,
        hostname_from: source,
        app_name: app_name.as_ref().and_then(text),
        facility: text(facility.name()),
        severity: text(severity.name()),
        metadata: Some(about.iter().map(metadata).collect()),
        ..raw::Forward::default()
    }
}

fn metadata(param: &Metadata) -> raw::Param {
    let Metadata { name, value } = param;
    match value {
        MetadataValue::Literal(value) => raw::Param { name: text(name), value: text(value), from: None },
        MetadataValue::From(source) => {
            raw::Param { name: text(name), value: None, from: text(source.name()) }
        }
    }
}

fn param(param: &Param) -> raw::Param {
    let Param { name, value } = param;
    raw::Param { name: text(name), value: text(value), from: None }
}

fn destination(destination: &Destination) -> raw::Destination {
    let Destination { name, syslog: how } = destination;
    raw::Destination { name: text(name), syslog: Some(syslog(how)) }
}

fn syslog(syslog: &Syslog) -> raw::Syslog {
    let Syslog { endpoints, transport, format, framing, max_message, structured_data, .. } = syslog;
    let Syslog { position_element, tls: certificates, delivery: promise, .. } = syslog;
    raw::Syslog {
        preset: None,
        endpoints: Some(endpoints.iter().map(endpoint).collect()),
        transport: text(transport.name()),
        format: text(format.name()),
        framing: text(framing.name()),
        max_message_bytes: text(max_message),
        structured_data: Some(structured_data.iter().map(element).collect()),
        position_element: Some((*position_element).into()),
        tls: certificates.as_ref().map(tls),
        delivery: Some(delivery(promise)),
    }
}

fn endpoint(endpoint: &Endpoint) -> raw::Endpoint {
    let Endpoint { host, port } = endpoint;
    raw::Endpoint { host: text(host), port: Some((*port).into()) }
}

fn element(element: &SdElement) -> raw::SdElement {
    let SdElement { id, params } = element;
    let (id, id_file) = match id {
        SdId::Literal(id) => (text(id), None),
        SdId::File(path) => (None, text(path)),
    };
    raw::SdElement { id, id_file, params: Some(params.iter().map(param).collect()) }
}

fn tls(tls: &Tls) -> raw::Tls {
    let Tls { server_name, ca_file, client_certificate, fingerprints, min_version } = tls;
    raw::Tls {
        server_name: server_name.as_ref().and_then(text),
        ca_file: ca_file.as_ref().and_then(text),
        client_certificate: client_certificate.as_ref().map(
            |ClientCertificate { certificate_file, key_file }| raw::ClientCertificate {
                certificate_file: text(certificate_file),
                key_file: text(key_file),
            },
        ),
        fingerprints: texts(fingerprints),
        min_version: text(min_version.name()),
    }
}

fn delivery(delivery: &Delivery) -> raw::Delivery {
    let Delivery { mode, replay_margin, roll_bytes, roll_age, roll_idle, .. } = delivery;
    let Delivery { connect_timeout, handshake_timeout, write_timeout, close_timeout, .. } = delivery;
    raw::Delivery {
        mode: text(mode.name()),
        replay_margin: duration(*replay_margin),
        max_bytes_per_second: None,
        roll_bytes: text(roll_bytes),
        roll_age: duration(*roll_age),
        roll_idle: duration(*roll_idle),
        connect_timeout: duration(*connect_timeout),
        handshake_timeout: duration(*handshake_timeout),
        write_timeout: duration(*write_timeout),
        close_timeout: duration(*close_timeout),
    }
}

/// A value as text. Always there: an `Option` because that is what the fields are.
fn text(value: impl ToString) -> Option<Value> {
    Some(Value::String(value.to_string()))
}

fn texts<T: ToString>(values: &[T]) -> Option<Vec<Value>> {
    Some(values.iter().map(|value| Value::String(value.to_string())).collect())
}

fn duration(value: Duration) -> Option<Value> {
    text(format_duration(value))
}
