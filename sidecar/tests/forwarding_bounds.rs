//! Memory and file descriptors stay bounded whatever the receiver or the app do: the files are the only queue.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod fsupport;

use std::fs;

use capstan_peers::collector::Settings;
use serde_json::json;

use fsupport::{Pen, Scene, Tallied, assert_exact, eventually, forwarded};

const MEBIBYTE: u64 = 1 << 20;

#[test]
fn memory_stays_flat_while_a_stalled_receiver_lets_a_log_grow() {
    let scene = Scene::new();
    let tallied = Tallied::new();
    let settings =
        Settings { store: tallied.store(), receive_buffer_bytes: Some(64 << 10), ..Settings::default() };
    let collector = scene.collector(settings);
    let log = scene.log("app.log");
    let mut pen = Pen::open(&log, 0);
    let sidecar = scene.sidecar(
        vec![forwarded("app", &log, "central")],
        vec![scene.destination("central", collector.port())],
    );
    pen.write(1000);
    tallied.wait_for(&[("w00", 1000)]);
    collector.stall(true);
    let mut grow = |lines: u64| {
        pen.write(lines);
        let size = 100 * pen.written;
        eventually("the growth to be seen", || sidecar.status()["streams"][0]["liveBytes"] == size);
        sidecar.usage().peak_resident_bytes
    };
    let early = grow(50_000);
    let mut late = early;
    for _ in 0..10 {
        late = grow(50_000);
    }
    // 50 MB wait, and nothing of them in memory.
    assert!(late < early + 2 * MEBIBYTE, "{early} grew to {late}");
    assert!(late < 20 * MEBIBYTE, "{late}");
    collector.stall(false);
    tallied.wait_for(&[("w00", 551_000)]);
    let after = sidecar.usage().peak_resident_bytes;
    assert!(after < 20 * MEBIBYTE, "{after}");
}

#[test]
fn memory_stays_bounded_with_a_line_as_long_as_the_limit_and_ones_that_are_longer() {
    let scene = Scene::new();
    let collector = scene.collector(Settings::default());
    let log = scene.log("app.log");
    for letter in [b'a', b'b', b'c'] {
        let mut line = vec![letter; 30 << 20];
        line.push(b'\n');
        Pen::open(&log, 0).write_bytes(&line);
    }
    let destination = scene.destination("central", collector.port()).syslog("maxMessageBytes", "2Mi");
    let sidecar = scene.sidecar(vec![forwarded("app", &log, "central")], vec![destination]);
    eventually("three lines", || collector.message_count() == 3);
    for (message, letter) in collector.messages().iter().zip([b'a', b'b', b'c']) {
        // The default limit for a line is 1 MiB; the rest is only counted.
        let body = fsupport::rfc5424::parse(&message.bytes).body;
        let kept = body.iter().filter(|byte| **byte == letter).count();
        assert!((1_000_000..=(1 << 20) + 1).contains(&kept), "{kept}");
    }
    let peak = sidecar.usage().peak_resident_bytes;
    assert!(peak < 24 * MEBIBYTE, "{peak}");
}

#[test]
fn three_hundred_files_cost_one_descriptor_each_and_no_memory_to_speak_of() {
    let scene = Scene::new();
    let collector = scene.collector(Settings::default());
    let base = scene.directory("logs");
    let mut pens: Vec<Pen> = (0..300).map(|index| Pen::open(&base.join(format!("{index}.log")), 0)).collect();
    let sidecar = scene.sidecar(
        vec![forwarded("app", &base.join("*.log"), "central")],
        vec![scene.destination("central", collector.port())],
    );
    for round in 1..=3 {
        pens.iter_mut().for_each(|pen| pen.write(10));
        eventually("all lines", || collector.message_count() >= round * 3000);
        sidecar.wait_until_confirmed();
        let open = sidecar.open_files();
        assert!((300..340).contains(&open), "{open} descriptors");
    }
    assert_eq!(collector.message_count(), 9000);
    let peak = sidecar.usage().peak_resident_bytes;
    assert!(peak < 20 * MEBIBYTE, "{peak}");
    // Files that are gone cost nothing any more.
    for index in 0..250 {
        fs::remove_file(base.join(format!("{index}.log"))).unwrap();
    }
    drop(pens);
    eventually("descriptors to be closed", || sidecar.open_files() < 100);
}

#[test]
fn archives_that_wait_for_a_receiver_cost_no_descriptors() {
    let scene = Scene::new();
    let mut collector = scene.collector(Settings::default());
    collector.refuse();
    let log = scene.log("app.log");
    let mut settings = fsupport::rotated("app", &log, "central", "5000");
    settings["rotate"]["archive"] = json!({ "compression": "None" });
    let sidecar = scene.sidecar(vec![settings], vec![scene.destination("central", collector.port())]);
    let mut written = 0;
    let mut rotate = |times: f64| {
        let rotated = || sidecar.metric("rotations_total", &[("result", "ok")]);
        let goal = rotated() + times;
        while rotated() < goal {
            written = Pen::append_once(&log, 0, written, 60);
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        written
    };
    rotate(5.0);
    let early = sidecar.open_files();
    let written = rotate(40.0);
    eventually("the files to be closed", || sidecar.open_files() <= early + 3);
    collector.accept_again().unwrap();
    assert_exact(&collector, &[("w00", written)]);
}
