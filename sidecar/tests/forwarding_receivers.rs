//! Receivers that stop, stall, lie and vanish: every line arrives, and what comes twice is bounded.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod fsupport;

use std::time::Duration;

use capstan_peers::collector::process::CollectorProcess;
use capstan_peers::collector::{Answer, Collector, Ended, Ending, Faults, Settings, Versions};
use capstan_peers::misbehave::{Kind, Misbehaving};
use capstan_peers::ports;
use serde_json::json;

use fsupport::{
    Destination, Load, Pen, Scene, Tallied, assert_complete, assert_exact, count_of, eventually, forwarded,
    rotated, tally_of,
};

const ENDINGS: [Ending; 5] =
    [Ending::Orderly, Ending::CloseNotifyThenClose, Ending::Fin, Ending::FinThenReset, Ending::Reset];

fn faulty(scene: &Scene, faults: Faults) -> Collector {
    scene.collector(Settings { faults, ..Settings::default() })
}

/// How many connections the receiver has ended by itself.
fn closed_by_it(collector: &Collector) -> usize {
    collector.reports().iter().filter(|report| matches!(report.ended, Ended::ByUs(_))).count()
}

#[test]
fn a_receiver_killed_again_and_again_misses_nothing() {
    let scene = Scene::new();
    let tls = scene.tls(&scene.certificates.server, Versions::Both);
    let mut receiver = CollectorProcess::start(&scene.root().join("received"), Some(tls)).unwrap();
    let log = scene.log("app.log");
    let load = Load::start(&log, 0, 10_000);
    let destination = scene.destination("central", receiver.port()).delivery("replayMargin", "1s");
    let sidecar = scene.sidecar(vec![forwarded("app", &log, "central")], vec![destination]);
    let arrived = |receiver: &CollectorProcess| {
        let received = receiver.lines().unwrap();
        tally_of(received.iter().map(Vec::as_slice))
    };
    for _ in 0..4 {
        let before = arrived(&receiver).distinct();
        eventually("lines to arrive", || arrived(&receiver).distinct() > before + 3000);
        receiver.kill().unwrap();
        receiver.restart().unwrap();
    }
    let written = [("w00", load.stop())];
    eventually("all lines", || arrived(&receiver).compare(written).is_complete());
    sidecar.wait_until_confirmed();
    let comparison = arrived(&receiver).compare(written);
    let replayed = sidecar.metric("replayed_lines_total", &[]);
    assert!(comparison.duplicated as f64 <= replayed, "{comparison}, but {replayed} were sent again");
}

#[test]
fn only_what_was_sent_within_the_margin_or_is_unconfirmed_is_sent_again() {
    let scene = Scene::new();
    let collector = scene.collector(Settings::default());
    let log = scene.log("app.log");
    let mut pen = Pen::open(&log, 0);
    pen.write(500);
    let destination = scene
        .destination("central", collector.port())
        .delivery("replayMargin", "500ms")
        .delivery("rollIdle", "2s")
        .delivery("rollAge", "4s");
    let sidecar = scene.sidecar(vec![forwarded("app", &log, "central")], vec![destination]);
    sidecar.wait_until_confirmed();
    // Longer ago than the margin: these lines have been sent for the last time.
    std::thread::sleep(Duration::from_millis(1500));
    pen.write(500);
    assert_exact(&collector, &[("w00", 1000)]);
    collector.end_connections(Ending::Reset);
    sidecar.wait_until_confirmed();
    let comparison = assert_complete(&collector, &[("w00", 1000)]);
    assert_eq!(comparison.duplicated, 500, "{comparison}");
    assert_eq!((count_of(&collector, 0, 499), count_of(&collector, 0, 500)), (1, 2));
    let again = [("policy", "web"), ("log", "app"), ("destination", "central")];
    sidecar.counts("replayed_lines_total", &again, 500.0);
    sidecar.counts("replays_total", &[("destination", "central")], 1.0);
}

#[test]
fn confirmed_lines_within_the_margin_are_sent_again_to_a_receiver_that_was_killed() {
    let scene = Scene::new();
    let collector = scene.collector(Settings::default());
    let log = scene.log("app.log");
    let mut pen = Pen::open(&log, 0);
    pen.write(100);
    let destination = scene.destination("central", collector.port()).delivery("replayMargin", "1h");
    let sidecar = scene.sidecar(vec![forwarded("app", &log, "central")], vec![destination]);
    sidecar.wait_until_confirmed();
    assert_exact(&collector, &[("w00", 100)]);
    // A kernel says so for a process that was killed, and what that had not stored yet is lost.
    collector.end_connections(Ending::Reset);
    eventually("all lines once more", || collector.message_count() >= 200);
    // Killed again, before it has read anything: the margin is still owed in whole.
    for expected in [300, 400] {
        collector.end_connections(Ending::Reset);
        eventually("all lines once more", || collector.message_count() >= expected);
    }
    sidecar.wait_until_confirmed();
    pen.write(1);
    assert_complete(&collector, &[("w00", 101)]);
}

