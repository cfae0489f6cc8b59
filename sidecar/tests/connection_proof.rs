//! What a connection says about a receiver, against receivers that behave well and badly.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod connection_support;

use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use capstan_peers::certificates::{self, Certificates};
use capstan_peers::collector::{Answer, Collector, Ended, Ending, Faults, Settings, Versions};
use capstan_peers::{framing, ports};
use capstan_sidecar::forward::connection::{
    BACKLOG_LIMIT, Broken, Closed, Connection, Deadlines, Target, Unproven,
};
use capstan_sidecar::syslog::frame::{Framing, frame_into};
use connection_support::{
    ESTABLISHED, FIN_WAIT_1, LONG, collector, frames, impatient, message, plain_target, send, tcp_state,
    tls_settings, tls_target,
};
use tempfile::TempDir;
use tokio::time::{Instant, sleep, timeout};

/// A receiver and how to reach it.
struct Receiver {
    collector: Collector,
    target: Target,
    _directory: TempDir,
}

/// `None` stands for plain TCP.
const WIRES: [Option<Versions>; 3] = [None, Some(Versions::Only12), Some(Versions::Only13)];

fn receiver(wire: Option<Versions>, settings: Settings) -> Receiver {
    let directory = tempfile::tempdir().unwrap();
    let made: Certificates = certificates::create(directory.path()).unwrap();
    let (collector, target) = match wire {
        None => {
            let collector = Collector::start(settings).unwrap();
            let target = plain_target(collector.port());
            (collector, target)
        }
        Some(versions) => {
            let collector = collector(&made, versions, settings);
            let target = tls_target(collector.port(), tls_settings(&made));
            (collector, target)
        }
    };
    Receiver { collector, target, _directory: directory }
}

fn faulty(faults: Faults) -> Settings {
    Settings { faults, ..Settings::default() }
}

async fn open(receiver: &Receiver) -> Connection {
    Connection::open(&receiver.target, &Deadlines::default()).await.unwrap()
}

/// Sends `count` messages and closes.
async fn send_and_close(receiver: &Receiver, count: u64, deadline: Duration) -> Closed {
    let mut connection = open(receiver).await;
    send(&mut connection, &frames(0..count, 200)).await.unwrap();
    connection.close(deadline).await
}

fn received(receiver: &Receiver) -> Vec<Vec<u8>> {
    receiver.collector.messages().into_iter().map(|message| message.bytes).collect()
}

#[tokio::test]
async fn a_receiver_that_answers_confirms_and_has_everything() {
    for wire in WIRES {
        for answer in [Answer::Orderly, Answer::Fin] {
            let receiver = receiver(wire, faulty(Faults { answer, ..Faults::default() }));
            let closed = send_and_close(&receiver, 20_000, LONG).await;
            assert!(matches!(closed, Closed::Confirmed), "{wire:?} {answer:?}: {closed:?}");
            // No waiting: a confirmation means that all of it has been read.
            let expected: Vec<_> = (0..20_000).map(|number| message(number, 200)).collect();
            assert!(received(&receiver) == expected, "{wire:?} {answer:?}");
        }
    }
}

#[tokio::test]
async fn a_connection_on_which_nothing_was_sent_can_be_confirmed() {
    for wire in WIRES {
        let receiver = receiver(wire, Settings::default());
        let closed = open(&receiver).await.close(LONG).await;
        assert!(matches!(closed, Closed::Confirmed), "{wire:?}: {closed:?}");
    }
}

#[tokio::test]
async fn we_close_as_rfc_5425_wants_it() {
    let receiver = receiver(Some(Versions::Both), Settings::default());
    send_and_close(&receiver, 1, LONG).await;
    assert_eq!(receiver.collector.reports()[0].ended, Ended::ByClient);
}

#[tokio::test]
async fn a_receiver_that_never_closes_in_answer_has_only_acked() {
    for wire in WIRES {
        for answer in [Answer::Never, Answer::CloseNotifyOnly] {
            let receiver = receiver(wire, faulty(Faults { answer, ..Faults::default() }));
            let closed = send_and_close(&receiver, 100, Duration::from_millis(500)).await;
            assert!(matches!(closed, Closed::AckedOnly), "{wire:?} {answer:?}: {closed:?}");
        }
    }
}

