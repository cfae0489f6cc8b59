//! The sidecar killed, stopped and started again: nothing is missing, and what comes twice is the same twice.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod fsupport;

use std::collections::BTreeMap;
use std::fs;

use capstan_peers::collector::{Collector, Ended, Ending, Faults, Settings};
use capstan_peers::lines::files_below;
use capstan_peers::ports;
use serde_json::{Value, json};

use fsupport::config::config;
use fsupport::{
    Load, Pen, Scene, Sidecar, assert_complete, assert_exact, eventually, forwarded, rfc5424, rotated,
};

/// Stream, generation and position.
type Place = (String, u64, u64);

/// Messages by the position they carry; all that carry the same one must be the same.
fn by_position(collector: &Collector) -> BTreeMap<Place, Vec<Vec<u8>>> {
    let mut found: BTreeMap<Place, Vec<Vec<u8>>> = BTreeMap::new();
    for message in collector.messages() {
        let parsed = rfc5424::parse(&message.bytes);
        let param = |name| parsed.param("position@32473", name).unwrap().to_owned();
        let number = |name| param(name).parse::<u64>().unwrap();
        let key = (param("stream"), number("generation"), number("position"));
        found.entry(key).or_default().push(message.bytes);
    }
    found
}

#[test]
fn a_sidecar_killed_again_and_again_misses_nothing_and_repeats_itself_byte_for_byte() {
    let scene = Scene::new();
    let collector = scene.collector(Settings::default());
    let log = scene.log("app.log");
    let load = Load::start(&log, 0, 10_000);
    let destination = scene.destination("central", collector.port()).syslog("positionElement", true);
    let mut sidecar = scene.sidecar(vec![forwarded("app", &log, "central")], vec![destination]);
    for _ in 0..5 {
        let before = collector.message_count();
        eventually("lines to arrive", || collector.message_count() > before + 3000);
        sidecar.kill();
        sidecar.start();
    }
    let written = load.stop();
    let comparison = assert_complete(&collector, &[("w00", written)]);
    assert!(comparison.duplicated > 0, "this test should have made some: {comparison}");
    sidecar.wait_until_confirmed();
    let positions = by_position(&collector);
    assert_eq!(positions.len() as u64, written);
    for (position, messages) in positions {
        assert!(messages.windows(2).all(|two| two[0] == two[1]), "{position:?} differs: {messages:?}");
    }
}

#[test]
fn a_replay_within_one_life_repeats_itself_byte_for_byte() {
    let scene = Scene::new();
    let faults =
        Faults { end_after_bytes: Some((500_000, Ending::Reset)), connections: 5, ..Faults::default() };
    let collector = scene.collector(Settings { faults, ..Settings::default() });
    let log = scene.log("app.log");
    let load = Load::start(&log, 0, 10_000);
    let destination = scene.destination("central", collector.port()).syslog("positionElement", true);
    let sidecar = scene.sidecar(vec![forwarded("app", &log, "central")], vec![destination]);
    eventually("five breaks", || sidecar.metric("replays_total", &[]) >= 5.0);
    let written = load.stop();
    assert_complete(&collector, &[("w00", written)]);
    let positions = by_position(&collector);
    assert_eq!(positions.len() as u64, written);
    assert!(positions.values().any(|messages| messages.len() > 1));
    for (position, messages) in positions {
        assert!(messages.windows(2).all(|two| two[0] == two[1]), "{position:?} differs: {messages:?}");
    }
}

#[test]
fn a_position_is_the_byte_at_which_its_line_begins() {
    let scene = Scene::new();
    let collector = scene.collector(Settings::default());
    let log = scene.log("app.log");
    fs::write(&log, "one\n\nthree\nfour\n").unwrap();
    let destination = scene.destination("central", collector.port()).syslog("positionElement", true);
    let _sidecar = scene.sidecar(vec![forwarded("app", &log, "central")], vec![destination]);
    eventually("four lines", || collector.message_count() == 4);
    let places: Vec<Place> = by_position(&collector).into_keys().collect();
    let expected = [0, 4, 5, 11].map(|at| ("app.log".to_owned(), 1, at));
    assert_eq!(places, expected);
}

