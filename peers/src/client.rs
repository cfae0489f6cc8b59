//! A plain sender to try receivers with: in, bytes; out, how the receiver ended the connection.
//!
//! It frames nothing and retries nothing. It reads while it closes, so that unread session tickets never
//! turn its close into a reset.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use crate::certificates::Identity;
use crate::ports;

/// How long a read waits at most.
const READ_LIMIT: Duration = Duration::from_secs(2);

/// How the receiver ended a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Its close_notify came.
    pub close_notify: bool,
    /// What came last.
    pub end: End,
}

/// The end of what can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// FIN.
    Eof,
    /// RST.
    Reset,
    /// Nothing more within the limit.
    Silence,
}

/// An open connection.
pub struct Client {
    stream: TcpStream,
    tls: Option<ClientConnection>,
}

impl Client {
    /// Connects to 127.0.0.1 without TLS.
    pub fn connect(port: u16) -> Result<Self> {
        let stream = TcpStream::connect(ports::local(port)).context("cannot connect")?;
        stream.set_read_timeout(Some(READ_LIMIT))?;
        Ok(Self { stream, tls: None })
    }

    /// Connects with TLS to `localhost` and finishes the handshake.
    pub fn connect_tls(port: u16, ca: &Path, identity: Option<&Identity>) -> Result<Self> {
        let mut client = Self::connect(port)?;
        let mut tls =
            ClientConnection::new(client_config(ca, identity)?, ServerName::try_from("localhost")?)?;
        tls.complete_io(&mut client.stream).context("the handshake failed")?;
        client.tls = Some(tls);
        Ok(client)
    }

    /// Sends all of it.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(tls) = self.tls.as_mut() else { return self.stream.write_all(bytes) };
        for chunk in bytes.chunks(16 << 10) {
            tls.writer().write_all(chunk)?;
            while tls.wants_write() {
                tls.write_tls(&mut self.stream)?;
            }
        }
        Ok(())
    }

    /// close_notify, FIN, and then reads to the end.
    pub fn close(mut self) -> io::Result<Seen> {
        if let Some(tls) = self.tls.as_mut() {
            tls.send_close_notify();
            while tls.wants_write() {
                tls.write_tls(&mut self.stream)?;
            }
        }
        self.stream.shutdown(Shutdown::Write)?;
        self.read_to_end()
    }

    /// Reads until the receiver ends the connection.
    pub fn read_to_end(mut self) -> io::Result<Seen> {
        let mut close_notify = false;
        loop {
            let end = match self.read_some() {
                Ok(0) => End::Eof,
                Ok(_) => {
                    close_notify |= self.peer_has_closed()?;
                    continue;
                }
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock | ErrorKind::TimedOut => End::Silence,
                    ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => End::Reset,
                    _ => return Err(error),
                },
            };
            return Ok(Seen { close_notify, end });
        }
    }

    fn read_some(&mut self) -> io::Result<usize> {
        match self.tls.as_mut() {
            // After close_notify rustls takes nothing more, but FIN or RST is still to come.
            Some(tls) if tls.wants_read() => tls.read_tls(&mut self.stream),
            _ => self.stream.read(&mut [0; 4096]),
        }
    }

    fn peer_has_closed(&mut self) -> io::Result<bool> {
        let Some(tls) = self.tls.as_mut() else { return Ok(false) };
        Ok(tls.process_new_packets().map_err(io::Error::other)?.peer_has_closed())
    }
}

/// TLS 1.2 and 1.3 with ring, trusting one CA.
pub fn client_config(ca: &Path, identity: Option<&Identity>) -> Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca)?)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    Ok(Arc::new(match identity {
        None => builder.with_no_client_auth(),
        Some(identity) => builder.with_client_auth_cert(identity.chain()?, identity.private_key()?)?,
    }))
}
