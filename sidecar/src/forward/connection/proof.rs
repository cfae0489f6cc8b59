//! Closing a connection so that it is known whether the receiver took everything.
//!
//! Syslog has no acknowledgement, and a finished write has only filled a buffer. What proves that the receiver read all
//! we sent is the order of the ends of both directions:
//!
//! 1. Nothing that ends the stream came from the receiver before we end ours. A receiver that shuts down sends its
//!    `close_notify` too, and then loses what it has not read; so it proves nothing by itself.
//! 2. We send `close_notify` and FIN. Nothing comes after them.
//! 3. We read on to the end of the stream, without a reset. A Linux receiver that closes a socket with unread bytes
//!    sends RST, not FIN; so FIN means that nothing was unread when it closed.
//! 4. Everything we sent is acknowledged, and the socket has no error. FIN alone does not suffice: bytes that arrive
//!    at a socket already closed are answered with RST, but after FIN, and a read gives the end of the stream all the
//!    same. Our `close_notify` is such bytes, and its acknowledgement says that the socket was still open when it arrived.
//!
//! From 3 and 4: whatever we sent had arrived before the receiver closed, and nothing of it was unread then.
//!
//! Moreover, a genuine answer comes from a receiver that has our end, so the segment with its FIN acknowledges that. If
//! something before our FIN is still unacknowledged when the stream has ended, then the receiver's FIN was on its way
//! before our end arrived, and proves nothing. What can remain unseen is a receiver that by itself shuts down only its
//! sending side just when our end is on its way, and then reads and throws away, or closes without reading.
//!
//! All this proves reading, not storing: a receiver can still lose its own queue, or be a proxy.

use std::io;
use std::time::Duration;

use rustix::net::Shutdown;
use tokio::time::{sleep, timeout};

use super::channel::{self, Heard, Now, Waiting};
use super::{Broken, Channel, Connection};

/// What closing a connection proved about everything sent on it.
#[derive(Debug)]
pub enum Closed {
    /// The receiver's end of the connection read it.
    Confirmed,
    /// The receiver's kernel has it, but the receiver did not close in answer within the deadline; nothing was reset.
    AckedOnly,
    /// Nothing is proved.
    Unproven(Unproven),
}

/// Why nothing is proved.
#[derive(Debug, thiserror::Error)]
pub enum Unproven {
    /// The connection broke before our end was on its way.
    #[error("the connection broke before it was closed: {0}")]
    Before(Broken),
    /// It broke afterwards: unread bytes were thrown away, or nobody was there any more.
    #[error("the connection broke while it was being closed: {0}")]
    After(Broken),
    /// The receiver ended the connection by itself, at the same time as we did.
    #[error("the receiver closed the connection at the same time, with {unacked} bytes on their way")]
    Crossed {
        /// What it had not acknowledged when the stream ended, in bytes.
        unacked: u32,
    },
    /// The receiver took all day.
    #[error("{backlog} bytes were not written and {unacked} not acknowledged at the deadline")]
    Deadline {
        /// What was not even written, in bytes.
        backlog: usize,
        /// What was not acknowledged, in bytes.
        unacked: u32,
    },
}

/// The kernel counts our FIN as one byte in what is not acknowledged.
const FIN: u32 = 1;

/// Nobody tells when the last acknowledgement comes. Mostly it is there already.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LAST_PAUSE: Duration = Duration::from_millis(50);

impl Connection {
    /// Writes what waits, ends the connection and waits for the receiver's answer.
    ///
    /// `patience` is how long it may do nothing at all. As long as it takes or acknowledges bytes it is waited for:
    /// megabytes may stand in the socket, and to give up on a slow receiver would mean to send them for ever anew.
    pub async fn close(mut self, patience: Duration) -> Closed {
        loop {
            let before = self.outstanding();
            match timeout(patience, self.prove()).await {
                Ok(Ok(())) => return Closed::Confirmed,
                Ok(Err(unproven)) => return Closed::Unproven(unproven),
                Err(_) if self.outstanding() < before => {}
                Err(_) => return self.unanswered(),
            }
        }
    }

    /// Bytes that are not written or not acknowledged.
    fn outstanding(&self) -> u64 {
        // A socket that cannot be asked makes no progress, which ends the wait.
        let unacked = self.unacked().map_or(u64::MAX / 2, u64::from);
        unacked + self.backlog() as u64
    }

