//! Checks what is asked of the receiver's certificate.

use super::at::At;
use super::text;
use crate::raw;
use crate::types::{ClientCertificate, Tls, TlsVersion, Transport};

/// The most certificates that are accepted by fingerprint: old and new of a few receivers.
const MOST_FINGERPRINTS: usize = 16;

/// There exactly if the transport is TLS; then a missing object means the public authorities.
pub(super) fn read(raw: Option<&raw::Tls>, transport: Transport, at: &At) -> Option<Tls> {
    match (transport, raw) {
        (Transport::Tls, Some(raw)) => tls(raw, at),
        (Transport::Tls, None) => tls(&raw::Tls::default(), at),
        (Transport::Tcp, None) => None,
        (Transport::Tcp, Some(_)) => {
            at.wrong("has no meaning with transport TCP; leave it out or write transport TLS");
            None
        }
    }
}

fn tls(raw: &raw::Tls, at: &At) -> Option<Tls> {
    let server_name: Option<String> = at.optional("serverName", &raw.server_name);
    let server_name = server_name.and_then(|name| at.key("serverName").note(text::host(name)));
    let ca_file = at.optional("caFile", &raw.ca_file);
    let client_certificate =
        raw.client_certificate.as_ref().and_then(|raw| client_certificate(raw, &at.key("clientCertificate")));
    let fingerprints = at.list("fingerprints", &raw.fingerprints, 0..=MOST_FINGERPRINTS, At::item);
    let fingerprints = fingerprints?;
    if ca_file.is_some() && !fingerprints.is_empty() {
        at.wrong("has both caFile and fingerprints; leave one of them out, a fingerprint needs no authority");
    }
    let min_version = at.or("minVersion", &raw.min_version, TlsVersion::Tls12);
    Some(Tls { server_name, ca_file, client_certificate, fingerprints, min_version })
}

fn client_certificate(raw: &raw::ClientCertificate, at: &At) -> Option<ClientCertificate> {
    let certificate_file =
        at.required("certificateFile", &raw.certificate_file, "write the path of a PEM file");
    let key_file = at.required("keyFile", &raw.key_file, "write the path of a PEM file");
    Some(ClientCertificate { certificate_file: certificate_file?, key_file: key_file? })
}
