//! The way to an open connection: look up the name, connect, handshake.
//!
//! In: a [`Target`], and how long each step may take. Out: a [`Connection`], or what happened at each address.
//!
//! What always holds: the name is looked up and every file read for each connection anew; addresses are tried in the
//! resolver's order, each through the whole handshake; every step has a deadline.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use rustix::net::sockopt;
use rustls::ClientConnection;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use super::Connection;
use super::channel::{Channel, Waiting};
use crate::forward::tls::explain::{Failed, TlsError};
use crate::forward::tls::{Session, TlsSettings, TlsSettingsError};

/// Where to connect to, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// A host name or an IP address.
    pub host: String,
    /// The port.
    pub port: u16,
    /// TLS or not.
    pub security: Security,
}

/// What lies between the frames and the socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Security {
    /// Syslog over TCP (RFC 6587).
    Plain,
    /// Syslog over TLS (RFC 5425).
    Tls(TlsSettings),
}

/// How long things may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlines {
    /// Looking up the name, and then connecting to each address.
    pub connect: Duration,
    /// The handshake, at each address.
    pub handshake: Duration,
    /// No progress while there is something to write, and no acknowledgement of what was written.
    pub write: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            handshake: Duration::from_secs(10),
            write: Duration::from_secs(60),
        }
    }
}

/// Why there is no connection. All of it is worth another try: names, files and receivers change.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The TLS settings or a file they name.
    #[error(transparent)]
    Settings(#[from] TlsSettingsError),
    /// The name could not be looked up.
    #[error("cannot look up '{host}': {source}")]
    Resolve {
        /// The name.
        host: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// No address of the name led to a connection.
    #[error("cannot connect to '{host}': {}", list(.attempts))]
    Unreachable {
        /// The name.
        host: String,
        /// What happened, address by address, in order; at least one.
        attempts: Vec<Attempt>,
    },
}

/// What happened at one address.
#[derive(Debug)]
pub struct Attempt {
    /// The address.
    pub address: SocketAddr,
    /// What went wrong.
    pub error: AttemptError,
}

/// What went wrong at one address.
#[derive(Debug, thiserror::Error)]
pub enum AttemptError {
    /// The TCP connection.
    #[error("{0}")]
    Connect(io::Error),
    /// Nobody answered, not even with a refusal.
    #[error("no answer within {} s", .0.as_secs_f32())]
    ConnectDeadline(Duration),
    /// The TLS handshake.
    #[error(transparent)]
    Tls(TlsError),
    /// The receiver accepted the connection, but did not complete the handshake.
    #[error("no TLS handshake within {} s; is this port for TLS?", .0.as_secs_f32())]
    HandshakeDeadline(Duration),
}

impl ConnectError {
    /// A short name for metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Settings(_) => "settings",
            Self::Resolve { .. } => "resolve",
            Self::Unreachable { attempts, .. } => match attempts.last().map(|attempt| &attempt.error) {
                Some(AttemptError::Tls(TlsError::Certificate(_))) => "certificate",
                Some(AttemptError::Tls(_)) => "tls",
                Some(AttemptError::HandshakeDeadline(_)) => "handshake_deadline",
                Some(AttemptError::ConnectDeadline(_)) => "connect_deadline",
                Some(AttemptError::Connect(_)) | None => "connect",
            },
        }
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.address, self.error)
    }
}

fn list(attempts: &[Attempt]) -> String {
    let shown: Vec<_> = attempts.iter().map(ToString::to_string).collect();
    shown.join("; ")
}

/// A name may have many addresses; a few of them that do not answer must not keep us for minutes.
const ADDRESSES_MAX: usize = 8;

/// Keepalive finds a receiver that vanished while there was nothing to send: after 60 + 3 · 15 seconds.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
const KEEPALIVE_COUNT: u32 = 3;

/// How much of what a receiver says first is kept for the message that it is no TLS.
const HEARD_MAX: usize = 64;

impl Connection {
    /// Connects to the first address that completes everything, for TLS through the handshake.
    ///
    /// TLS 1.3 lets a receiver refuse our certificate after that; then the connection breaks with an alert.
    ///
    /// # Errors
    /// [`ConnectError`] tells what happened at each address; all of it is worth another try.
    pub async fn open(target: &Target, deadlines: &Deadlines) -> Result<Self, ConnectError> {
        let session = match &target.security {
            Security::Plain => None,
            Security::Tls(settings) => Some(settings.load(&target.host)?),
        };
        let mut attempts = Vec::new();
        for address in resolve(target, deadlines.connect).await? {
            match attempt(address, session.as_ref(), deadlines).await {
                Ok((stream, channel)) => return Ok(Self::new(stream, channel, address, deadlines.write)),
                Err(error) => attempts.push(Attempt { address, error }),
            }
        }
        Err(ConnectError::Unreachable { host: target.host.clone(), attempts })
    }
}