    /// May be cancelled and called again: what is done already is not repeated.
    async fn prove(&mut self) -> Result<(), Unproven> {
        if !self.ending {
            self.flush().await.map_err(Unproven::Before)?;
            self.nothing_ended_yet().await.map_err(Unproven::Before)?;
            self.channel.say_close_notify();
            self.ending = true;
        }
        self.end().await.map_err(Unproven::After)?;
        self.read_to_end().await.map_err(Unproven::After)?;
        self.check_order().map_err(Unproven::After)??;
        self.all_acked().await.map_err(Unproven::After)
    }

    /// Asks the kernel and not the runtime, which may not have looked for a while.
    async fn nothing_ended_yet(&mut self) -> Result<(), Broken> {
        loop {
            let mut counted = Counted(Now(&self.stream), 0);
            match self.channel.receive(&mut counted)? {
                Heard::CloseNotify => return Err(Broken::CloseNotify),
                Heard::Fin => return Err(Broken::Fin),
                Heard::Nothing if counted.1 == 0 => return Ok(()),
                // A receiver that talks without end must not hold up the deadline.
                Heard::Nothing => tokio::task::yield_now().await,
            }
        }
    }

    async fn end(&mut self) -> Result<(), Broken> {
        if self.ended {
            return Ok(());
        }
        // Without reading: what is heard from here on is looked at in its place.
        loop {
            self.send()?;
            if !self.channel.wants_write() {
                break;
            }
            self.stream.writable().await?;
        }
        rustix::net::shutdown(&self.stream, Shutdown::Write).map_err(io::Error::from)?;
        self.ended = true;
        Ok(())
    }

    /// Reads to FIN. A `close_notify` may come before it (OpenSSL) or not (GnuTLS in rsyslog).
    async fn read_to_end(&mut self) -> Result<(), Broken> {
        loop {
            let mut reader = Waiting(&self.stream);
            let heard = if self.heard_close_notify {
                channel::discard(&mut reader)?
            } else {
                self.channel.receive(&mut reader)?
            };
            match heard {
                Heard::Fin => return Ok(()),
                Heard::CloseNotify => self.heard_close_notify = true,
                Heard::Nothing => self.stream.readable().await?,
            }
        }
    }

    /// See the module's text: a genuine answer acknowledges what it answers.
    fn check_order(&self) -> Result<Result<(), Unproven>, Broken> {
        let unacked = self.unacked()?;
        // Over TLS the receiver answers to our `close_notify`, over TCP to our FIN.
        let allowed = match self.channel {
            Channel::Tls(_) => FIN,
            Channel::Plain(_) => 0,
        };
        self.no_error()?;
        Ok(if unacked > allowed { Err(Unproven::Crossed { unacked }) } else { Ok(()) })
    }

    async fn all_acked(&self) -> Result<(), Broken> {
        let mut pause = FIRST_PAUSE;
        loop {
            // In this order: once everything is acknowledged, FIN included, no reset can come any more.
            let unacked = self.unacked()?;
            self.no_error()?;
            if unacked == 0 {
                return Ok(());
            }
            sleep(pause).await;
            pause = (pause * 2).min(LAST_PAUSE);
        }
    }

    /// SO_ERROR holds a reset that came after FIN; reading does not tell it.
    fn no_error(&self) -> Result<(), Broken> {
        match self.stream.take_error()? {
            None => Ok(()),
            Some(error) => Err(error.into()),
        }
    }

    /// What is known when the deadline has passed.
    fn unanswered(&mut self) -> Closed {
        // What is unread when the socket is dropped would make the kernel send RST, and the receiver lose data.
        let drained = channel::discard(&mut Now(&self.stream));
        let backlog = self.channel.backlog();
        let unacked = drained.and_then(|_| Ok(self.unacked()?));
        match unacked.and_then(|unacked| self.no_error().map(|()| unacked)) {
            Err(broken) => Closed::Unproven(Unproven::After(broken)),
            Ok(0) if self.ended => Closed::AckedOnly,
            Ok(unacked) => Closed::Unproven(Unproven::Deadline { backlog, unacked }),
        }
    }
}

/// Counts what is read.
struct Counted<R>(R, usize);

impl<R: io::Read> io::Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.0.read(buffer)?;
        self.1 += read;
        Ok(read)
    }
}
