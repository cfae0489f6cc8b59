//! How a collector is to behave: well by default, or with one of the faults that receivers have.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion, version};

use crate::certificates::Identity;
use crate::framing::Framing;

/// How to run a collector. The default is plain TCP on a port of its own, everything kept in memory.
#[derive(Clone, Default)]
pub struct Settings {
    /// Port on 127.0.0.1; a free one if `None`.
    pub port: Option<u16>,
    /// TLS, or plain TCP if `None`.
    pub tls: Option<Tls>,
    /// How messages are told apart.
    pub framing: Framing,
    /// `SO_RCVBUF` in bytes, to make the sender feel a slow reader soon.
    pub receive_buffer_bytes: Option<usize>,
    /// What becomes of the messages.
    pub store: Store,
    /// Misbehaviour.
    pub faults: Faults,
}

/// The receiver's side of TLS.
#[derive(Debug, Clone)]
pub struct Tls {
    /// Certificate and key.
    pub identity: Identity,
    /// Clients must show a certificate of this CA (PEM file).
    pub client_ca: Option<PathBuf>,
    /// Protocol versions offered.
    pub versions: Versions,
}

/// TLS protocol versions a receiver offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Versions {
    /// 1.2 and 1.3.
    #[default]
    Both,
    /// 1.2 only.
    Only12,
    /// 1.3 only.
    Only13,
}

/// Called with each message, from the thread of its connection.
pub type OnMessage = Arc<dyn Fn(&[u8]) + Send + Sync>;

/// What becomes of the messages.
#[derive(Clone, Default)]
pub enum Store {
    /// Kept in memory, see [`super::Collector::messages`].
    #[default]
    Memory,
    /// Appended to a file, each followed by LF, by write(2) before anything more is read.
    File(PathBuf),
    /// Counted and forgotten, with large reads.
    Discard,
    /// Handed to a function.
    Call(OnMessage),
}

/// How a receiver misbehaves.
#[derive(Debug, Clone)]
pub struct Faults {
    /// Only the first so many connections have these faults, later ones are served well.
    pub connections: u64,
    /// Accepts, but never answers the TLS ClientHello.
    pub never_handshake: bool,
    /// Ends each connection after so many bytes of messages and frames.
    pub end_after_bytes: Option<(u64, Ending)>,
    /// Ends each connection when nothing came for so long.
    pub end_when_idle: Option<(Duration, Ending)>,
    /// What it does when the client closes.
    pub answer: Answer,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            connections: u64::MAX,
            never_handshake: false,
            end_after_bytes: None,
            end_when_idle: None,
            answer: Answer::Orderly,
        }
    }
}

/// How a receiver ends a connection by itself. What is still unread is lost in each case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// close_notify (TLS), FIN, then reads to the end without storing.
    Orderly,
    /// close_notify (TLS) and close(2) at once: RST, if anything was unread. What rsyslog does at SIGTERM.
    CloseNotifyThenClose,
    /// FIN without close_notify, then reads to the end without storing.
    Fin,
    /// FIN without close_notify, and RST a moment later.
    FinThenReset,
    /// RST.
    Reset,
}

/// What a receiver does when the client has closed (close_notify, or FIN without TLS).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Answer {
    /// close_notify (TLS), then FIN: as it should be.
    #[default]
    Orderly,
    /// FIN without close_notify, as rsyslog's gtls driver does.
    Fin,
    /// close_notify, but no FIN ever.
    CloseNotifyOnly,
    /// Nothing; the connection stays open.
    Never,
    /// RST.
    Reset,
}

/// The rustls configuration for `tls`.
pub(super) fn server_config(tls: &Tls) -> Result<Arc<ServerConfig>> {
    let versions: &[&SupportedProtocolVersion] = match tls.versions {
        Versions::Both => &[&version::TLS13, &version::TLS12],
        Versions::Only12 => &[&version::TLS12],
        Versions::Only13 => &[&version::TLS13],
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(versions)?;
    let builder = match &tls.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            let ca = CertificateDer::from_pem_file(path);
            roots.add(ca.with_context(|| format!("cannot read {}", path.display()))?)?;
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build()?)
        }
    };
    let config = builder.with_single_cert(tls.identity.chain()?, tls.identity.private_key()?)?;
    Ok(Arc::new(config))
}