#[test]
fn the_margin_is_sent_again_from_archives_too_however_much_is_rotated_meanwhile() {
    let scene = Scene::new();
    let mut collector = scene.collector(Settings::default());
    let log = scene.log("app.log");
    let mut written = 0;
    let destination = scene.destination("central", collector.port()).delivery("replayMargin", "1h");
    let sidecar = scene.sidecar(vec![rotated("app", &log, "central", "5000")], vec![destination]);
    let mut write_and_rotate = |rotations: f64| {
        written = Pen::append_once(&log, 0, written, 100);
        eventually("a rotation", || sidecar.metric("rotations_total", &[("result", "ok")]) >= rotations);
    };
    for round in 1..=3 {
        write_and_rotate(f64::from(round));
        sidecar.wait_until_confirmed();
    }
    assert_exact(&collector, &[("w00", 300)]);
    collector.refuse();
    collector.end_connections(Ending::Reset);
    sidecar.wait_for_error("central", "Connection refused");
    write_and_rotate(4.0);
    collector.accept_again().unwrap();
    let twice = || (0..300).all(|number| count_of(&collector, 0, number) >= 2);
    eventually("all lines once more", twice);
    assert_complete(&collector, &[("w00", 400)]);
}

#[test]
fn a_receiver_that_is_gone_right_after_it_confirmed_gets_the_margin_again() {
    let scene = Scene::new();
    let mut collector = scene.collector(Settings::default());
    let log = scene.log("app.log");
    let mut pen = Pen::open(&log, 0);
    pen.write(1);
    let destination = scene
        .destination("central", collector.port())
        .delivery("replayMargin", "1h")
        .delivery("rollBytes", "4Ki");
    let sidecar = scene.sidecar(vec![forwarded("app", &log, "central")], vec![destination]);
    sidecar.wait_until_confirmed();
    eventually("the next connection", || sidecar.destination("central")["connected"] == true);
    // The connection that is open serves on; when it is closed for proof there is no other.
    collector.refuse();
    pen.write(1000);
    sidecar.wait_until_confirmed();
    assert_exact(&collector, &[("w00", 1001)]);
    sidecar.wait_for_error("central", "Connection refused");
    collector.accept_again().unwrap();
    eventually("all lines once more", || (0..1001).all(|number| count_of(&collector, 0, number) >= 2));
}

#[test]
fn an_idle_receiver_that_closes_gets_the_next_line_and_nothing_twice() {
    let scene = Scene::new();
    let idle = Duration::from_millis(1500);
    let collectors = ENDINGS
        .map(|ending| faulty(&scene, Faults { end_when_idle: Some((idle, ending)), ..Faults::default() }));
    let (mut logs, mut destinations, mut pens) = (Vec::new(), Vec::new(), Vec::new());
    for (index, collector) in collectors.iter().enumerate() {
        let (name, log) = (format!("d{index}"), scene.log(&format!("{index}.log")));
        pens.push(Pen::open(&log, index));
        logs.push(forwarded(&name, &log, &name));
        // Shorter than the receiver's patience, so that nothing was sent within it.
        let destination = scene.destination(&name, collector.port()).delivery("replayMargin", "300ms");
        destinations.push(destination);
    }
    let sidecar = scene.sidecar(logs, destinations);
    for _ in 0..2 {
        pens.iter_mut().for_each(|pen| pen.write(10));
        sidecar.wait_until_confirmed();
        let before: Vec<usize> = collectors.iter().map(closed_by_it).collect();
        for (collector, before) in collectors.iter().zip(before) {
            eventually("the receiver to close", || closed_by_it(collector) > before);
        }
    }
    pens.iter_mut().for_each(|pen| pen.write(10));
    sidecar.wait_until_confirmed();
    for (index, collector) in collectors.iter().enumerate() {
        assert_exact(collector, &[(&format!("w{index:02}"), 30)]);
    }
    assert_eq!(sidecar.metric("replayed_lines_total", &[]), 0.0);
}

