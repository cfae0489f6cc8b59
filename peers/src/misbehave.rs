//! Peers that are no syslog receivers at all: in, a kind of nonsense; out, a port that answers with it.
//!
//! All of it happens below or before TLS; what a receiver does wrong after a good handshake is a fault of
//! the [`crate::collector`].

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::ports;

/// What the peer does with each connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Accepts and never sends or reads anything.
    Silent,
    /// Sends a greeting in plain text, as a mail server would.
    PlainText,
    /// Sends bytes that look like a TLS record and are none.
    Garbage,
    /// FIN at once.
    CloseAtOnce,
    /// RST at once.
    ResetAtOnce,
    /// Waits for the first bytes, leaves the rest unread and closes: RST.
    ResetWithUnread,
    /// Reads the first bytes, sends FIN, and RST a moment later.
    EofThenReset,
    /// Never accepts: its queue is full, connecting takes until the client gives up.
    FullBacklog,
}

/// Linux queues one more connection than it is asked to; a few tries find the queue full.
const MOST_QUEUED: usize = 16;
/// How long between FIN and RST.
const MOMENT: Duration = Duration::from_millis(20);

/// A running peer; dropping it closes everything.
pub struct Misbehaving {
    address: SocketAddr,
    connections: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    held: Arc<Mutex<Vec<TcpStream>>>,
    /// Kept open, and never accepted from, by a full backlog.
    _listener: Option<TcpListener>,
}

impl Misbehaving {
    /// Listens on a port of its own.
    pub fn start(kind: Kind) -> Result<Self> {
        let listener = ports::listener()?;
        let mut peer = Self {
            address: listener.local_addr()?,
            connections: Arc::default(),
            stop: Arc::default(),
            held: Arc::default(),
            _listener: None,
        };
        if kind == Kind::FullBacklog {
            // Listening again changes the length of the queue, see listen(2).
            rustix::net::listen(&listener, 0)?;
            peer.fill_backlog()?;
            peer._listener = Some(listener);
            return Ok(peer);
        }
        let (connections, stop, held) = (peer.connections.clone(), peer.stop.clone(), peer.held.clone());
        thread::spawn(move || {
            for stream in listener.incoming() {
                if stop.load(Relaxed) {
                    return;
                }
                connections.fetch_add(1, Relaxed);
                // The client may be gone already, which is its right.
                let kept = stream.and_then(|stream| misbehave(kind, stream));
                held.lock().unwrap_or_else(PoisonError::into_inner).extend(kept.ok().flatten());
            }
        });
        Ok(peer)
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// How many connections were accepted so far.
    pub fn connections(&self) -> u64 {
        self.connections.load(Relaxed)
    }

    fn fill_backlog(&self) -> Result<()> {
        for _ in 0..MOST_QUEUED {
            match TcpStream::connect_timeout(&self.address, Duration::from_millis(200)) {
                Ok(stream) => self.held.lock().unwrap_or_else(PoisonError::into_inner).push(stream),
                Err(_) => return Ok(()),
            }
        }
        bail!("the queue takes {MOST_QUEUED} connections and more")
    }
}

impl Drop for Misbehaving {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        if self._listener.is_none() {
            // Wakes the thread, which sees that it should stop and closes its listener.
            drop(TcpStream::connect(self.address));
        }
    }
}

/// Returns the socket if it is to stay open.
fn misbehave(kind: Kind, mut stream: TcpStream) -> io::Result<Option<TcpStream>> {
    match kind {
        Kind::Silent | Kind::FullBacklog => return Ok(Some(stream)),
        Kind::PlainText => {
            stream.write_all(b"220 mail.example ESMTP ready\r\n")?;
            return Ok(Some(stream));
        }
        Kind::Garbage => {
            stream.write_all(b"\x16\x03\x03\x00\x04\xff\xff\xff\xff\x00\x00\x00")?;
            return Ok(Some(stream));
        }
        Kind::CloseAtOnce => {}
        Kind::ResetAtOnce => reset(&stream)?,
        Kind::ResetWithUnread => {
            stream.peek(&mut [0])?;
        }
        Kind::EofThenReset => {
            let _first = stream.read(&mut [0; 4096])?;
            stream.shutdown(Shutdown::Write)?;
            thread::sleep(MOMENT);
            reset(&stream)?;
        }
    }
    Ok(None)
}

fn reset(stream: &TcpStream) -> io::Result<()> {
    rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::ErrorKind;

    /// What a client that sends a few bytes reads to the end.
    fn check(kind: Kind, expected: Result<&[u8], ErrorKind>) {
        let peer = Misbehaving::start(kind).unwrap();
        let mut stream = TcpStream::connect(ports::local(peer.port())).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let mut read = vec![0; 1024];
        let result = stream.write_all(b"hello").and_then(|()| stream.read(&mut read));
        let result = result.map(|length| &read[..length]).map_err(|error| error.kind());
        assert_eq!(result, expected, "{kind:?}");
    }

    #[test]
    fn each_kind_looks_as_named() {
        check(Kind::Silent, Err(ErrorKind::WouldBlock));
        check(Kind::PlainText, Ok(b"220 mail.example ESMTP ready\r\n"));
        check(Kind::Garbage, Ok(b"\x16\x03\x03\x00\x04\xff\xff\xff\xff\x00\x00\x00"));
        check(Kind::ResetAtOnce, Err(ErrorKind::ConnectionReset));
        check(Kind::ResetWithUnread, Err(ErrorKind::ConnectionReset));
        check(Kind::EofThenReset, Ok(b""));
    }

    #[test]
    fn a_full_backlog_lets_nobody_in() {
        let peer = Misbehaving::start(Kind::FullBacklog).unwrap();
        let tried = TcpStream::connect_timeout(&ports::local(peer.port()), Duration::from_millis(200));
        assert_eq!(tried.unwrap_err().kind(), ErrorKind::TimedOut);
    }
}