#[test]
fn a_sidecar_stopped_again_and_again_sends_every_line_once() {
    let scene = Scene::new();
    let collector = scene.collector(Settings::default());
    let log = scene.log("app.log");
    let load = Load::start(&log, 0, 10_000);
    let destination = scene.destination("central", collector.port());
    let mut sidecar = scene.sidecar(vec![forwarded("app", &log, "central")], vec![destination]);
    for _ in 0..5 {
        let before = collector.message_count();
        eventually("lines to arrive", || collector.message_count() > before + 3000);
        sidecar.terminate();
        sidecar.start();
    }
    let written = load.stop();
    assert_exact(&collector, &[("w00", written)]);
    sidecar.terminate();
    assert_exact(&collector, &[("w00", written)]);
    assert!(collector.reports().iter().all(|report| report.ended == Ended::ByClient));
}

#[test]
fn what_is_written_just_before_the_stop_still_arrives_and_the_stop_does_not_wait_for_its_grace() {
    let scene = Scene::new();
    let collector = scene.collector(Settings::default());
    let log = scene.log("app.log");
    let mut pen = Pen::open(&log, 0);
    let mut sidecar = Sidecar::new(scene.root()).with(&["--grace", "1h"]);
    let destination = scene.destination("central", collector.port()).delivery("rollIdle", "1h");
    let destination = destination.delivery("rollAge", "1h");
    sidecar.write_config(&config(vec![forwarded("app", &log, "central")], vec![destination]));
    sidecar.start();
    for _ in 0..5 {
        pen.write(1000);
        sidecar.terminate();
        assert_exact(&collector, &[("w00", pen.written)]);
        sidecar.start();
    }
}

#[test]
fn a_stop_ends_with_its_grace_when_the_receiver_is_away_and_the_next_start_goes_on() {
    let scene = Scene::new();
    let mut collector = scene.collector(Settings::default());
    collector.refuse();
    let log = scene.log("app.log");
    Pen::append_once(&log, 0, 0, 1000);
    let mut sidecar = Sidecar::new(scene.root()).with(&["--grace", "3s"]);
    let destination = scene.destination("central", collector.port());
    sidecar.write_config(&config(vec![forwarded("app", &log, "central")], vec![destination]));
    sidecar.start();
    sidecar.wait_for_error("central", "Connection refused");
    sidecar.terminate();
    let (table, status) = sidecar.command(&["status"]);
    assert!(!status.success() && table.contains("97.7 KiB"), "{table}");
    sidecar.start();
    collector.accept_again().unwrap();
    assert_exact(&collector, &[("w00", 1000)]);
}

#[test]
fn a_partial_last_line_waits_for_its_end_over_a_restart_while_the_app_holds_the_file() {
    let scene = Scene::new();
    let collector = scene.collector(Settings::default());
    let log = scene.log("app.log");
    let mut pen = Pen::open(&log, 0);
    pen.write_bytes(b"whole\nbegun ");
    let destination = scene.destination("central", collector.port());
    let mut sidecar = scene.sidecar(vec![forwarded("app", &log, "central")], vec![destination]);
    eventually("the whole line", || collector.message_count() == 1);
    sidecar.terminate();
    pen.write_bytes(b"and ");
    sidecar.start();
    pen.write_bytes(b"ended\nnext\n");
    eventually("three lines", || collector.message_count() == 3);
    sidecar.terminate();
    assert_eq!(bodies(&collector), ["whole", "begun and ended", "next"]);
}

#[test]
fn a_partial_last_line_that_nobody_can_complete_is_sent_at_the_stop_and_only_once() {
    let scene = Scene::new();
    let collector = scene.collector(Settings::default());
    let log = scene.log("app.log");
    fs::write(&log, "whole\nno end").unwrap();
    let destination = scene.destination("central", collector.port());
    let mut sidecar = scene.sidecar(vec![forwarded("app", &log, "central")], vec![destination]);
    eventually("the whole line", || collector.message_count() == 1);
    sidecar.terminate();
    assert_eq!(bodies(&collector), ["whole", "no end"]);
    sidecar.start();
    Pen::open(&log, 0).write_bytes(b"more\n");
    eventually("the next line", || collector.message_count() == 3);
    sidecar.terminate();
    assert_eq!(bodies(&collector), ["whole", "no end", "more"]);
}