async fn resolve(target: &Target, deadline: Duration) -> Result<Vec<SocketAddr>, ConnectError> {
    let error = |source| ConnectError::Resolve { host: target.host.clone(), source };
    let host = target.host.trim_start_matches('[').trim_end_matches(']');
    let found = timeout(deadline, lookup_host((host, target.port))).await;
    let addresses: Vec<_> = found
        .map_err(|_| error(io::Error::new(io::ErrorKind::TimedOut, "the resolver does not answer")))?
        .map_err(error)?
        .take(ADDRESSES_MAX)
        .collect();
    if addresses.is_empty() {
        return Err(error(io::Error::new(io::ErrorKind::NotFound, "the name has no address")));
    }
    Ok(addresses)
}

async fn attempt(
    address: SocketAddr,
    session: Option<&Session>,
    deadlines: &Deadlines,
) -> Result<(TcpStream, Channel), AttemptError> {
    let stream = timeout(deadlines.connect, TcpStream::connect(address))
        .await
        .map_err(|_| AttemptError::ConnectDeadline(deadlines.connect))?
        .map_err(AttemptError::Connect)?;
    set_options(&stream, deadlines.write).map_err(AttemptError::Connect)?;
    let Some(session) = session else { return Ok((stream, Channel::plain())) };
    let tls = timeout(deadlines.handshake, handshake(&stream, session))
        .await
        .map_err(|_| AttemptError::HandshakeDeadline(deadlines.handshake))?
        .map_err(AttemptError::Tls)?;
    Ok((stream, Channel::tls(tls)))
}

/// tcp(7). Frames are collected by us, so Nagle's algorithm could only add delay.
fn set_options(stream: &TcpStream, write_deadline: Duration) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let millis = u32::try_from(write_deadline.as_millis()).unwrap_or(u32::MAX);
    sockopt::set_tcp_user_timeout(stream, millis)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, KEEPALIVE_IDLE)?;
    sockopt::set_tcp_keepintvl(stream, KEEPALIVE_INTERVAL)?;
    sockopt::set_tcp_keepcnt(stream, KEEPALIVE_COUNT)?;
    Ok(())
}

async fn handshake(stream: &TcpStream, session: &Session) -> Result<ClientConnection, TlsError> {
    let mut tls = ClientConnection::new(session.config.clone(), session.server_name.clone())
        .map_err(|error| TlsError::Other(error.to_string()))?;
    let mut heard = Vec::new();
    loop {
        write_all(stream, &mut tls).await.map_err(lost)?;
        if !tls.is_handshaking() {
            return Ok(tls);
        }
        let mut reader = Listening { stream, heard: &mut heard };
        match tls.read_tls(&mut reader) {
            Ok(0) => return Err(TlsError::Closed),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                stream.readable().await.map_err(lost)?;
                continue;
            }
            Err(error) => return Err(lost(error)),
        }
        if let Err(error) = tls.process_new_packets() {
            // The alert tells the receiver's administrator why; if it does not get through, nothing is worse.
            let _told = tls.write_tls(&mut Waiting(stream));
            let suite = tls.negotiated_cipher_suite().map(|suite| suite.suite());
            let (refusal, allowed) = (session.refusal.get(), session.versions);
            return Err(TlsError::of(Failed { error: &error, refusal, heard: &heard, suite, allowed }));
        }
    }
}

async fn write_all(stream: &TcpStream, tls: &mut ClientConnection) -> io::Result<()> {
    while tls.wants_write() {
        match tls.write_tls(&mut Waiting(stream)) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => stream.writable().await?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn lost(error: io::Error) -> TlsError {
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::NotConnected => {
            TlsError::Closed
        }
        _ => TlsError::Other(error.to_string()),
    }
}

/// Reads, and keeps the beginning.
struct Listening<'a> {
    stream: &'a TcpStream,
    heard: &'a mut Vec<u8>,
}

impl io::Read for Listening<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.stream.try_read(buffer)?;
        let kept = read.min(HEARD_MAX.saturating_sub(self.heard.len()));
        self.heard.extend_from_slice(&buffer[..kept]);
        Ok(read)
    }
}
