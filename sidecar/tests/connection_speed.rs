//! How much CPU time framing, encrypting and writing cost, beside the least they can cost. Prints, and asserts no time.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod connection_support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use capstan_peers::certificates;
use capstan_peers::collector::{Settings, Store, Versions};
use capstan_sidecar::forward::connection::{Closed, Connection, Deadlines, RECORD, Target};
use capstan_sidecar::syslog::frame::{Framing, frame_into};
use connection_support::{LONG, collector, header, plain_target, tls_settings, tls_target};
use rustix::time::{ClockId, clock_gettime};
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};

const LINES: usize = 1_000_000;
const LINE: usize = 200;

/// CPU time of this thread.
fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap())
}

fn report(name: &str, before: Duration) {
    let spent = (cpu() - before).as_secs_f64();
    println!("{name}: {spent:.3} CPU-seconds per million lines, {:.1} M lines per CPU-second", 1.0 / spent);
}

/// Frames `LINES` lines in batches of `batch` bytes.
fn batches(batch: usize) -> impl Iterator<Item = usize> {
    let per_batch = batch / (LINE + 50);
    (0..LINES).step_by(per_batch).map(move |first| per_batch.min(LINES - first))
}

async fn through_a_connection(target: &Target, batch: usize) {
    let (header, line) = (header(), [b'x'; LINE]);
    let mut connection = Connection::open(target, &Deadlines::default()).await.unwrap();
    let mut out = Vec::with_capacity(batch + 1024);
    for lines in batches(batch) {
        for _ in 0..lines {
            frame_into(&mut out, Framing::OctetCounting, header.as_bytes(), &line, 8192);
        }
        // Whole records only; the rest waits for more.
        let whole = out.len() / RECORD * RECORD;
        let mut at = 0;
        while at < whole {
            at += connection.push(&out[at..whole]);
            connection.drive(64 << 10).await.unwrap();
        }
        out.drain(..whole);
    }
    connection.push(&out);
    assert!(matches!(connection.close(LONG).await, Closed::Confirmed));
}

fn bare_tls(target: &Target, batch: usize) {
    let capstan_sidecar::forward::connection::Security::Tls(settings) = &target.security else { panic!() };
    let session = settings.load("localhost").unwrap();
    let tls = ClientConnection::new(session.config, ServerName::try_from("localhost").unwrap()).unwrap();
    let stream = TcpStream::connect(("127.0.0.1", target.port)).unwrap();
    let mut stream = StreamOwned::new(tls, stream);
    let (header, line) = (header(), [b'x'; LINE]);
    let mut out = Vec::with_capacity(batch + 1024);
    for lines in batches(batch) {
        for _ in 0..lines {
            frame_into(&mut out, Framing::OctetCounting, header.as_bytes(), &line, 8192);
        }
        stream.write_all(&out).unwrap();
        out.clear();
    }
    stream.conn.send_close_notify();
    stream.flush().unwrap();
    let _end = stream.read(&mut [0; 100]);
}

#[tokio::test]
async fn a_million_lines_of_200_bytes() {
    let directory = tempfile::tempdir().unwrap();
    let made = certificates::create(directory.path()).unwrap();
    let settings = || Settings { store: Store::Discard, ..Settings::default() };

    let (header, line, mut out) = (header(), [b'x'; LINE], Vec::new());
    let before = cpu();
    for _ in 0..LINES {
        if out.len() > 60_000 {
            out.clear();
        }
        frame_into(&mut out, Framing::OctetCounting, header.as_bytes(), &line, 8192);
    }
    report("frames only", before);

    for versions in [Versions::Only13, Versions::Only12] {
        let receiver = collector(&made, versions, settings());
        let target = tls_target(receiver.port(), tls_settings(&made));
        for batch in [64 << 10, 256 << 10] {
            let before = cpu();
            through_a_connection(&target, batch).await;
            report(&format!("connection, {versions:?}, batches of {} KiB", batch >> 10), before);
            let before = cpu();
            bare_tls(&target, batch);
            report(&format!("bare blocking rustls, {versions:?}, {} KiB", batch >> 10), before);
        }
        assert!(receiver.message_count() >= 4 * LINES as u64);
    }

    let receiver = capstan_peers::collector::Collector::start(settings()).unwrap();
    let before = cpu();
    through_a_connection(&plain_target(receiver.port()), 64 << 10).await;
    report("connection, plain TCP", before);
    assert_eq!(receiver.message_count(), LINES as u64);
}