fn bodies(collector: &Collector) -> Vec<String> {
    let messages = collector.messages();
    let body = |bytes: &[u8]| String::from_utf8(rfc5424::parse(bytes).body).unwrap();
    messages.iter().map(|message| body(&message.bytes)).collect()
}

/// Rotates until there are so many compressed archives.
fn rotate_until(scene: &Scene, log: &std::path::Path, archives: usize) -> u64 {
    let mut written = 0;
    eventually("compressed archives", || {
        if files_below(&scene.root().join("logs")).unwrap().len() <= archives + 1 {
            written = Pen::append_once(log, 0, written, 50);
        }
        let files = files_below(&scene.root().join("logs")).unwrap();
        files.iter().filter(|file| file.extension().is_some_and(|end| end == "gz")).count() >= archives
    });
    written
}

#[test]
fn archives_that_were_compressed_before_they_were_sent_are_read_back_in_order_after_a_restart() {
    let scene = Scene::new();
    let nobody = ports::free().unwrap();
    let log = scene.log("app.log");
    let mut sidecar = Sidecar::new(scene.root()).with(&["--grace", "3s"]);
    let destination = scene.destination("central", nobody).syslog("positionElement", true);
    sidecar.write_config(&config(vec![rotated("app", &log, "central", "20000")], vec![destination]));
    sidecar.start();
    let written = rotate_until(&scene, &log, 6);
    sidecar.terminate();
    let written = Pen::append_once(&log, 0, written, 50);
    let collector = scene.collector(Settings { port: Some(nobody), ..Settings::default() });
    sidecar.start();
    assert_exact(&collector, &[("w00", written)]);
    sidecar.wait_until_confirmed();
    assert_exact(&collector, &[("w00", written)]);
    assert!(by_position(&collector).keys().map(|(_, generation, _)| generation).max().unwrap() >= &6);
}

#[test]
fn archives_wait_for_a_receiver_that_is_away_although_retention_would_have_them_deleted() {
    let scene = Scene::new();
    let mut collector = scene.collector(Settings::default());
    collector.refuse();
    let log = scene.log("app.log");
    let mut settings: Value = rotated("app", &log, "central", "20000");
    settings["rotate"]["retention"] = json!({ "count": 1 });
    let destination = scene.destination("central", collector.port());
    let sidecar = scene.sidecar(vec![settings], vec![destination]);
    let written = rotate_until(&scene, &log, 5);
    collector.accept_again().unwrap();
    assert_exact(&collector, &[("w00", written)]);
    let left = || files_below(&scene.root().join("logs")).unwrap().len();
    eventually("the archives to be deleted", || left() <= 2);
    assert_eq!(sidecar.metric("dropped_lines_total", &[]), 0.0);
}

#[test]
fn a_change_of_the_receiver_s_port_does_not_send_anything_twice() {
    let scene = Scene::new();
    let (first, second) = (scene.collector(Settings::default()), scene.collector(Settings::default()));
    let log = scene.log("app.log");
    let mut pen = Pen::open(&log, 0);
    pen.write(100);
    let destination = |collector: &Collector| scene.destination("central", collector.port());
    let mut sidecar = scene.sidecar(vec![forwarded("app", &log, "central")], vec![destination(&first)]);
    assert_exact(&first, &[("w00", 100)]);
    sidecar.terminate();
    sidecar.write_config(&config(vec![forwarded("app", &log, "central")], vec![destination(&second)]));
    sidecar.start();
    pen.write(1);
    eventually("the next line", || second.message_count() == 1);
    sidecar.terminate();
    assert_eq!((first.message_count(), second.message_count()), (100, 1));
}
