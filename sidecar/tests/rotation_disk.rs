//! Disks that are full or read-only, state that is torn, a volume that another sidecar has: what can go on goes on,
//! and nothing is lost when the trouble is over.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod support;

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use capstan_peers::writer::Settings;
use serde_json::json;
use support::namespace::{make_read_only, mount_tmpfs, own_mounts, unmount};
use support::recount::{Receiver, assert_exact};
use support::sidecar::{Sidecar, command, write_config};
use support::{LONG, Scene, append, forwarded, lines, names};

/// Takes all the space there is.
fn fill(path: &Path) {
    let mut file = File::create(path).unwrap();
    let block = vec![1; 64 * 1024];
    let error = (0..1_000_000).find_map(|_| file.write_all(&block).err()).expect("the disk is endless");
    assert_eq!(error.kind(), ErrorKind::StorageFull);
    // Also what is left behind the last whole block.
    while file.write(&[1; 4096]).is_ok() {}
}

#[test]
fn a_disk_that_is_full_for_a_while_costs_no_line() {
    if !own_mounts("a_disk_that_is_full_for_a_while_costs_no_line") {
        return;
    }
    let (scene, receiver) = (Scene::new(), Receiver::start());
    mount_tmpfs(&scene.logs(), 4096);
    let count = 12_000;
    let mut log = scene.rotated();
    log["rotate"]["reopen"]["timeout"] = json!("5s");
    let sidecar = Sidecar::start(&scene, &forwarded(&[log], receiver.port()));
    // A width that divides a page: no line is written in part.
    let mut writer = scene.start(&Settings { rate: 2_000, width: 128, ..Settings::new(&scene.log(), count) });
    sidecar.wait_for_stream("rotations", |stream| stream.generation > 2);
    let filler = scene.logs().join("filler");
    fill(&filler);
    // The app cannot write. Nothing that the sidecar makes of it may cost what is there, and it goes on.
    let before = sidecar.status().streams[0].generation;
    // A rotation that is under way comes to its end first.
    scene.wait("a rotation, or the reason why not", || {
        let said = sidecar.command(&["rotate", "--force"]);
        said.code == 1 || sidecar.status().streams[0].generation > before
    });
    scene.wait("the sidecar to see it", || sidecar.output().contains("No space left on device"));
    assert_eq!(sidecar.get("/healthz"), "ok\n");
    let tries = sidecar.output().matches("archive stays plain for now").count();
    assert!(tries < 50, "tried in a loop: {tries} times");
    fs::remove_file(filler).unwrap();
    writer.finish(LONG).unwrap();
    receiver.wait_for_exactly(1, count);
    sidecar.wait_until_left();
    let archives = scene.archives().iter().filter(|name| !name.ends_with(".part")).count();
    scene.wait_for_compressed(archives);
    assert_exact(&scene.logs(), 1, count);
}

#[test]
fn a_disk_that_is_full_at_the_start_keeps_nothing_from_being_forwarded() {
    if !own_mounts("a_disk_that_is_full_at_the_start_keeps_nothing_from_being_forwarded") {
        return;
    }
    let (scene, receiver) = (Scene::new(), Receiver::start());
    mount_tmpfs(&scene.logs(), 4096);
    append(&scene.log(), &lines(0, 2_000));
    let filler = scene.logs().join("filler");
    fill(&filler);
    let sidecar = Sidecar::start(&scene, &forwarded(&[scene.rotated()], receiver.port()));
    receiver.wait_for_exactly(1, 2_000);
    sidecar
        .wait_for_problem("no place for state; positions will not survive a restart, and nothing is rotated");
    assert_eq!(sidecar.status().streams[0].generation, 1);
    fs::remove_file(filler).unwrap();
    scene.wait_for_compressed(1);
    sidecar.wait_for("the problem to be over", |status| status.problems.is_empty());
    assert_eq!(sidecar.command(&["rotate", "--dry-run"]).code, 0, "there is a control socket now");
    receiver.wait_for_exactly(1, 2_000);
    assert_exact(&scene.logs(), 1, 2_000);
}

#[test]
fn a_read_only_state_directory_stops_rotation_and_not_forwarding_until_it_is_writable() {
    if !own_mounts("a_read_only_state_directory_stops_rotation_and_not_forwarding_until_it_is_writable") {
        return;
    }
    let (scene, receiver) = (Scene::new(), Receiver::start());
    let state = scene.logs().join(".capstan");
    fs::create_dir(&state).unwrap();
    make_read_only(&state);
    append(&scene.log(), &lines(0, 2_000));
    let sidecar = Sidecar::start(&scene, &forwarded(&[scene.rotated()], receiver.port()));
    receiver.wait_for_exactly(1, 2_000);
    sidecar
        .wait_for_problem("no place for state; positions will not survive a restart, and nothing is rotated");
    let said = sidecar.command(&["rotate", "--force"]);
    assert!(said.code == 1 && said.out.contains("no place for state, so nothing is rotated"), "{said:?}");
    assert_eq!(names(&scene.logs()), [".capstan", "app.log"]);
    unmount(&state);
    scene.wait_for_compressed(1);
    sidecar.wait_for("the problem to be over", |status| status.problems.is_empty());
    receiver.wait_for_exactly(1, 2_000);
}

/// Writes over the middle of both slots of the state, or of one.
fn tear(scene: &Scene, slots: &[u64]) {
    let file = File::options().write(true).open(scene.logs().join(".capstan/state")).unwrap();
    let slot = file.metadata().unwrap().len() / 2;
    slots.iter().for_each(|number| file.write_all_at(&[0xAA; 64], number * slot + 40).unwrap());
    file.sync_all().unwrap();
}

