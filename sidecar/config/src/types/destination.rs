//! A receiver of messages, and how they get there.

use std::time::Duration;

use super::choice::choice;
use crate::units::{AbsolutePath, ByteSize, DestinationName, Fingerprint};

/// A receiver of messages.
#[derive(Debug, Clone, PartialEq)]
pub struct Destination {
    /// Unique in the file; a label of its metrics, and the key of its cursors in the state.
    pub name: DestinationName,
    /// How it is spoken to. Other kinds may come later.
    pub syslog: Syslog,
}

/// A syslog receiver.
#[derive(Debug, Clone, PartialEq)]
pub struct Syslog {
    /// Tried in order, at least one.
    pub endpoints: Vec<Endpoint>,
    /// How bytes get there.
    pub transport: Transport,
    /// How a message looks.
    pub format: Format,
    /// How messages are told apart in the stream.
    pub framing: Framing,
    /// A longer message is cut at the end, and counted. At least 480 (RFC 5424 section 6.1).
    pub max_message: ByteSize,
    /// Elements that every message carries. Their literal ids are unique.
    pub structured_data: Vec<SdElement>,
    /// Whether every message carries an element [`POSITION_ELEMENT`](crate::names::POSITION_ELEMENT) with stream,
    /// generation and position: the key by which a receiver can drop duplicates.
    pub position_element: bool,
    /// There exactly if `transport` is [`Transport::Tls`].
    pub tls: Option<Tls>,
    /// How delivery is made sure, and how long to wait for what.
    pub delivery: Delivery,
}

/// One address of a receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// A DNS name, or an IPv4 or IPv6 address without brackets.
    pub host: String,
    /// The TCP port, at least 1.
    pub port: u16,
}

choice! {
    /// How bytes get to the receiver.
    Transport {
        /// TLS over TCP (RFC 5425).
        Tls = "TLS",
        /// Plain TCP (RFC 6587).
        Tcp = "TCP",
    }
    later ["UDP"]
}

choice! {
    /// How a message looks.
    Format {
        /// RFC 5424.
        Rfc5424 = "RFC5424",
    }
    later ["RFC3164"]
}

choice! {
    /// How messages are told apart in the stream.
    Framing {
        /// The length in front (RFC 5425 section 4.3, RFC 6587 section 3.4.1).
        OctetCounting = "OctetCounting",
        /// A line feed behind (RFC 6587 section 3.4.2).
        LineFeed = "LineFeed",
        /// A NUL byte behind (Graylog).
        Nul = "NUL",
    }
    later []
}

/// A structured-data element (RFC 5424 section 6.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SdElement {
    /// Its SD-ID.
    pub id: SdId,
    /// Its parameters.
    pub params: Vec<Param>,
}

/// The name of a structured-data element.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SdId {
    /// As it is: 1 to 32 printable ASCII characters without `=`, space, `]` and `"`.
    Literal(String),
    /// The content of a file, without white space around it: hosted services use a secret token here.
    File(AbsolutePath),
}

/// A parameter of a structured-data element.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Param {
    /// PARAM-NAME: 1 to 32 printable ASCII characters without `=`, space, `]` and `"`.
    pub name: String,
    /// PARAM-VALUE, not yet escaped.
    pub value: String,
}

/// What is asked of the receiver's certificate, and what is shown of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// The name the certificate must carry; `None` is the endpoint's host.
    pub server_name: Option<String>,
    /// PEM file of the authorities to trust; `None`, with no fingerprints, is the public ones.
    pub ca_file: Option<AbsolutePath>,
    /// For mutual TLS.
    pub client_certificate: Option<ClientCertificate>,
    /// The certificate must be one of these, then neither authority nor name matter (RFC 5425 section 5.2). Empty if
    /// `ca_file` is there.
    pub fingerprints: Vec<Fingerprint>,
    /// The lowest version to accept.
    pub min_version: TlsVersion,
}

/// The certificate by which the sidecar shows who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// PEM file of the certificate and the chain that follows it.
    pub certificate_file: AbsolutePath,
    /// PEM file of the private key.
    pub key_file: AbsolutePath,
}

choice! {
    /// A version of TLS.
    TlsVersion {
        /// TLS 1.2 (RFC 5246).
        Tls12 = "TLS1.2",
        /// TLS 1.3 (RFC 8446).
        Tls13 = "TLS1.3",
    }
    later []
}

/// How delivery is made sure, and how long to wait for what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// What is promised.
    pub mode: Mode,
    /// After an unclean break, lines this much older than the first unconfirmed one are sent again: what a receiver
    /// that was killed may have read and lost. Zero switches it off.
    pub replay_margin: Duration,
    /// A connection is closed for proof after this many bytes. At least 4 KiB.
    pub roll_bytes: ByteSize,
    /// A connection is closed for proof when its first unconfirmed byte is this old. At least 100 ms.
    pub roll_age: Duration,
    /// A connection with unconfirmed bytes is closed for proof when nothing was sent for this long. At least 100 ms.
    pub roll_idle: Duration,
    /// For one address to accept. At least 100 ms.
    pub connect_timeout: Duration,
    /// For the TLS handshake. At least 100 ms.
    pub handshake_timeout: Duration,
    /// For the receiver to take any byte. At least 100 ms.
    pub write_timeout: Duration,
    /// For the receiver to close in answer. At least 100 ms.
    pub close_timeout: Duration,
}

choice! {
    /// What is promised of delivery.
    Mode {
        /// Sent until the receiver has proved that it read it.
        AtLeastOnce = "AtLeastOnce",
    }
    later ["BestEffort"]
}
