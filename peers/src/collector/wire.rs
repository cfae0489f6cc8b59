//! The receiver's end of one connection: in, a socket; out, plaintext and how the peer closed.
//!
//! Reads wait at most [`READ_WAIT`], so that the owner can look at its knobs in between.

use std::io::{self, BufRead, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::{ProtocolVersion, ServerConfig, ServerConnection};

use super::settings::Ending;

/// Longest time a read waits.
const READ_WAIT: Duration = Duration::from_millis(20);
/// How long an ended connection is read on, waiting for the peer's FIN.
const LINGER: Duration = Duration::from_secs(10);
/// Large, so that a fast sender is not slowed by system calls here.
const BUFFER_BYTES: usize = 256 << 10;

/// What a read brought.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Got {
    /// So many bytes came from the socket; plaintext, if any, was handed out.
    Bytes(usize),
    /// Nothing came within the wait.
    Nothing,
    /// The peer closed: close_notify, or FIN without TLS.
    Closed,
    /// FIN without close_notify.
    Truncated,
}

pub(super) struct Wire {
    stream: TcpStream,
    tls: Option<Box<ServerConnection>>,
    buffer: Vec<u8>,
}

impl Wire {
    pub(super) fn new(stream: TcpStream, config: Option<&Arc<ServerConfig>>) -> io::Result<Self> {
        stream.set_read_timeout(Some(READ_WAIT))?;
        stream.set_write_timeout(Some(LINGER))?;
        stream.set_nodelay(true)?;
        let tls = match config {
            None => None,
            Some(config) => Some(ServerConnection::new(config.clone()).map_err(io::Error::other)?),
        };
        Ok(Self { stream, tls: tls.map(Box::new), buffer: vec![0; BUFFER_BYTES] })
    }

    /// Reads at most `limit` bytes from the socket and hands out the plaintext.
    pub(super) fn read(&mut self, limit: usize, plaintext: &mut dyn FnMut(&[u8])) -> io::Result<Got> {
        let limit = limit.clamp(1, self.buffer.len());
        let length = match self.stream.read(&mut self.buffer[..limit]) {
            Ok(length) => length,
            Err(error) if is_timeout(&error) => return Ok(Got::Nothing),
            Err(error) => return Err(error),
        };
        let Some(tls) = self.tls.as_mut() else {
            plaintext(&self.buffer[..length]);
            return Ok(if length == 0 { Got::Closed } else { Got::Bytes(length) });
        };
        if length == 0 {
            return Ok(Got::Truncated);
        }
        let closed = decrypt(tls, &self.buffer[..length], plaintext);
        // Handshake messages, session tickets, or the alert that says what was wrong.
        while tls.wants_write() {
            tls.write_tls(&mut self.stream)?;
        }
        Ok(if closed? { Got::Closed } else { Got::Bytes(length) })
    }

    /// Answers the client's close in full: close_notify and FIN.
    pub(super) fn close(&mut self) -> io::Result<()> {
        self.send_close_notify()?;
        self.stream.shutdown(Shutdown::Write)
    }

    pub(super) fn shutdown(&mut self) -> io::Result<()> {
        self.stream.shutdown(Shutdown::Write)
    }

    pub(super) fn send_close_notify(&mut self) -> io::Result<()> {
        let Some(tls) = self.tls.as_mut() else { return Ok(()) };
        tls.send_close_notify();
        while tls.wants_write() {
            tls.write_tls(&mut self.stream)?;
        }
        self.stream.flush()
    }

    /// Ends the connection without being asked to.
    pub(super) fn end(mut self, ending: Ending) -> io::Result<()> {
        match ending {
            Ending::Orderly => {
                self.close()?;
                self.read_to_end()
            }
            Ending::CloseNotifyThenClose => self.send_close_notify(),
            Ending::Fin => {
                self.shutdown()?;
                self.read_to_end()
            }
            Ending::FinThenReset => {
                self.shutdown()?;
                std::thread::sleep(READ_WAIT);
                self.reset()
            }
            Ending::Reset => self.reset(),
        }
    }

    /// RST instead of FIN, see SO_LINGER in socket(7).
    pub(super) fn reset(self) -> io::Result<()> {
        rustix::net::sockopt::set_socket_linger(&self.stream, Some(Duration::ZERO))?;
        Ok(())
    }

    /// Reads without looking until the peer's FIN, an error or a time limit.
    pub(super) fn read_to_end(&mut self) -> io::Result<()> {
        let start = Instant::now();
        while start.elapsed() < LINGER {
            match self.stream.read(&mut self.buffer) {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(error) if is_timeout(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The TLS version once the handshake is done.
    pub(super) fn version(&self) -> Option<ProtocolVersion> {
        let tls = self.tls.as_ref()?;
        if tls.is_handshaking() { None } else { tls.protocol_version() }
    }

    /// The server name the client asked for.
    pub(super) fn server_name(&self) -> Option<String> {
        self.tls.as_ref()?.server_name().map(str::to_owned)
    }

    /// Whether the client showed a certificate (that was accepted).
    pub(super) fn has_client_certificate(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.peer_certificates().is_some())
    }
}

/// Whether the peer's close_notify was among the records.
fn decrypt(
    tls: &mut ServerConnection,
    mut records: &[u8],
    plaintext: &mut dyn FnMut(&[u8]),
) -> io::Result<bool> {
    while !records.is_empty() {
        tls.read_tls(&mut records)?;
        let state = tls.process_new_packets().map_err(io::Error::other)?;
        loop {
            let mut reader = tls.reader();
            let length = match reader.fill_buf() {
                Ok(chunk) => {
                    plaintext(chunk);
                    chunk.len()
                }
                // rustls says so when there is nothing for now.
                Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
                Err(error) => return Err(error),
            };
            if length == 0 {
                break;
            }
            reader.consume(length);
        }
        if state.peer_has_closed() {
            return Ok(true);
        }
    }
    Ok(false)
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}