#[test]
fn a_receiver_that_ends_connections_in_mid_stream_misses_nothing() {
    let scene = Scene::new();
    let collectors = ENDINGS.map(|ending| {
        let faults = Faults { end_after_bytes: Some((200_000, ending)), connections: 3, ..Faults::default() };
        faulty(&scene, faults)
    });
    let (mut logs, mut destinations) = (Vec::new(), Vec::new());
    for (index, collector) in collectors.iter().enumerate() {
        let (name, log) = (format!("d{index}"), scene.log(&format!("{index}.log")));
        Pen::open(&log, index).write(10_000);
        logs.push(forwarded(&name, &log, &name));
        destinations.push(scene.destination(&name, collector.port()));
    }
    let sidecar = scene.sidecar(logs, destinations);
    sidecar.wait_until_confirmed();
    for (index, (collector, ending)) in collectors.iter().zip(ENDINGS).enumerate() {
        let comparison = assert_complete(collector, &[(&format!("w{index:02}"), 10_000)]);
        let reports = collector.reports();
        let ended = reports.iter().filter(|report| report.ended == Ended::ByUs(ending)).count();
        assert_eq!(ended, 3, "{ending:?}: {reports:?}");
        let name = format!("d{index}");
        assert!(sidecar.metric("replays_total", &[("destination", &name)]) >= 3.0, "{ending:?}");
        // Each break repeats what one connection had carried, at most.
        assert!(comparison.duplicated < 3 * 10_000, "{ending:?}: {comparison}");
        assert!(!sidecar.last_error(&name).is_empty());
    }
}

#[test]
fn a_receiver_that_stalls_and_then_loses_what_it_had_not_read_gets_it_again() {
    let scene = Scene::new();
    for ending in [Ending::Reset, Ending::CloseNotifyThenClose] {
        let collector = scene.collector(Settings::default());
        let log = scene.log(&format!("{ending:?}.log"));
        let mut pen = Pen::open(&log, 0);
        let destination = scene.destination("central", collector.port());
        let mut sidecar = scene.sidecar(vec![forwarded("app", &log, "central")], vec![destination]);
        pen.write(100);
        assert_complete(&collector, &[("w00", 100)]);
        collector.stall(true);
        pen.write(5000);
        // Sent as far as the kernel sees it; the receiver has read none of it.
        eventually("the sidecar to send", || sidecar.metric("sent_lines_total", &[]) >= 5100.0);
        collector.end_connections(ending);
        let broken = || sidecar.metric("replays_total", &[]) >= 1.0;
        eventually("the sidecar to notice", broken);
        collector.stall(false);
        assert_complete(&collector, &[("w00", 5100)]);
        sidecar.terminate();
    }
}

#[test]
fn a_receiver_that_stalls_longer_than_the_write_timeout_misses_nothing() {
    let scene = Scene::new();
    let tallied = Tallied::new();
    let settings =
        Settings { store: tallied.store(), receive_buffer_bytes: Some(64 << 10), ..Settings::default() };
    let collector = scene.collector(settings);
    let log = scene.log("app.log");
    let mut pen = Pen::open(&log, 0);
    pen.write(100_000);
    collector.stall(true);
    let destination = scene
        .destination("central", collector.port())
        .delivery("writeTimeout", "500ms")
        .delivery("handshakeTimeout", "500ms");
    let sidecar = scene.sidecar(vec![forwarded("app", &log, "central")], vec![destination]);
    sidecar.wait_for_error("central", "no TLS handshake within 0.5 s; is this port for TLS?");
    collector.stall(false);
    eventually("lines to arrive", || tallied.distinct() > 1000);
    collector.stall(true);
    pen.write(100_000);
    sidecar.wait_for_error("central", "the receiver took nothing for 0.5 s, while ");
    collector.stall(false);
    tallied.wait_for(&[("w00", 200_000)]);
}

#[test]
fn a_receiver_that_is_slower_than_the_close_timeout_is_waited_for_as_long_as_it_reads() {
    let scene = Scene::new();
    let settings = Settings { receive_buffer_bytes: Some(64 << 10), ..Settings::default() };
    let collector = scene.collector(settings);
    let log = scene.log("app.log");
    Pen::open(&log, 0).write(10_000);
    collector.limit_rate(Some(250_000));
    // What waits in the socket at a close takes much longer to drain than the close may take without progress.
    let destination = scene
        .destination("central", collector.port())
        .delivery("closeTimeout", "1s")
        .delivery("replayMargin", "0s");
    let sidecar = scene.sidecar(vec![forwarded("app", &log, "central")], vec![destination]);
    sidecar.wait_until_confirmed();
    assert_exact(&collector, &[("w00", 10_000)]);
}

