//! What happens to bytes between a frame and the socket: encryption, or for plain TCP nothing.
//!
//! In: frames, and whatever a reader gives. Out: bytes for a writer, and what was heard. No waiting happens in here.

use std::io::{self, Read, Write};

use rustix::net::RecvFlags;
use rustls::ClientConnection;
use tokio::net::TcpStream;

use super::{BACKLOG_LIMIT, Broken};

/// TLS or plain TCP.
#[derive(Debug)]
pub(super) enum Channel {
    Tls(Box<Tls>),
    Plain(Plain),
}

/// What came from the receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// Nothing, or nothing that matters.
    Nothing,
    /// `close_notify`: it will send no more. FIN may follow, or have followed.
    CloseNotify,
    /// The end of the stream.
    Fin,
}

/// A TLS session, and about how many bytes of records it holds.
#[derive(Debug)]
pub(super) struct Tls {
    session: ClientConnection,
    backlog: usize,
}

/// Bytes that wait for a socket.
#[derive(Debug, Default)]
pub(super) struct Plain {
    bytes: Vec<u8>,
    /// How many of them are written.
    written: usize,
}

/// What a record adds to 16 KiB of data in TLS 1.3 (RFC 8446 section 5.2); a few bytes more in TLS 1.2.
const RECORD_OVERHEAD: usize = 22;

/// Reads before somebody else gets a turn; a receiver that talks without end must not hold up the writing.
const READS_AT_ONCE: usize = 32;

impl Channel {
    pub(super) fn tls(mut session: ClientConnection) -> Self {
        session.set_buffer_limit(Some(BACKLOG_LIMIT));
        Self::Tls(Box::new(Tls { session, backlog: 0 }))
    }

    pub(super) fn plain() -> Self {
        Self::Plain(Plain::default())
    }

    pub(super) fn protocol(&self) -> Option<String> {
        let Self::Tls(tls) = self else { return None };
        let version = tls.session.protocol_version()?;
        let suite = tls.session.negotiated_cipher_suite()?.suite();
        Some(format!("{version:?} {suite:?}"))
    }

    pub(super) fn push(&mut self, plain: &[u8]) -> usize {
        match self {
            Self::Tls(tls) => {
                // The only error is a session that has broken before, which reading will report.
                let taken = tls.session.writer().write(plain).unwrap_or(0);
                tls.backlog += taken + taken.div_ceil(super::RECORD) * RECORD_OVERHEAD;
                taken
            }
            Self::Plain(queue) => queue.push(plain),
        }
    }

    pub(super) fn wants_write(&self) -> bool {
        match self {
            Self::Tls(tls) => tls.session.wants_write(),
            Self::Plain(queue) => queue.len() > 0,
        }
    }

    /// Exact where it matters: 0 means that nothing waits.
    pub(super) fn backlog(&self) -> usize {
        match self {
            Self::Tls(tls) if tls.session.wants_write() => tls.backlog.max(1),
            Self::Tls(_) => 0,
            Self::Plain(queue) => queue.len(),
        }
    }

    /// Writes once; what waits in many records goes out in one call.
    pub(super) fn write_to(&mut self, writer: &mut dyn Write) -> io::Result<usize> {
        match self {
            Self::Tls(tls) => {
                let written = tls.session.write_tls(writer)?;
                tls.backlog = if tls.session.wants_write() { tls.backlog.saturating_sub(written) } else { 0 };
                Ok(written)
            }
            Self::Plain(queue) => queue.write_to(writer),
        }
    }

    /// Reads what there is, and throws data away.
    pub(super) fn receive(&mut self, reader: &mut dyn Read) -> Result<Heard, Broken> {
        match self {
            Self::Tls(tls) => tls.receive(reader),
            Self::Plain(_) => discard(reader),
        }
    }

    /// Puts `close_notify` behind everything that waits. Plain TCP has none.
    pub(super) fn say_close_notify(&mut self) {
        if let Self::Tls(tls) = self {
            tls.session.send_close_notify();
        }
    }
}

