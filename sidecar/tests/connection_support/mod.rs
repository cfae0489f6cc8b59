//! What the tests of connections share: targets for local receivers, and messages to send.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::time::Duration;

use capstan_peers::certificates::{Certificates, Identity};
use capstan_peers::collector::{Collector, Settings, Tls, Versions};
use capstan_sidecar::forward::connection::{Broken, Connection, Deadlines, Security, Target};
use capstan_sidecar::forward::tls::{ClientCertificate, TlsSettings, TlsVersion, Trust};
use capstan_sidecar::syslog::frame::{Framing, frame_into};
use capstan_sidecar::syslog::message::{Header, HeaderFields};

/// The state of our end of the connection to a local port, as proc_net(5) shows it; `None` once there is none.
pub fn tcp_state(port: u16) -> Option<u8> {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    table.lines().skip(1).find_map(|line| {
        let mut fields = line.split_ascii_whitespace().skip(2);
        let remote = fields.next()?;
        let state = u8::from_str_radix(fields.next()?, 16).ok()?;
        remote.ends_with(&format!(":{port:04X}")).then_some(state)
    })
}

/// States of TCP (include/net/tcp_states.h).
pub const ESTABLISHED: u8 = 1;
pub const FIN_WAIT_1: u8 = 4;

/// Long enough for a busy machine; a test that waits this long fails.
pub const LONG: Duration = Duration::from_secs(30);

/// As the default, with little patience for receivers that do nothing.
pub fn impatient() -> Deadlines {
    let short = Duration::from_millis(300);
    Deadlines { connect: short, handshake: short, write: short }
}

/// Trusts the test authority, shows no certificate.
pub fn tls_settings(certificates: &Certificates) -> TlsSettings {
    TlsSettings {
        trust: Trust::CaFile(certificates.ca.clone()),
        client: None,
        server_name: Some("localhost".into()),
        min_version: TlsVersion::V1_2,
    }
}

pub fn with_client(settings: TlsSettings, identity: &Identity) -> TlsSettings {
    let client = ClientCertificate { certificate: identity.certificate.clone(), key: identity.key.clone() };
    TlsSettings { client: Some(client), ..settings }
}

pub fn tls_target(port: u16, settings: TlsSettings) -> Target {
    Target { host: "127.0.0.1".into(), port, security: Security::Tls(settings) }
}

pub fn plain_target(port: u16) -> Target {
    Target { host: "127.0.0.1".into(), port, security: Security::Plain }
}

/// The receiver's side of TLS with the good certificate.
pub fn server_tls(certificates: &Certificates, versions: Versions) -> Tls {
    Tls { identity: certificates.server.clone(), client_ca: None, versions }
}

pub fn collector(certificates: &Certificates, versions: Versions, settings: Settings) -> Collector {
    Collector::start(Settings { tls: Some(server_tls(certificates, versions)), ..settings }).unwrap()
}

pub fn header() -> Header {
    Header::new(&HeaderFields {
        facility: 16,
        severity: 6,
        hostname: "web-1".into(),
        app_name: "production".into(),
        msg_id: "access".into(),
        ..HeaderFields::default()
    })
}

/// Message `number`, without its frame; the body is filled up to `size` bytes.
pub fn message(number: u64, size: usize) -> Vec<u8> {
    let mut body = format!("w00 {number:09} ").into_bytes();
    body.resize(size.max(body.len()), b'x');
    [header().as_bytes(), &body].concat()
}

/// The frames of messages, octet-counted.
pub fn frames(numbers: std::ops::Range<u64>, size: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for number in numbers {
        frame_into(&mut out, Framing::OctetCounting, b"", &message(number, size), usize::MAX);
    }
    out
}

/// Pushes and writes all of it.
pub async fn send(connection: &mut Connection, mut bytes: &[u8]) -> Result<(), Broken> {
    while !bytes.is_empty() {
        let taken = connection.push(bytes);
        bytes = &bytes[taken..];
        connection.flush().await?;
    }
    Ok(())
}
