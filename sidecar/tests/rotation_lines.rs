//! Numbered lines under load: not one is lost, doubled or torn by rotation, and all are received.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::time::Duration;

use capstan_peers::writer::Settings;
use capstan_sidecar::status::StreamStatus;
use serde_json::json;
use support::recount::{Receiver, assert_exact};
use support::sidecar::Sidecar;
use support::{LONG, Scene, forwarded};

/// Lines of all writers together: 15 s at 20,000 per second, 30 MB, up to 228 rotations.
const LINES: u64 = 300_000;
const ROTATIONS: usize = 50;

/// Waits until nothing is due any more and every rotation has come to its end. Returns how many there were.
fn settled(scene: &Scene, sidecar: &Sidecar, limit: u64) -> usize {
    sidecar.wait_for_stream("the last rotation to end", |stream| {
        stream.live_bytes < limit && stream.held.is_empty() && stream.archives + 1 == stream.generation
    });
    let rotations = sidecar.metric("rotations_total", &[("result", "ok")]) as usize;
    scene.wait_for_compressed(rotations);
    rotations
}

fn rotate_under_load(workers: usize) {
    let (scene, receiver) = (Scene::new(), Receiver::start());
    let mut log = scene.rotated();
    log["rotate"]["when"]["size"] = json!("128Ki");
    let sidecar = Sidecar::start(&scene, &forwarded(&[log], receiver.port()));
    let count = LINES / workers as u64;
    let mut writer = scene.start(&Settings {
        workers,
        rate: 20_000 / workers as u64,
        width: 100,
        ..Settings::new(&scene.log(), count)
    });
    writer.finish(LONG).unwrap();
    receiver.wait_for_exactly(workers, count);
    let rotations = settled(&scene, &sidecar, 128 * 1024);
    assert!(rotations >= ROTATIONS, "only {rotations} rotations");
    assert_exact(&scene.logs(), workers, count);
    assert_eq!(sidecar.metric("reopen_failures_total", &[]), 0.0);
}

#[test]
fn one_writer_loses_no_line_over_many_rotations() {
    rotate_under_load(1);
}

#[test]
fn four_writers_of_one_file_lose_no_line_over_many_rotations() {
    rotate_under_load(4);
}

#[test]
fn an_app_that_reopens_after_five_seconds_is_waited_for() {
    let (scene, receiver) = (Scene::new(), Receiver::start());
    let mut log = scene.rotated();
    log["rotate"]["when"]["size"] = json!("100k");
    let sidecar = Sidecar::start(&scene, &forwarded(&[log], receiver.port()));
    let count = 7_000;
    let mut writer = scene.start(&Settings {
        rate: 1_000,
        width: 100,
        reopen_after: Duration::from_secs(5),
        ..Settings::new(&scene.log(), count)
    });
    let held = |stream: &StreamStatus| !stream.held.is_empty();
    let before = sidecar.wait_for_stream("the rotation", held);
    let archives = scene.archives();
    // Only if it is held still was that a look at a time when the app had not reopened.
    if sidecar.status().streams[0].held.len() == before.held.len() {
        assert!(
            archives.len() == 1 && !archives[0].contains(".gz"),
            "compressed while written: {archives:?}"
        );
    }
    writer.finish(LONG).unwrap();
    receiver.wait_for_exactly(1, count);
    settled(&scene, &sidecar, 100_000);
    assert_exact(&scene.logs(), 1, count);
}
