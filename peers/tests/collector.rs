//! The collector against a plain sender: what is sent is recorded, and each fault looks as it is named.

#![cfg(test)]

use std::time::Duration;

use capstan_peers::certificates::{self, Certificates};
use capstan_peers::client::{Client, End, Seen};
use capstan_peers::collector::process::CollectorProcess;
use capstan_peers::collector::{Answer, Collector, Ended, Ending, Faults, Settings, Store, Tls, Versions};
use capstan_peers::ports::wait_until;
use rustls::ProtocolVersion;
use tempfile::TempDir;

const LIMIT: Duration = Duration::from_secs(10);

struct Fixture {
    directory: TempDir,
    made: Certificates,
}

impl Fixture {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let made = certificates::create(directory.path()).unwrap();
        Self { directory, made }
    }

    fn tls(&self, versions: Versions) -> Option<Tls> {
        Some(Tls { identity: self.made.server.clone(), client_ca: None, versions })
    }

    fn start(&self, faults: Faults) -> Collector {
        let settings = Settings { tls: self.tls(Versions::Both), faults, ..Settings::default() };
        Collector::start(settings).unwrap()
    }

    fn connect(&self, collector: &Collector) -> Client {
        Client::connect_tls(collector.port(), &self.made.ca, None).unwrap()
    }
}

#[test]
fn messages_are_recorded_in_order_over_every_version_and_a_close_is_answered() {
    let fixture = Fixture::new();
    for (versions, expected) in [
        (Versions::Only12, ProtocolVersion::TLSv1_2),
        (Versions::Only13, ProtocolVersion::TLSv1_3),
        (Versions::Both, ProtocolVersion::TLSv1_3),
    ] {
        let settings = Settings { tls: fixture.tls(versions), ..Settings::default() };
        let collector = Collector::start(settings).unwrap();
        let mut client = fixture.connect(&collector);
        client.send(b"3 one").unwrap();
        client.send(b"3 two5 thr").unwrap();
        client.send(b"ee").unwrap();
        assert_eq!(client.close().unwrap(), Seen { close_notify: true, end: End::Eof });
        let texts: Vec<Vec<u8>> = collector.messages().into_iter().map(|message| message.bytes).collect();
        assert_eq!(texts, [b"one".as_slice(), b"two", b"three"]);
        let report = collector.reports().remove(0);
        assert_eq!(report.tls_version, Some(expected));
        assert_eq!(report.server_name.as_deref(), Some("localhost"));
        assert_eq!((report.bytes, report.messages, report.incomplete_bytes), (17, 3, 0));
    }
}

#[test]
fn without_tls_fin_is_the_close() {
    let collector = Collector::start(Settings::default()).unwrap();
    let mut client = Client::connect(collector.port()).unwrap();
    client.send(b"<1>a\n<1>b\n<1>c").unwrap();
    assert_eq!(client.close().unwrap().end, End::Eof);
    assert_eq!(collector.message_count(), 2);
    // The collector closes first and notes it then.
    wait_until(Duration::from_secs(5), "the report", || collector.reports()[0].ended != Ended::Not).unwrap();
    let report = collector.reports().remove(0);
    assert_eq!((report.ended, report.incomplete_bytes), (Ended::ByClient, 4));
}

#[test]
fn every_way_of_ending_a_connection_looks_as_named() {
    for (ending, close_notify, end) in [
        (Ending::CloseNotifyThenClose, true, End::Eof),
        (Ending::FinThenReset, false, End::Eof),
        (Ending::Orderly, true, End::Eof),
        (Ending::Fin, false, End::Eof),
        (Ending::Reset, false, End::Reset),
    ] {
        let fixture = Fixture::new();
        let faults = Faults { end_after_bytes: Some((4, ending)), ..Faults::default() };
        let collector = fixture.start(faults);
        let mut client = fixture.connect(&collector);
        client.send(b"2 ab").unwrap();
        assert_eq!(client.read_to_end().unwrap(), Seen { close_notify, end }, "{ending:?}");
        assert_eq!(collector.message_count(), 1);
    }
}

#[test]
fn every_answer_to_a_close_looks_as_named() {
    for (answer, close_notify, end) in [
        (Answer::Orderly, true, End::Eof),
        (Answer::Fin, false, End::Eof),
        (Answer::CloseNotifyOnly, true, End::Silence),
        (Answer::Never, false, End::Silence),
        (Answer::Reset, false, End::Reset),
    ] {
        let fixture = Fixture::new();
        let collector = fixture.start(Faults { answer, ..Faults::default() });
        let mut client = fixture.connect(&collector);
        client.send(b"2 ab").unwrap();
        assert_eq!(client.close().unwrap(), Seen { close_notify, end }, "{answer:?}");
        assert_eq!(collector.message_count(), 1);
    }
}

#[test]
fn only_the_first_connections_have_faults_if_so_asked() {
    let fixture = Fixture::new();
    let faults = Faults { connections: 1, never_handshake: true, ..Faults::default() };
    let collector = fixture.start(faults);
    assert!(Client::connect_tls(collector.port(), &fixture.made.ca, None).is_err());
    let client = fixture.connect(&collector);
    assert_eq!(client.close().unwrap(), Seen { close_notify: true, end: End::Eof });
}

