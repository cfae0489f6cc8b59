//! The bound: in, a file and a TLS address; out, the file sent as syslog messages by the simplest loop there
//! is.
//!
//! It reads 64 KiB, splits at LF, puts an octet count and a constant header of realistic length in front,
//! encrypts (rustls, ring, TLS 1.3, AES-256-GCM) and sends, blocking. No cursor, no clock, no confirmation:
//! what a sender costs at least. It does close for real, so that all of it arrives.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use capstan_peers::ports;
use memchr::memchr_iter;
use rustls::crypto::ring::cipher_suite::TLS13_AES_256_GCM_SHA384;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, version};

/// As long as the header that the sidecar writes for a log of a pod with a usual name.
pub const HEADER: &str = "<134>1 2026-01-01T00:00:00.000000Z web-5d9c7b8f6d-x2x7q web - access - ";

const READ_BYTES: usize = 64 << 10;
/// Longest plaintext of one TLS record, see RFC 8446 §5.1.
const RECORD_BYTES: usize = 16 << 10;

/// Sends the whole file to 127.0.0.1 and returns when the receiver has closed.
pub fn send(file: &Path, port: u16, ca: &Path) -> Result<()> {
    let mut file = File::open(file).with_context(|| format!("cannot open {}", file.display()))?;
    let mut sender = Sender::connect(port, ca)?;
    let mut chunk = vec![0; READ_BYTES];
    let mut kept = 0;
    let mut out = Vec::with_capacity(4 * READ_BYTES);
    loop {
        let length = file.read(&mut chunk[kept..])?;
        if length == 0 {
            break;
        }
        let filled = kept + length;
        let used = frame_lines(&chunk[..filled], &mut out);
        chunk.copy_within(used..filled, 0);
        kept = filled - used;
        sender.send(&out)?;
        out.clear();
    }
    sender.close()
}

/// Appends a frame for each whole line and returns how many bytes they took.
fn frame_lines(chunk: &[u8], out: &mut Vec<u8>) -> usize {
    let mut start = 0;
    for end in memchr_iter(b'\n', chunk) {
        let line = &chunk[start..end];
        push_number(out, HEADER.len() + line.len());
        out.extend_from_slice(HEADER.as_bytes());
        out.extend_from_slice(line);
        start = end + 1;
    }
    start
}

fn push_number(out: &mut Vec<u8>, mut number: usize) {
    let mut digits = [b' '; 20];
    let mut first = digits.len() - 1;
    while number > 0 {
        first -= 1;
        digits[first] = b"0123456789"[number % 10];
        number /= 10;
    }
    out.extend_from_slice(&digits[first..]);
}

struct Sender {
    stream: TcpStream,
    tls: ClientConnection,
}

impl Sender {
    fn connect(port: u16, ca: &Path) -> Result<Self> {
        let mut stream = TcpStream::connect(ports::local(port))?;
        stream.set_nodelay(true)?;
        let mut tls = ClientConnection::new(client_config(ca)?, ServerName::try_from("localhost")?)?;
        tls.set_buffer_limit(None);
        tls.complete_io(&mut stream).context("the handshake failed")?;
        Ok(Self { stream, tls })
    }

    fn send(&mut self, bytes: &[u8]) -> Result<()> {
        for record in bytes.chunks(RECORD_BYTES) {
            self.tls.writer().write_all(record)?;
        }
        self.flush()
    }

    fn flush(&mut self) -> Result<()> {
        while self.tls.wants_write() {
            self.tls.write_tls(&mut self.stream)?;
        }
        Ok(())
    }

    /// Session tickets that nobody read would turn the close into a reset, so it reads to the end.
    fn close(mut self) -> Result<()> {
        self.tls.send_close_notify();
        self.flush()?;
        self.stream.shutdown(Shutdown::Write)?;
        self.stream.read_to_end(&mut Vec::new())?;
        Ok(())
    }
}

fn client_config(ca: &Path) -> Result<Arc<ClientConfig>> {
    let mut provider = rustls::crypto::ring::default_provider();
    provider.cipher_suites = vec![TLS13_AES_256_GCM_SHA384];
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca)?)?;
    let config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;
    use capstan_peers::certificates;
    use capstan_peers::collector::{Collector, Settings, Tls, Versions};

    #[test]
    fn every_line_arrives_in_one_message() {
        let directory = tempfile::tempdir().unwrap();
        let made = certificates::create(directory.path()).unwrap();
        let file = directory.path().join("app.log");
        let lines: Vec<String> =
            (0..5_000).map(|number| format!("{number} {}", "x".repeat(number % 300))).collect();
        std::fs::write(&file, lines.join("\n") + "\n").unwrap();
        let tls = Tls { identity: made.server, client_ca: None, versions: Versions::Only13 };
        let collector = Collector::start(Settings { tls: Some(tls), ..Settings::default() }).unwrap();
        send(&file, collector.port(), &made.ca).unwrap();
        let messages = collector.messages();
        let received = messages.iter().map(|message| message.bytes.strip_prefix(HEADER.as_bytes()).unwrap());
        assert!(received.eq(lines.iter().map(String::as_bytes)));
    }
}