#[tokio::test]
async fn a_reset_in_answer_proves_nothing() {
    for wire in WIRES {
        let receiver = receiver(wire, faulty(Faults { answer: Answer::Reset, ..Faults::default() }));
        let closed = send_and_close(&receiver, 100, LONG).await;
        assert!(matches!(closed, Closed::Unproven(Unproven::After(Broken::Reset))), "{wire:?}: {closed:?}");
    }
}

/// What each way of ending looks like to somebody who waits while idle.
fn expected_end(wire: Option<Versions>, ending: Ending) -> &'static str {
    match ending {
        Ending::Orderly | Ending::CloseNotifyThenClose if wire.is_some() => "close_notify",
        Ending::Orderly | Ending::CloseNotifyThenClose | Ending::Fin | Ending::FinThenReset => "fin",
        Ending::Reset => "reset",
    }
}

const ENDINGS: [Ending; 5] =
    [Ending::Orderly, Ending::CloseNotifyThenClose, Ending::Fin, Ending::FinThenReset, Ending::Reset];

#[tokio::test]
async fn the_end_is_seen_at_once_while_idle() {
    for wire in WIRES {
        for ending in ENDINGS {
            let receiver = receiver(wire, Settings::default());
            let mut connection = open(&receiver).await;
            send(&mut connection, &frames(0..10, 200)).await.unwrap();
            // Session tickets arrive meanwhile, and mean nothing.
            let idle = timeout(Duration::from_millis(50), connection.watch()).await;
            assert!(idle.is_err(), "{wire:?} {ending:?}: {idle:?}");
            receiver.collector.end_connections(ending);
            let broken = timeout(LONG, connection.watch()).await.unwrap();
            assert_eq!(broken.reason(), expected_end(wire, ending), "{wire:?} {ending:?}");
        }
    }
}

#[tokio::test]
async fn the_end_is_seen_by_whoever_only_sends() {
    for wire in WIRES {
        for ending in ENDINGS {
            let end_after_bytes = Some((10_000, ending));
            let receiver = receiver(wire, faulty(Faults { end_after_bytes, ..Faults::default() }));
            let mut connection = open(&receiver).await;
            let sending = async {
                loop {
                    if let Err(broken) = send(&mut connection, &frames(0..100, 200)).await {
                        break broken;
                    }
                }
            };
            let broken = timeout(LONG, sending).await.unwrap();
            // Sending into the closed socket may bring a reset before the end is read.
            let expected = [expected_end(wire, ending), "reset"];
            assert!(expected.contains(&broken.reason()), "{wire:?} {ending:?}: {broken:?}");
        }
    }
}

