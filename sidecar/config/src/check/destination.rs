//! Checks a receiver and how messages get there.

use std::collections::BTreeSet;
use std::time::Duration;

use super::at::At;
use super::forward::MOST_PARAMS;
use super::{text, tls};
use crate::defaults;
use crate::names::{METADATA_ELEMENT, POSITION_ELEMENT};
use crate::raw;
use crate::types::{Delivery, Destination, Endpoint, Format, Framing, SdElement, SdId, Syslog, Transport};
use crate::units::ByteSize;

/// The most addresses of a receiver.
const MOST_ENDPOINTS: usize = 8;

/// The most elements of a message.
const MOST_ELEMENTS: usize = 8;

/// Every receiver takes 480 bytes (RFC 5424 section 6.1); a message is built in memory.
const MESSAGE_SIZES: (ByteSize, ByteSize) = (ByteSize(480), ByteSize(16 << 20));

/// Bytes between two closes for proof: fewer than 4 KiB would be a connection for each line.
const ROLL_SIZES: (ByteSize, ByteSize) = (ByteSize(4 << 10), ByteSize(64 << 30));

/// The shortest and longest time to wait for a receiver.
const TIMEOUTS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(86_400));

/// The longest time that is sent again: an hour of lines after every broken connection.
const LONGEST_MARGIN: Duration = Duration::from_secs(3_600);

pub(super) fn read(raw: &raw::Destination, at: &At) -> Option<Destination> {
    let name = at.required("name", &raw.name, "write a name that is unique in the file");
    let syslog = match &raw.syslog {
        Some(raw) => syslog(raw, &at.key("syslog")),
        None => {
            at.missing("syslog", "write how to reach the receiver: {\"endpoints\": …}");
            None
        }
    };
    Some(Destination { name: name?, syslog: syslog? })
}

fn syslog(raw: &raw::Syslog, at: &At) -> Option<Syslog> {
    at.refuse(
        "preset",
        &raw.preset,
        "is not known to the sidecar; write the framing and limits that it stands for",
    );
    let transport = at.or("transport", &raw.transport, Transport::Tls);
    let endpoints =
        at.list("endpoints", &raw.endpoints, 1..=MOST_ENDPOINTS, |raw, at| endpoint(raw, transport, at));
    let format = at.or("format", &raw.format, Format::Rfc5424);
    let framing = at.or("framing", &raw.framing, Framing::OctetCounting);
    let sizes = MESSAGE_SIZES.0..=MESSAGE_SIZES.1;
    let max_message = at.within("maxMessageBytes", &raw.max_message_bytes, defaults::MAX_MESSAGE, sizes);
    let structured_data = at.list("structuredData", &raw.structured_data, 0..=MOST_ELEMENTS, element);
    unique_ids(structured_data.as_deref().unwrap_or_default(), at);
    let position_element = at.or("positionElement", &raw.position_element, false);
    let tls = tls::read(raw.tls.as_ref(), transport, &at.key("tls"));
    let delivery =
        raw.delivery.as_ref().map_or(defaults::delivery(), |raw| delivery(raw, &at.key("delivery")));
    Some(Syslog {
        endpoints: endpoints?,
        transport,
        format,
        framing,
        max_message,
        structured_data: structured_data?,
        position_element,
        tls,
        delivery,
    })
}

fn endpoint(raw: &raw::Endpoint, transport: Transport, at: &At) -> Option<Endpoint> {
    let host: Option<String> = at.required("host", &raw.host, "write a DNS name or an IP address");
    let host = host.and_then(|host| at.key("host").note(text::host(host)));
    let port = match transport {
        Transport::Tls => Some(at.or("port", &raw.port, defaults::TLS_PORT)),
        Transport::Tcp => {
            at.required("port", &raw.port, "write the receiver's port; plain TCP has no usual one")
        }
    };
    if port == Some(0) {
        at.key("port").wrong("is 0; write the receiver's port, 1 to 65535");
    }
    Some(Endpoint { host: host?, port: port? })
}

fn element(raw: &raw::SdElement, at: &At) -> Option<SdElement> {
    let id = match (&raw.id, &raw.id_file) {
        (Some(_), None) => literal_id(raw, at),
        (None, Some(_)) => at.optional("idFile", &raw.id_file).map(SdId::File),
        _ => {
            at.wrong("must have exactly one of id and idFile");
            None
        }
    };
    let params = at.list("params", &raw.params, 0..=MOST_PARAMS, text::param);
    Some(SdElement { id: id?, params: params? })
}

fn literal_id(raw: &raw::SdElement, at: &At) -> Option<SdId> {
    let id: String = at.optional("id", &raw.id)?;
    let id = at.key("id").note(text::sd_name(id))?;
    if [METADATA_ELEMENT, POSITION_ELEMENT].contains(&id.as_str()) {
        at.key("id")
            .wrong(format!("\"{id}\" is an element that the sidecar adds itself; write another name"));
    }
    Some(SdId::Literal(id))
}

/// Checks that no id comes twice (RFC 5424 section 6.3.2).
fn unique_ids(elements: &[SdElement], at: &At) {
    let mut seen = BTreeSet::new();
    for (index, element) in elements.iter().enumerate() {
        let name = match &element.id {
            SdId::Literal(id) => id.clone(),
            SdId::File(path) => path.to_string(),
        };
        let place = at.key("structuredData").index(index);
        if seen.contains(&name) {
            place.wrong(format!(
                "has the same name as another, \"{name}\"; write one element with all parameters"
            ));
        }
        seen.insert(name);
    }
}

fn delivery(raw: &raw::Delivery, at: &At) -> Delivery {
    let default = defaults::delivery();
    at.later("maxBytesPerSecond", &raw.max_bytes_per_second);
    let margins = Duration::ZERO..=LONGEST_MARGIN;
    let sizes = ROLL_SIZES.0..=ROLL_SIZES.1;
    let timeout = |key: &str, value, default| at.within(key, value, default, TIMEOUTS.0..=TIMEOUTS.1);
    Delivery {
        mode: at.or("mode", &raw.mode, default.mode),
        replay_margin: at.within("replayMargin", &raw.replay_margin, default.replay_margin, margins),
        roll_bytes: at.within("rollBytes", &raw.roll_bytes, default.roll_bytes, sizes),
        roll_age: timeout("rollAge", &raw.roll_age, default.roll_age),
        roll_idle: timeout("rollIdle", &raw.roll_idle, default.roll_idle),
        connect_timeout: timeout("connectTimeout", &raw.connect_timeout, default.connect_timeout),
        handshake_timeout: timeout("handshakeTimeout", &raw.handshake_timeout, default.handshake_timeout),
        write_timeout: timeout("writeTimeout", &raw.write_timeout, default.write_timeout),
        close_timeout: timeout("closeTimeout", &raw.close_timeout, default.close_timeout),
    }
}