impl Tls {
    fn receive(&mut self, reader: &mut dyn Read) -> Result<Heard, Broken> {
        for _ in 0..READS_AT_ONCE {
            match self.session.read_tls(reader) {
                Ok(0) => return Ok(Heard::Fin),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            }
            let state = self.session.process_new_packets().map_err(|error| match error {
                rustls::Error::AlertReceived(description) => Broken::Alert(description),
                other => Broken::Tls(other),
            })?;
            self.discard(state.plaintext_bytes_to_read());
            if state.peer_has_closed() {
                return Ok(Heard::CloseNotify);
            }
        }
        Ok(Heard::Nothing)
    }

    /// Receivers of syslog have nothing to say; if one does, its data must not fill rustls's buffer.
    fn discard(&mut self, mut bytes: usize) {
        let mut sink = [0; 4096];
        while bytes > 0 {
            match self.session.reader().read(&mut sink) {
                Ok(read) if read > 0 => bytes = bytes.saturating_sub(read),
                _ => break,
            }
        }
    }
}

/// Reads and forgets, as is right for plain TCP and for whatever follows a `close_notify`.
pub(super) fn discard(reader: &mut dyn Read) -> Result<Heard, Broken> {
    let mut sink = [0; 4096];
    for _ in 0..READS_AT_ONCE {
        match reader.read(&mut sink) {
            Ok(0) => return Ok(Heard::Fin),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Heard::Nothing)
}

impl Plain {
    fn len(&self) -> usize {
        self.bytes.len() - self.written
    }

    fn push(&mut self, plain: &[u8]) -> usize {
        let taken = plain.len().min(BACKLOG_LIMIT - self.len());
        if self.bytes.len() + taken > BACKLOG_LIMIT {
            self.bytes.drain(..self.written);
            self.written = 0;
        }
        self.bytes.extend_from_slice(&plain[..taken]);
        taken
    }

    fn write_to(&mut self, writer: &mut dyn Write) -> io::Result<usize> {
        let written = writer.write(&self.bytes[self.written..])?;
        self.written += written;
        if self.len() == 0 {
            self.bytes.clear();
            self.written = 0;
        }
        Ok(written)
    }
}

/// A socket as the runtime sees it: what would block is remembered, so that one can wait for it.
pub(super) struct Waiting<'a>(pub &'a TcpStream);

impl Read for Waiting<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buffer)
    }
}

impl Write for Waiting<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn write_vectored(&mut self, chunks: &[io::IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(chunks)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A socket as the kernel sees it at this moment, past what the runtime believes about it.
pub(super) struct Now<'a>(pub &'a TcpStream);

impl Read for Now<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (read, _) = rustix::net::recv(self.0, buffer, RecvFlags::DONTWAIT)?;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes so many bytes, then blocks.
    struct Narrow(usize, Vec<u8>);

    impl Write for Narrow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let taken = bytes.len().min(self.0);
            if taken == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            self.0 -= taken;
            self.1.extend_from_slice(&bytes[..taken]);
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn plain_bytes_keep_their_order_and_their_bound_whatever_the_socket_takes() {
        let mut channel = Channel::plain();
        let sent: Vec<u8> = (0..3 * BACKLOG_LIMIT).map(|i| (i % 251) as u8).collect();
        let mut wire = Narrow(0, Vec::new());
        let (mut pushed, mut turn) = (0, 0);
        while wire.1.len() < sent.len() {
            pushed += channel.push(&sent[pushed..]);
            assert!(channel.backlog() <= BACKLOG_LIMIT);
            assert_eq!(channel.push(b""), 0);
            turn += 1;
            wire.0 = turn * 7919 % 70_000;
            while channel.wants_write() && channel.write_to(&mut wire).is_ok() {}
        }
        assert_eq!(wire.1, sent);
        assert_eq!(channel.backlog(), 0);
        assert!(!channel.wants_write());
    }

    #[test]
    fn a_reader_that_ends_is_told_from_one_that_waits() {
        assert_eq!(discard(&mut &b"some data"[..]).unwrap(), Heard::Fin);
        struct Blocks;
        impl Read for Blocks {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::ErrorKind::WouldBlock.into())
            }
        }
        assert_eq!(discard(&mut Blocks).unwrap(), Heard::Nothing);
    }
}
