//! One connection to a receiver, over TLS or plain TCP.
//!
//! In: frames, as bytes. Out: that they were written, that the connection broke and how, and in the end how well it is
//! proved that the receiver took them ([`Connection::close`]).
//!
//! What always holds:
//! - Memory is bounded: at most [`BACKLOG_LIMIT`] bytes wait in here, whatever the receiver does.
//! - Whatever arrives is read: session tickets left unread would turn our close into a reset, which destroys what the
//!   receiver has not read yet. Data from the receiver is thrown away.
//! - What ends the stream is seen as soon as somebody waits in [`Connection::drive`] or [`Connection::watch`].
//! - Every method that waits may be cancelled: progress lives in the connection.
//!
//! rustls is driven by hand and not through an adapter, as the proof needs to know what came before our own
//! `close_notify`, and the state of the socket underneath.

mod channel;

mod open;

mod proof;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use rustls::AlertDescription;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use crate::forward::tls::explain;
use crate::sys;
use channel::{Channel, Heard, Waiting};

pub use open::{Attempt, AttemptError, ConnectError, Deadlines, Security, Target};
pub use proof::{Closed, Unproven};

/// How much waits at most to be written, in bytes: enough to keep the socket busy, little beside the memory allowed.
pub const BACKLOG_LIMIT: usize = 256 << 10;

/// A chunk of this size becomes whole TLS records (RFC 8446 section 5.1); pushing multiples of it is cheapest.
pub const RECORD: usize = 16 << 10;

/// An open connection.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    channel: Channel,
    peer: SocketAddr,
    /// How long nothing may move while something waits to be written.
    write_deadline: Duration,
    /// When something last moved, or began to wait.
    last_progress: Instant,
    /// Whether our `close_notify` is behind everything that was pushed.
    ending: bool,
    /// Whether our FIN is on its way.
    ended: bool,
    /// Whether the receiver's `close_notify` came in answer.
    heard_close_notify: bool,
}

/// How a connection ended that we did not close.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// `close_notify` came: the receiver shuts down, and may lose what it has not read.
    #[error("the receiver ended the TLS session")]
    CloseNotify,
    /// FIN came.
    #[error("the receiver closed the connection")]
    Fin,
    /// RST came.
    #[error("the receiver reset the connection")]
    Reset,
    /// A TLS alert came.
    #[error("{}", explain::alert(*.0))]
    Alert(AlertDescription),
    /// What came was no proper TLS.
    #[error("the receiver broke the TLS protocol: {0}")]
    Tls(rustls::Error),
    /// The receiver took nothing for as long as it may.
    #[error("the receiver took nothing for {} s, while {backlog} bytes waited", after.as_secs_f32())]
    Stalled {
        /// The write deadline.
        after: Duration,
        /// What waited, in bytes.
        backlog: usize,
    },
    /// Acknowledgements or answers to keepalives stayed away.
    #[error("the receiver's machine no longer answers")]
    Silent,
    /// Anything else that the kernel said.
    #[error("the connection failed: {0}")]
    Io(io::Error),
}

impl Broken {
    /// A short name for metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::CloseNotify => "close_notify",
            Self::Fin => "fin",
            Self::Reset => "reset",
            Self::Alert(_) => "alert",
            Self::Tls(_) => "tls",
            Self::Stalled { .. } => "stalled",
            Self::Silent => "silent",
            Self::Io(_) => "io",
        }
    }
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            // The first who asks after a reset hears of it, later ones that there is no connection.
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::NotConnected => {
                Self::Reset
            }
            io::ErrorKind::TimedOut | io::ErrorKind::HostUnreachable => Self::Silent,
            _ => Self::Io(error),
        }
    }
}

impl Connection {
    fn new(stream: TcpStream, channel: Channel, peer: SocketAddr, write_deadline: Duration) -> Self {
        Self {
            stream,
            channel,
            peer,
            write_deadline,
            last_progress: Instant::now(),
            ending: false,
            ended: false,
            heard_close_notify: false,
        }
    }