#[test]
fn a_tls13_receiver_that_reads_slowly_while_the_sidecar_stops_gets_everything_once() {
    let scene = Scene::new();
    let settings = Settings { receive_buffer_bytes: Some(64 << 10), ..Settings::default() };
    let collector = scene.collector_of(settings, Versions::Only13);
    let log = scene.log("app.log");
    let mut pen = Pen::open(&log, 0);
    let destination = scene.destination("central", collector.port()).delivery("rollAge", "1h");
    let mut sidecar = scene.sidecar(vec![forwarded("app", &log, "central")], vec![destination]);
    collector.limit_rate(Some(1_000_000));
    pen.write(20_000);
    eventually("the first lines", || collector.message_count() > 100);
    sidecar.terminate();
    assert_exact(&collector, &[("w00", 20_000)]);
    assert!(collector.reports().iter().all(|report| report.ended == Ended::ByClient));
}

#[test]
fn a_receiver_that_never_answers_a_close_is_believed_after_the_third_and_that_is_said() {
    for answer in [Answer::Never, Answer::CloseNotifyOnly] {
        let scene = Scene::new();
        let collector = faulty(&scene, Faults { answer, ..Faults::default() });
        let log = scene.log("app.log");
        let mut pen = Pen::open(&log, 0);
        pen.write(100);
        let destination = scene
            .destination("central", collector.port())
            .delivery("closeTimeout", "300ms")
            .delivery("replayMargin", "0s");
        let sidecar = scene.sidecar(vec![forwarded("app", &log, "central")], vec![destination]);
        sidecar.wait_until_confirmed();
        let comparison = assert_complete(&collector, &[("w00", 100)]);
        assert_eq!(comparison.duplicated, 200, "{answer:?}: {comparison}");
        eventually("the level of proof", || sidecar.destination("central")["proof"] == "Acked");
        sidecar.counts("proof_level", &[("destination", "central")], 1.0);
        sidecar.wait_for_error("central", "it did not close in answer to our close");
        // From now on nothing comes twice.
        for _ in 0..3 {
            pen.write(100);
            sidecar.wait_until_confirmed();
        }
        let comparison = assert_complete(&collector, &[("w00", 400)]);
        assert_eq!(comparison.duplicated, 200, "{answer:?}: {comparison}");
    }
}

#[test]
fn a_receiver_that_answers_with_a_reset_proves_nothing() {
    let scene = Scene::new();
    let faults = Faults { answer: Answer::Reset, connections: 4, ..Faults::default() };
    let collector = faulty(&scene, faults);
    let log = scene.log("app.log");
    Pen::open(&log, 0).write(100);
    let destination = scene.destination("central", collector.port()).delivery("replayMargin", "0s");
    let sidecar = scene.sidecar(vec![forwarded("app", &log, "central")], vec![destination]);
    sidecar.wait_until_confirmed();
    let carried = collector.reports().iter().filter(|report| report.messages > 0).count();
    assert!(carried >= 3, "confirmed too soon: {:?}", collector.reports());
    eventually("proof", || sidecar.destination("central")["proof"] == "Confirmed");
    sidecar.wait_for_error("central", "the connection broke while it was being closed: the receiver reset");
}

#[test]
fn a_receiver_that_does_not_shake_hands_or_refuses_for_a_while_gets_everything_later() {
    let scene = Scene::new();
    let faults = Faults { never_handshake: true, connections: 2, ..Faults::default() };
    let mut collector = faulty(&scene, faults);
    let log = scene.log("app.log");
    let mut pen = Pen::open(&log, 0);
    pen.write(100);
    let destination = scene.destination("central", collector.port()).delivery("handshakeTimeout", "300ms");
    let sidecar = scene.sidecar(vec![forwarded("app", &log, "central")], vec![destination]);
    assert_complete(&collector, &[("w00", 100)]);
    sidecar.counts("connects_total", &[("result", "handshake_deadline")], 2.0);
    sidecar.wait_until_confirmed();
    collector.refuse();
    collector.end_connections(Ending::Orderly);
    pen.write(100);
    sidecar.wait_for_error("central", "Connection refused");
    pen.write(100);
    collector.accept_again().unwrap();
    assert_complete(&collector, &[("w00", 300)]);
}