#[tokio::test]
async fn an_end_that_came_before_ours_proves_nothing() {
    for wire in WIRES {
        for ending in ENDINGS {
            let receiver = receiver(wire, Settings::default());
            let mut connection = open(&receiver).await;
            send(&mut connection, &frames(0..10, 200)).await.unwrap();
            receiver.collector.wait_for_messages(10, LONG).unwrap();
            receiver.collector.end_connections(ending);
            // The runtime gets no chance to look at the socket; the kernel knows.
            let port = receiver.collector.port();
            ports::wait_until(LONG, "the end", || tcp_state(port) != Some(ESTABLISHED)).unwrap();
            let closed = connection.close(LONG).await;
            assert!(
                matches!(closed, Closed::Unproven(Unproven::Before(_))),
                "{wire:?} {ending:?}: {closed:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_receiver_that_closes_with_unread_bytes_while_we_close_proves_nothing() {
    for wire in WIRES {
        for ending in [Ending::CloseNotifyThenClose, Ending::Reset] {
            let settings = Settings { receive_buffer_bytes: Some(4096), ..Settings::default() };
            let receiver = receiver(wire, settings);
            let mut connection = open(&receiver).await;
            receiver.collector.stall(true);
            sleep(Duration::from_millis(50)).await;
            // More than the receiver's window, less than what our kernel takes: our end waits behind it.
            send(&mut connection, &frames(0..800, 200)).await.unwrap();
            let closing = tokio::spawn(connection.close(LONG));
            sleep(Duration::from_millis(50)).await;
            receiver.collector.end_connections(ending);
            let closed = closing.await.unwrap();
            assert!(matches!(closed, Closed::Unproven(_)), "{wire:?} {ending:?}: {closed:?}");
            assert!(receiver.collector.message_count() < 800);
        }
    }
}

/// Completes the handshake, waits until our end is on its way, sends FIN, and reads nothing.
fn half_closing_peer(tls: Option<Arc<rustls::ServerConfig>>) -> (u16, JoinHandle<TcpStream>) {
    let listener = ports::listener().unwrap();
    rustix::net::sockopt::set_socket_recv_buffer_size(&listener, 4096).unwrap();
    let port = listener.local_addr().unwrap().port();
    let peer = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        if let Some(config) = tls {
            let mut session = rustls::ServerConnection::new(config).unwrap();
            while session.is_handshaking() {
                session.complete_io(&mut stream).unwrap();
            }
        }
        ports::wait_until(LONG, "our end", || tcp_state(port) == Some(FIN_WAIT_1)).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        stream
    });
    (port, peer)
}

#[tokio::test]
async fn an_end_that_was_sent_before_ours_arrived_proves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let made = certificates::create(directory.path()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let server = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(made.server.chain().unwrap(), made.server.private_key().unwrap())
        .unwrap();
    for tls in [None, Some(Arc::new(server))] {
        let is_tls = tls.is_some();
        let (port, peer) = half_closing_peer(tls);
        let target = if is_tls { tls_target(port, tls_settings(&made)) } else { plain_target(port) };
        let mut connection = Connection::open(&target, &Deadlines::default()).await.unwrap();
        send(&mut connection, &frames(0..800, 200)).await.unwrap();
        let closed = connection.close(LONG).await;
        assert!(matches!(closed, Closed::Unproven(Unproven::Crossed { .. })), "{is_tls}: {closed:?}");
        drop(peer.join().unwrap());
    }
}

#[tokio::test]
async fn a_stalled_receiver_costs_bounded_memory_and_then_the_connection() {
    for wire in WIRES {
        let settings = Settings { receive_buffer_bytes: Some(4096), ..Settings::default() };
        let receiver = receiver(wire, settings);
        let mut connection = Connection::open(&receiver.target, &impatient()).await.unwrap();
        receiver.collector.stall(true);
        let chunk = frames(0..1000, 200);
        let broken = loop {
            // Cancelling does not start the time over.
            if let Ok(Err(broken)) = timeout(Duration::from_millis(20), connection.flush()).await {
                break broken;
            }
            while connection.push(&chunk) > 0 {}
            assert!(connection.backlog() <= BACKLOG_LIMIT + 32 * 40, "{}", connection.backlog());
        };
        assert!(matches!(broken, Broken::Stalled { .. } | Broken::Silent), "{wire:?}: {broken:?}");
    }
}

#[tokio::test]
async fn what_cannot_be_written_in_time_is_unproven() {
    for wire in WIRES {
        let settings = Settings { receive_buffer_bytes: Some(4096), ..Settings::default() };
        let receiver = receiver(wire, settings);
        let mut connection = open(&receiver).await;
        receiver.collector.stall(true);
        while timeout(Duration::from_millis(200), connection.flush()).await.is_ok() {
            connection.push(&frames(0..1000, 200));
        }
        let closed = connection.close(Duration::from_millis(200)).await;
        let Closed::Unproven(Unproven::Deadline { backlog, unacked }) = closed else {
            panic!("{wire:?}: {closed:?}");
        };
        assert!(backlog > 0 && unacked > 0, "{wire:?}: {backlog} {unacked}");
    }
}

#[tokio::test]
async fn a_receiver_that_reads_slowly_loses_nothing_when_we_close() {
    for wire in WIRES {
        let settings = Settings { receive_buffer_bytes: Some(16 << 10), ..Settings::default() };
        let receiver = receiver(wire, settings);
        receiver.collector.limit_rate(Some(2 << 20));
        let closed = send_and_close(&receiver, 5000, LONG).await;
        assert!(matches!(closed, Closed::Confirmed), "{wire:?}: {closed:?}");
        assert_eq!(receiver.collector.message_count(), 5000, "{wire:?}");
    }
}

#[tokio::test]
async fn a_close_waits_as_long_as_the_receiver_reads_and_no_longer() {
    for wire in WIRES {
        let settings = Settings { receive_buffer_bytes: Some(16 << 10), ..Settings::default() };
        let receiver = receiver(wire, settings);
        // Three seconds for all of it, which is more than our patience.
        receiver.collector.limit_rate(Some(200_000));
        let closed = send_and_close(&receiver, 3000, Duration::from_secs(1)).await;
        assert!(matches!(closed, Closed::Confirmed), "{wire:?}: {closed:?}");
        assert_eq!(receiver.collector.message_count(), 3000, "{wire:?}");
    }
}

#[tokio::test]
async fn a_receiver_still_gets_what_was_written_when_our_patience_was_at_an_end() {
    for wire in WIRES {
        let settings = Settings { receive_buffer_bytes: Some(16 << 10), ..Settings::default() };
        let receiver = receiver(wire, settings);
        let mut connection = open(&receiver).await;
        // Once it has read something, its handshake is over: no ticket will come to a socket that is gone.
        send(&mut connection, &frames(0..1, 200)).await.unwrap();
        receiver.collector.wait_for_messages(1, LONG).unwrap();
        receiver.collector.stall(true);
        send(&mut connection, &frames(1..2000, 200)).await.unwrap();
        let closed = connection.close(Duration::from_millis(50)).await;
        assert!(matches!(closed, Closed::Unproven(_) | Closed::AckedOnly), "{wire:?}: {closed:?}");
        receiver.collector.stall(false);
        receiver.collector.wait_for_messages(2000, LONG).unwrap();
    }
}

#[tokio::test]
async fn driving_may_be_cancelled_at_any_time() {
    for wire in WIRES {
        let settings = Settings { receive_buffer_bytes: Some(16 << 10), ..Settings::default() };
        let receiver = receiver(wire, settings);
        receiver.collector.limit_rate(Some(8 << 20));
        let mut connection = open(&receiver).await;
        let bytes = frames(0..4000, 200);
        let mut at = 0;
        while at < bytes.len() {
            at += connection.push(&bytes[at..(at + 50_000).min(bytes.len())]);
            if let Ok(result) = timeout(Duration::from_micros(500), connection.flush()).await {
                result.unwrap();
            }
            let watched = timeout(Duration::from_micros(100), connection.watch()).await;
            assert!(watched.is_err(), "{wire:?}: {watched:?}");
        }
        let closed = connection.close(LONG).await;
        assert!(matches!(closed, Closed::Confirmed), "{wire:?}: {closed:?}");
        let expected: Vec<_> = (0..4000).map(|number| message(number, 200)).collect();
        assert!(received(&receiver) == expected, "{wire:?}");
    }
}

#[tokio::test]
async fn every_framing_is_understood_whatever_a_line_holds() {
    let lines: [&[u8]; 6] = [b"", b"two\nlines\0and NUL", b"\xff\xfe", b"12 <1>1", &[b'y'; 100_000], b"\n"];
    for (framing, theirs, delimiter) in [
        (Framing::OctetCounting, framing::Framing::OctetCounting, None),
        (Framing::LineFeed, framing::Framing::LineFeed, Some((b'\n', "#012"))),
        (Framing::Nul, framing::Framing::Nul, Some((0, "#000"))),
    ] {
        let receiver = receiver(None, Settings { framing: theirs, ..Settings::default() });
        let mut connection = open(&receiver).await;
        let header = connection_support::header();
        let mut out = Vec::new();
        for line in lines {
            frame_into(&mut out, framing, header.as_bytes(), line, 200_000);
        }
        send(&mut connection, &out).await.unwrap();
        assert!(matches!(connection.close(LONG).await, Closed::Confirmed));
        let expected: Vec<Vec<u8>> = lines
            .iter()
            .map(|line| {
                let escaped = line.iter().flat_map(|&byte| match delimiter {
                    Some((delimiter, escape)) if byte == delimiter => escape.as_bytes().to_vec(),
                    _ => vec![byte],
                });
                header.as_bytes().iter().copied().chain(escaped).collect()
            })
            .collect();
        assert!(received(&receiver) == expected, "{framing:?}");
    }
}

#[tokio::test]
async fn waiting_for_an_answer_ends_at_the_deadline() {
    let receiver =
        receiver(Some(Versions::Only13), faulty(Faults { answer: Answer::Never, ..Faults::default() }));
    let begun = Instant::now();
    send_and_close(&receiver, 1, Duration::from_millis(100)).await;
    assert!(begun.elapsed() < LONG);
}