    /// The receiver's address.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// The TLS version and cipher suite, for status; `None` on plain TCP.
    pub fn protocol(&self) -> Option<String> {
        self.channel.protocol()
    }

    /// Takes as much as there is room for, encrypts it at once, and returns how many bytes that was.
    ///
    /// Nothing is written to the socket yet. Each call makes TLS records of its own, so give it much at a time.
    pub fn push(&mut self, plain: &[u8]) -> usize {
        if self.channel.backlog() == 0 {
            self.last_progress = Instant::now();
        }
        self.channel.push(plain)
    }

    /// The bytes that wait to be written to the socket, to within a few for each TLS record.
    pub fn backlog(&self) -> usize {
        self.channel.backlog()
    }

    /// What was written to the socket and is not acknowledged by the receiver's kernel, in bytes (tcp(7), SIOCOUTQ).
    ///
    /// # Errors
    /// None that is to be expected on a socket.
    pub fn unacked(&self) -> io::Result<u32> {
        Ok(sys::unacknowledged_bytes(&self.stream)?)
    }

    /// Writes everything, reading what arrives. Same as [`Connection::drive`] down to 0.
    ///
    /// # Errors
    /// See [`Connection::drive`].
    pub async fn flush(&mut self) -> Result<(), Broken> {
        self.drive(0).await
    }

    /// Writes until no more than `at_most` bytes wait, reading what arrives.
    ///
    /// # Errors
    /// [`Broken`] when the receiver ended the stream, or took nothing for the write deadline, or anything failed. The
    /// connection is of no more use then.
    pub async fn drive(&mut self, at_most: usize) -> Result<(), Broken> {
        // Lets the runtime look at the sockets: with a fast receiver nothing below would ever wait.
        tokio::task::yield_now().await;
        loop {
            self.receive()?;
            self.send()?;
            if self.channel.backlog() <= at_most {
                return Ok(());
            }
            let stalled_at = self.last_progress + self.write_deadline;
            let moved = timeout_at(stalled_at, async {
                tokio::select! {
                    ready = self.stream.writable() => ready,
                    ready = self.stream.readable() => ready,
                }
            });
            // The time counts on while the receiver talks without taking anything.
            match moved.await {
                Ok(ready) if Instant::now() < stalled_at => ready?,
                _ => {
                    let backlog = self.channel.backlog();
                    return Err(Broken::Stalled { after: self.write_deadline, backlog });
                }
            }
        }
    }

    /// Waits, while there is nothing to send, until the connection breaks.
    pub async fn watch(&mut self) -> Broken {
        loop {
            // Answers that rustls owes (to a key update) go out as well.
            let step = async {
                self.drive(0).await?;
                self.stream.readable().await?;
                Ok::<_, Broken>(())
            };
            if let Err(broken) = step.await {
                return broken;
            }
        }
    }

    /// Reads what has arrived, as far as the runtime knows.
    fn receive(&mut self) -> Result<(), Broken> {
        match self.channel.receive(&mut Waiting(&self.stream))? {
            Heard::Nothing => Ok(()),
            Heard::CloseNotify => Err(Broken::CloseNotify),
            Heard::Fin => Err(Broken::Fin),
        }
    }

    /// Writes what the socket takes.
    fn send(&mut self) -> Result<(), Broken> {
        while self.channel.wants_write() {
            match self.channel.write_to(&mut Waiting(&self.stream)) {
                Ok(_) => self.last_progress = Instant::now(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(self.last_words(error)),
            }
        }
        Ok(())
    }

    /// A failed write says little. What the receiver sent before it closed, an alert perhaps, says more.
    fn last_words(&mut self, error: io::Error) -> Broken {
        match self.channel.receive(&mut channel::Now(&self.stream)) {
            Err(broken @ (Broken::Alert(_) | Broken::Tls(_))) => broken,
            Ok(Heard::CloseNotify) => Broken::CloseNotify,
            _ => error.into(),
        }
    }
}