#[test]
fn an_idle_connection_is_ended_and_so_are_all_on_demand() {
    let fixture = Fixture::new();
    let idle = Some((Duration::from_millis(50), Ending::Orderly));
    let collector = fixture.start(Faults { end_when_idle: idle, ..Faults::default() });
    let seen = fixture.connect(&collector).read_to_end().unwrap();
    assert_eq!(seen, Seen { close_notify: true, end: End::Eof });

    let collector = fixture.start(Faults::default());
    let client = fixture.connect(&collector);
    let shaken = || collector.reports().first().is_some_and(|report| report.tls_version.is_some());
    wait_until(LIMIT, "the handshake", shaken).unwrap();
    collector.end_connections(Ending::Reset);
    assert_eq!(client.read_to_end().unwrap().end, End::Reset);
}

#[test]
fn a_stalled_collector_reads_nothing_until_it_goes_on() {
    let collector = Collector::start(Settings::default()).unwrap();
    collector.stall(true);
    let mut client = Client::connect(collector.port()).unwrap();
    client.send(b"2 ab").unwrap();
    wait_until(LIMIT, "the connection", || collector.reports().len() == 1).unwrap();
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(collector.byte_count(), 0);
    collector.stall(false);
    collector.wait_for_messages(1, LIMIT).unwrap();
}

#[test]
fn a_limited_collector_reads_everything_in_small_pieces() {
    let collector = Collector::start(Settings::default()).unwrap();
    collector.limit_rate(Some(10_000));
    let mut client = Client::connect(collector.port()).unwrap();
    client.send(&b"<1>a\n".repeat(100)).unwrap();
    collector.wait_for_messages(20, LIMIT).unwrap();
    assert!(collector.message_count() < 100);
    collector.wait_for_messages(100, LIMIT).unwrap();
}

#[test]
fn a_refusing_collector_can_be_reached_again() {
    let mut collector = Collector::start(Settings::default()).unwrap();
    collector.refuse();
    assert!(Client::connect(collector.port()).is_err());
    collector.accept_again().unwrap();
    Client::connect(collector.port()).unwrap().send(b"<1>a\n").unwrap();
    collector.wait_for_messages(1, LIMIT).unwrap();
}

#[test]
fn a_client_certificate_is_demanded_and_checked() {
    let fixture = Fixture::new();
    let mut tls = fixture.tls(Versions::Both).unwrap();
    tls.client_ca = Some(fixture.made.ca.clone());
    let collector = Collector::start(Settings { tls: Some(tls), ..Settings::default() }).unwrap();
    for (identity, served) in
        [(None, false), (Some(&fixture.made.client_of_other_ca), false), (Some(&fixture.made.client), true)]
    {
        let client = Client::connect_tls(collector.port(), &fixture.made.ca, identity);
        // In TLS 1.3 the client's handshake is over before the server looked at its certificate.
        let closed = client.and_then(|client| Ok(client.close()?));
        assert_eq!(closed.is_ok_and(|seen| seen.close_notify), served);
    }
    assert!(collector.reports().last().unwrap().client_certificate);
}

#[test]
fn a_bad_frame_ends_the_connection_and_is_reported() {
    let fixture = Fixture::new();
    let collector = fixture.start(Faults::default());
    let mut client = fixture.connect(&collector);
    client.send(b"2 ab0 c").unwrap();
    client.read_to_end().unwrap();
    assert_eq!(collector.message_count(), 1);
    let expected = Ended::Broken("no frame starts with \"0 c\"".to_owned());
    wait_until(LIMIT, "the report", || collector.reports()[0].ended == expected).unwrap();
}

#[test]
fn discarding_and_calling_see_every_message() {
    let (sender, receiver) = std::sync::mpsc::channel();
    let call = Store::Call(std::sync::Arc::new(move |message: &[u8]| sender.send(message.to_vec()).unwrap()));
    for store in [Store::Discard, call] {
        let collector = Collector::start(Settings { store, ..Settings::default() }).unwrap();
        let mut client = Client::connect(collector.port()).unwrap();
        client.send(b"1 a1 b").unwrap();
        collector.wait_for_messages(2, LIMIT).unwrap();
        assert_eq!(collector.byte_count(), 6);
    }
    assert_eq!(receiver.iter().collect::<Vec<_>>(), [b"a", b"b"]);
}

#[test]
fn the_process_can_be_killed_and_comes_back_on_the_same_port_and_file() {
    let fixture = Fixture::new();
    let output = fixture.directory.path().join("received.log");
    let mut process = CollectorProcess::start(&output, fixture.tls(Versions::Both)).unwrap();
    for expected in [vec![b"ab".to_vec()], vec![b"ab".to_vec(), b"ab".to_vec()]] {
        let mut client = Client::connect_tls(process.port(), &fixture.made.ca, None).unwrap();
        client.send(b"2 ab").unwrap();
        wait_until(LIMIT, "the message", || process.lines().unwrap() == expected).unwrap();
        process.kill().unwrap();
        assert!(Client::connect(process.port()).is_err());
        process.restart().unwrap();
    }
}