#[test]
fn endpoints_that_do_not_work_are_passed_over_on_the_way_to_one_that_does() {
    let scene = Scene::new();
    let collector = scene.collector(Settings::default());
    let closed = ports::free().unwrap();
    let odd = [
        Kind::Silent,
        Kind::PlainText,
        Kind::Garbage,
        Kind::CloseAtOnce,
        Kind::ResetWithUnread,
        Kind::EofThenReset,
    ];
    let peers = odd.map(|kind| Misbehaving::start(kind).unwrap());
    let mut endpoints = vec![json!({ "host": "127.0.0.1", "port": closed })];
    endpoints.extend(peers.iter().map(|peer| json!({ "host": "localhost", "port": peer.port() })));
    endpoints.push(json!({ "host": "127.0.0.1", "port": collector.port() }));
    let log = scene.log("app.log");
    Pen::open(&log, 0).write(100);
    let destination = scene
        .destination("central", closed)
        .syslog("endpoints", endpoints)
        .delivery("connectTimeout", "500ms")
        .delivery("handshakeTimeout", "500ms");
    let sidecar = scene.sidecar(vec![forwarded("app", &log, "central")], vec![destination]);
    assert_exact(&collector, &[("w00", 100)]);
    sidecar.wait_until_confirmed();
    assert_eq!(sidecar.destination("central")["endpoint"], format!("127.0.0.1:{}", collector.port()));
    assert!(peers.iter().all(|peer| peer.connections() >= 1));
}

#[test]
fn a_receiver_over_plain_tcp_is_confirmed_as_well_and_its_end_seen() {
    let scene = Scene::new();
    let faults =
        Faults { end_after_bytes: Some((200_000, Ending::Reset)), connections: 2, ..Faults::default() };
    let collector = Collector::start(Settings { faults, ..Settings::default() }).unwrap();
    let log = scene.log("app.log");
    Pen::open(&log, 0).write(10_000);
    let destination = Destination::tcp("central", collector.port());
    let sidecar = scene.sidecar(vec![forwarded("app", &log, "central")], vec![destination]);
    assert_complete(&collector, &[("w00", 10_000)]);
    sidecar.wait_until_confirmed();
    eventually("proof", || sidecar.destination("central")["proof"] == "Confirmed");
}

#[test]
fn one_receiver_that_is_down_delays_no_other() {
    let scene = Scene::new();
    let well = scene.collector(Settings::default());
    let stalled = scene.collector(Settings::default());
    stalled.stall(true);
    let nobody = ports::free().unwrap();
    let names = ["well", "stalled", "nobody"];
    let ports = [well.port(), stalled.port(), nobody];
    let mut pens = names.map(|name| Pen::open(&scene.log(&format!("{name}.log")), 0));
    let logs = names.map(|name| forwarded(name, &scene.log(&format!("{name}.log")), name));
    let destinations = names.iter().zip(ports).map(|(name, port)| scene.destination(name, port));
    let sidecar = scene.sidecar(logs.to_vec(), destinations.collect());
    for round in 1..=5 {
        pens.iter_mut().for_each(|pen| pen.write(2000));
        assert_exact(&well, &[("w00", round * 2000)]);
    }
    // The others are still exactly where they were, which the status says.
    let lag = |name: &str| {
        let status = sidecar.status();
        let stream = status["streams"].as_array().unwrap().iter().find(|s| s["log"] == format!("web/{name}"));
        stream.unwrap()["lag"][name]["bytes"].clone()
    };
    eventually("the lag of the others", || lag("stalled") == 1_000_000 && lag("nobody") == 1_000_000);
    stalled.stall(false);
    assert_complete(&stalled, &[("w00", 10_000)]);
}

#[test]
fn order_is_kept_over_dozens_of_rolls_and_nothing_comes_twice() {
    let scene = Scene::new();
    let collector = scene.collector(Settings::default());
    let log = scene.log("app.log");
    let load = Load::start(&log, 0, 20_000);
    let destination = scene.destination("central", collector.port()).delivery("rollBytes", "64Ki");
    let sidecar = scene.sidecar(vec![forwarded("app", &log, "central")], vec![destination]);
    eventually("dozens of connections", || collector.reports().len() > 40);
    let written = [("w00", load.stop())];
    assert_exact(&collector, &written);
    sidecar.wait_until_confirmed();
    assert_exact(&collector, &written);
    // One that was begun ahead and not needed may be given up, but none that has carried anything.
    let mut used = collector.reports();
    used.retain(|report| report.messages > 0);
    assert!(used.len() > 30 && used.iter().all(|report| report.ended == Ended::ByClient), "{used:?}");
}