/// A sidecar that has rotated once, read everything, and was stopped.
fn rotated_once(scene: &Scene, receiver: &Receiver) -> Sidecar {
    append(&scene.log(), &lines(0, 100));
    let mut sidecar = Sidecar::start(scene, &forwarded(&[scene.quiet()], receiver.port()));
    sidecar.wait_for_bytes(&scene.log(), lines(0, 100).len() as u64);
    assert_eq!(sidecar.command(&["rotate", "--force"]).code, 0);
    scene.wait_for_compressed(1);
    append(&scene.log(), &lines(100, 150));
    receiver.wait_for_exactly(1, 150);
    sidecar.stop();
    sidecar
}

#[test]
fn either_slot_of_the_state_may_be_torn_without_a_line_missing() {
    for slot in [0, 1] {
        let (scene, receiver) = (Scene::new(), Receiver::start());
        let mut sidecar = rotated_once(&scene, &receiver);
        tear(&scene, &[slot]);
        append(&scene.log(), &lines(150, 200));
        sidecar.restart();
        receiver.wait_for_all(1, 200);
        sidecar.wait_for_stream("the state to be whole", |stream| stream.generation == 2);
        assert!(!sidecar.output().contains("state was torn"));
        assert_eq!(sidecar.command(&["rotate", "--force"]).code, 0);
        scene.wait_for_compressed(2);
        assert_exact(&scene.logs(), 1, 200);
    }
}

#[test]
fn a_state_that_is_torn_altogether_is_said_and_everything_read_once_more() {
    let (scene, receiver) = (Scene::new(), Receiver::start());
    let mut sidecar = rotated_once(&scene, &receiver);
    let before = scene.archives();
    tear(&scene, &[0, 1]);
    append(&scene.log(), &lines(150, 200));
    sidecar.restart();
    receiver.wait_for_all(1, 200);
    assert!(sidecar.output().contains("state was torn: positions are lost, files are read from their start"));
    assert!(scene.logs().join(".capstan/state.torn").exists(), "a copy for somebody to look at");
    // Numbers begin anew; names do not, so nothing is written over.
    assert_eq!(sidecar.command(&["rotate", "--force"]).code, 0);
    let after = scene.wait_for_compressed(2);
    assert!(after.contains(&before[0]), "{before:?} {after:?}");
    assert_exact(&scene.logs(), 1, 200);
    sidecar.restart_and_settle();
    assert_eq!(sidecar.status().streams.len(), 1);
}

#[test]
fn a_state_of_a_later_version_is_left_alone_and_said() {
    use capstan_sidecar::stream::ledger::Ledger;
    use capstan_sidecar::stream::store::Store;
    let (scene, receiver) = (Scene::new(), Receiver::start());
    let mut sidecar = rotated_once(&scene, &receiver);
    let mut opened = Store::open(&scene.logs().join(".capstan/state")).unwrap();
    let mut ledger = Ledger::decode(opened.document.as_ref().unwrap()).unwrap();
    ledger.version = 99;
    opened.store.write(&ledger.encode().unwrap()).unwrap();
    opened.store.sync().unwrap();
    drop(opened);
    sidecar.restart();
    sidecar.wait_for_problem("state has version 99, this sidecar knows version 1");
    assert_ne!(sidecar.command(&["rotate", "--force"]).code, 0);
    assert_eq!(scene.archives().len(), 1);
}

#[test]
fn a_second_sidecar_does_nothing_says_so_and_takes_over_when_the_first_is_gone() {
    let (scene, receiver) = (Scene::new(), Receiver::start());
    let config = forwarded(&[scene.rotated()], receiver.port());
    append(&scene.log(), &lines(0, 100));
    let mut first = Sidecar::start(&scene, &config);
    receiver.wait_for_exactly(1, 100);
    let second = Sidecar::start_named(&scene, "second", &config);
    let problem = second.wait_for_problem("SharedVolume");
    assert!(problem.contains("it is neither rotated nor forwarded from here"), "{problem}");
    append(&scene.log(), &lines(100, 2_000));
    receiver.wait_for_exactly(1, 2_000);
    scene.wait_for_compressed(1);
    assert!(second.status().streams.is_empty());
    assert_eq!(second.metric("sent_lines_total", &[]) + second.metric("rotations_total", &[]), 0.0);
    first.stop();
    append(&scene.log(), &lines(2_000, 4_000));
    receiver.wait_for_exactly(1, 4_000);
    scene.wait_for_compressed(2);
    second.wait_for("the problem to be over", |status| status.problems.is_empty());
    assert_exact(&scene.logs(), 1, 4_000);
}

#[test]
fn a_command_beside_a_held_volume_without_a_control_socket_fails_and_says_why() {
    let (scene, receiver) = (Scene::new(), Receiver::start());
    append(&scene.log(), &lines(0, 100));
    let config = forwarded(&[scene.quiet()], receiver.port());
    let _sidecar = Sidecar::start(&scene, &config);
    receiver.wait_for_exactly(1, 100);
    fs::remove_file(scene.logs().join(".capstan/control.sock")).unwrap();
    let said = command(&write_config(&scene, "other", &config), &["rotate", "--force"]);
    assert!(said.code == 1 && said.out.contains("another sidecar holds the lock (SharedVolume)"), "{said:?}");
    let mut unsupported = config.clone();
    unsupported["logs"][0]["rotate"]["when"] = json!({});
    assert_eq!(command(&write_config(&scene, "bad", &unsupported), &["rotate"]).code, 1);
}
