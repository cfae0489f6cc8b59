//! What is a log and what is not, and what becomes of archives: nothing foreign is followed or deleted, and nothing
//! goes before it may.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, symlink};
use std::time::Duration;

use capstan_sidecar::stream::ledger::Ledger;
use serde_json::json;
use support::recount::{Receiver, assert_exact};
use support::sidecar::{Sidecar, edit_ledger};
use support::{Scene, append, config, forwarded, lines, names};

/// Appends these lines, waits until they are known and rotates.
fn write_and_rotate(scene: &Scene, sidecar: &Sidecar, from: u64, to: u64) {
    let text = lines(from, to);
    append(&scene.log(), &text);
    sidecar.wait_for_bytes(&scene.log(), text.len() as u64);
    let said = sidecar.command(&["rotate", "--force"]);
    assert!(said.code == 0 && said.out.contains("rotated, and seen to be reopened"), "{said:?}");
}

/// Deletes the log and makes it again with the same beginning, until it has the same inode number.
fn recreate(scene: &Scene, text: &str) {
    let before = fs::metadata(scene.log()).unwrap().ino();
    for _ in 0..100 {
        fs::remove_file(scene.log()).unwrap();
        fs::write(scene.log(), text).unwrap();
        if fs::metadata(scene.log()).unwrap().ino() == before {
            return;
        }
    }
    // Some file systems never use a number twice; then there is nothing to mistake.
}

#[test]
fn a_file_made_anew_with_the_same_inode_and_the_same_beginning_is_read_from_its_start() {
    let (scene, receiver) = (Scene::new(), Receiver::start());
    let header = format!("# {}\n", "the same first kilobyte ".repeat(60));
    let content = |from, to| format!("{header}{}", lines(from, to));
    fs::write(scene.log(), content(0, 50)).unwrap();
    let mut sidecar = Sidecar::start(&scene, &forwarded(&[scene.quiet()], receiver.port()));
    let received = |number| {
        scene.wait("the lines", || receiver.tally().compare_writers(1, number).is_complete());
        let result = receiver.tally().compare_writers(1, number);
        assert!(result.is_exact(), "{result}");
    };
    received(50);
    sidecar.stop();
    recreate(&scene, &content(50, 120));
    sidecar.restart();
    received(120);
    // While it runs it holds the old file, so the number stays taken.
    recreate(&scene, &content(120, 130));
    received(130);
    assert_eq!(receiver.tally().other_lines, 3, "the first line of each file");
}

#[test]
fn what_is_no_plain_file_with_one_name_is_refused_and_said() {
    let scene = Scene::new();
    let logs = scene.logs();
    append(&scene.path("secret"), &lines(0, 2_000));
    append(&logs.join("twice.log"), &lines(0, 2_000));
    fs::hard_link(logs.join("twice.log"), scene.path("again")).unwrap();
    symlink(scene.path("secret"), logs.join("link.log")).unwrap();
    let fifo = std::process::Command::new("mkfifo").arg(logs.join("fifo.log")).status().unwrap();
    assert!(fifo.success());
    fs::create_dir(logs.join("directory.log")).unwrap();
    append(&logs.join("plain.log"), &lines(0, 10));
    let mut log = scene.rotated();
    let include = |name: &str| logs.join(name);
    log["files"]["include"] = json!([include("*.log"), include("directory.log")]);
    let sidecar = Sidecar::start(&scene, &config(&[log]));
    let stream = sidecar.wait_for_stream("the plain file, alone", |_| true);
    assert!(stream.path.ends_with("plain.log"), "{stream:?}");
    for (name, reason) in [
        ("twice.log", "is a file with more than one name"),
        ("link.log", "is a symbolic link, which is never followed"),
        ("fifo.log", "is a FIFO, socket or device, no file"),
        ("directory.log", "is a directory, no file"),
    ] {
        let problem = sidecar.wait_for_problem(name);
        assert!(problem.contains("refused") && problem.contains(reason), "{problem}");
        assert!(sidecar.output().contains(&format!("refused: {reason}")));
    }
    sidecar.counts("refused_files_total", &[], 4.0);
    assert_eq!(sidecar.command(&["rotate"]).out.matches("rotated").count(), 0);
    // Put right, they are logs like any other.
    fs::remove_file(scene.path("again")).unwrap();
    fs::remove_file(logs.join("link.log")).unwrap();
    sidecar.wait_for("twice.log to be taken and link.log to be forgotten", |status| {
        status.streams.iter().any(|stream| stream.path.ends_with("twice.log"))
            && !status.problems.iter().any(|problem| problem.contains("twice") || problem.contains("link"))
    });
}

#[test]
fn a_log_that_becomes_a_symlink_is_not_followed_and_what_it_points_to_not_touched() {
    let scene = Scene::new();
    append(&scene.log(), &lines(0, 10));
    let sidecar = Sidecar::start(&scene, &config(&[scene.quiet()]));
    sidecar.wait_for_stream("the file to be known", |stream| stream.live_bytes > 0);
    append(&scene.path("secret"), &lines(0, 5_000));
    fs::remove_file(scene.log()).unwrap();
    symlink(scene.path("secret"), scene.log()).unwrap();
    sidecar.wait_for_problem("is a symbolic link, which is never followed");
    let said = sidecar.command(&["rotate", "--force"]);
    assert!(!said.out.contains("seen to be reopened"), "{said:?}");
    assert!(fs::symlink_metadata(scene.log()).unwrap().is_symlink());
    assert_eq!(fs::metadata(scene.path("secret")).unwrap().len(), lines(0, 5_000).len() as u64);
    assert_eq!(names(&scene.logs()), [".capstan", "app.log"]);
}

#[test]
fn archives_are_never_taken_for_logs_whatever_the_pattern() {
    for (pattern, directory) in [("*", None), ("**/*", Some("archive")), ("**/*", None), ("*", Some("a/b"))] {
        let (scene, receiver) = (Scene::new(), Receiver::start());
        let mut log = scene.quiet();
        log["files"]["include"] = json!([scene.logs().join(pattern)]);
        log["rotate"]["archive"] = json!({ "directory": directory });
        let mut sidecar = Sidecar::start(&scene, &forwarded(&[log], receiver.port()));
        for round in 0..4 {
            write_and_rotate(&scene, &sidecar, round * 10, round * 10 + 10);
        }
        let archives = directory.map_or(scene.logs(), |name| scene.logs().join(name));
        let compressed = || names(&archives).iter().filter(|name| name.ends_with(".gz")).count() == 4;
        scene.wait("archives to be compressed", compressed);
        receiver.wait_for_exactly(1, 40);
        sidecar.restart_and_settle();
        assert_eq!(sidecar.status().streams.len(), 1, "{:?}", sidecar.status());
        receiver.wait_for_exactly(1, 40);
        assert_exact(&scene.logs(), 1, 40);
    }
}

#[test]
fn a_count_keeps_the_newest_archives() {
    let scene = Scene::new();
    let mut log = scene.quiet();
    log["rotate"]["retention"] = json!({ "count": 3 });
    let sidecar = Sidecar::start(&scene, &config(&[log]));
    for round in 0..6 {
        write_and_rotate(&scene, &sidecar, round * 10, round * 10 + 10);
    }
    let left = scene.wait_for_compressed(3);
    let numbers: Vec<&str> = left.iter().map(|name| name.split('.').nth(3).unwrap()).collect();
    assert_eq!(numbers, ["000004", "000005", "000006"]);
    sidecar.counts("deletions_total", &[("reason", "count")], 3.0);
}

#[test]
fn a_total_size_deletes_the_oldest_first() {
    let scene = Scene::new();
    let mut log = scene.quiet();
    log["rotate"]["archive"]["compression"] = json!("None");
    let archive = lines(0, 100).len();
    log["rotate"]["retention"] = json!({ "totalSize": archive * 5 / 2 });
    let sidecar = Sidecar::start(&scene, &config(&[log]));
    for round in 0..5 {
        write_and_rotate(&scene, &sidecar, round * 100, round * 100 + 100);
    }
    scene.wait("deletions", || scene.archives().len() == 2);
    assert!(scene.archives()[0].ends_with(".000004"), "{:?}", scene.archives());
    sidecar.counts("deletions_total", &[("reason", "total_size")], 3.0);
}

#[test]
fn an_age_deletes_what_is_older_and_a_file_of_somebody_else_stays() {
    let scene = Scene::new();
    let mut log = scene.quiet();
    log["rotate"]["retention"] = json!({ "age": "1h" });
    let mut sidecar = Sidecar::start(&scene, &config(&[log]));
    for round in 0..3 {
        write_and_rotate(&scene, &sidecar, round * 10, round * 10 + 10);
    }
    scene.wait_for_compressed(3);
    sidecar.stop();
    let foreign = ["app.log.1.gz", "app.log.20200101T000000Z.000001.gz", "notes.txt"];
    foreign.iter().for_each(|name| append(&scene.archive().join(name), "mine\n"));
    // Two of them were made more than an hour ago, before the machine was last booted.
    edit_ledger(&scene.logs(), |ledger: &mut Ledger| {
        let stream = ledger.streams.get_mut("app.log").unwrap();
        for generation in stream.generations.iter_mut().take(2) {
            generation.retired_at = generation.retired_at.map(|at| at - 3_700_000_000);
            generation.retired_boot = None;
        }
    });
    sidecar.restart();
    scene.wait("deletions", || scene.archives().len() == 1 + foreign.len());
    assert!(scene.archives().iter().any(|name| name.ends_with(".000003.gz")), "{:?}", scene.archives());
    sidecar.counts("deletions_total", &[("reason", "age")], 2.0);
}

#[test]
fn archives_that_no_receiver_has_confirmed_are_kept() {
    let (scene, mut receiver) = (Scene::new(), Receiver::away());
    let mut log = scene.quiet();
    log["rotate"]["retention"] = json!({ "count": 1 });
    let sidecar = Sidecar::start(&scene, &forwarded(&[log], receiver.port()));
    for round in 0..5 {
        write_and_rotate(&scene, &sidecar, round * 10, round * 10 + 10);
    }
    scene.wait_for_compressed(5);
    assert_eq!(sidecar.metric("deletions_total", &[]), 0.0);
    let problem = sidecar.wait_for_problem("destination receiver");
    assert!(problem.contains("refused"), "{problem}");
    receiver.come();
    receiver.wait_for_exactly(1, 50);
    let left = scene.wait_for_compressed(1);
    assert!(left[0].ends_with(".000005.gz"), "{left:?}");
    assert_eq!(sidecar.metric("lost_bytes_total", &[]), 0.0);
    assert_eq!(sidecar.metric("dropped_lines_total", &[]), 0.0);
}

#[test]
fn archives_that_are_deleted_unconfirmed_are_counted_and_said() {
    let (scene, mut receiver) = (Scene::new(), Receiver::away());
    let mut log = scene.quiet();
    log["rotate"]["retention"] = json!({ "count": 1, "whenUnconfirmed": "Delete" });
    let sidecar = Sidecar::start(&scene, &forwarded(&[log], receiver.port()));
    for round in 0..5 {
        write_and_rotate(&scene, &sidecar, round * 10, round * 10 + 10);
    }
    scene.wait_for_compressed(1);
    sidecar.counts("deletions_total", &[("reason", "count")], 4.0);
    let lost = lines(0, 40).len() as f64;
    sidecar.counts("lost_bytes_total", &[("destination", "receiver")], lost);
    assert!(sidecar.output().contains("whenUnconfirmed is Delete"));
    receiver.come();
    scene.wait("the rest", || receiver.tally().lines == 10);
}

#[test]
fn an_archive_that_somebody_opened_to_write_is_neither_compressed_nor_deleted() {
    let (scene, receiver) = (Scene::new(), Receiver::start());
    let mut log = scene.quiet();
    log["rotate"]["archive"]["compression"] = json!("None");
    let mut sidecar = Sidecar::start(&scene, &forwarded(&[log.clone()], receiver.port()));
    write_and_rotate(&scene, &sidecar, 0, 10);
    let archive = scene.archive().join(&scene.archives()[0]);
    receiver.wait_for_exactly(1, 10);
    let holder = File::options().append(true).open(&archive).unwrap();
    // First beyond a count of 1 …
    log["rotate"]["retention"] = json!({ "count": 1 });
    sidecar.stop();
    sidecar.restart_with(&forwarded(&[log.clone()], receiver.port()));
    write_and_rotate(&scene, &sidecar, 10, 20);
    scene.wait("a try to delete it", || {
        sidecar.output().contains("archive is in use or was replaced; not deleted")
    });
    assert!(archive.exists());
    // … then to be compressed. What is written to it all the same is read and forwarded.
    log["rotate"]["archive"]["compression"] = json!("Gzip");
    log["rotate"]["retention"] = json!({ "count": 10 });
    // In order, so that nothing is sent twice.
    sidecar.stop();
    sidecar.restart_with(&forwarded(&[log], receiver.port()));
    sidecar.wait_for_stream("it to be known as open", |stream| !stream.held.is_empty());
    assert!(archive.exists());
    append(&archive, &lines(20, 25));
    receiver.wait_for_exactly(1, 25);
    assert!(
        scene
            .archives()
            .iter()
            .all(|name| !archive.ends_with(name.trim_end_matches(".gz")) || !name.contains("gz"))
    );
    drop(holder);
    scene.wait_for_compressed(2);
    assert_exact(&scene.logs(), 1, 25);
}

#[test]
fn a_new_file_has_the_mode_and_owner_of_the_old_one_or_the_mode_that_is_asked_for() {
    use std::os::unix::fs::PermissionsExt;
    for (asked, expected) in [(None, 0o624), (Some("0640"), 0o640)] {
        let scene = Scene::new();
        let mut log = scene.quiet();
        log["rotate"]["mode"] = json!(asked);
        append(&scene.log(), "");
        fs::set_permissions(scene.log(), fs::Permissions::from_mode(0o624)).unwrap();
        let before = fs::metadata(scene.log()).unwrap();
        let sidecar = Sidecar::start(&scene, &config(&[log]));
        write_and_rotate(&scene, &sidecar, 0, 10);
        let after = fs::metadata(scene.log()).unwrap();
        assert_ne!(before.ino(), after.ino());
        assert_eq!(after.mode() & 0o7777, expected);
        assert_eq!((before.uid(), before.gid()), (after.uid(), after.gid()));
    }
}

#[test]
fn a_pattern_that_fits_nothing_yet_is_no_error_and_leaves_the_directory_empty() {
    let scene = Scene::new();
    let sidecar = Sidecar::start(&scene, &config(&[scene.quiet()]));
    sidecar.wait_for_problem("no file matches yet");
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(names(&scene.logs()), [] as [String; 0], "some programs refuse a directory that is not empty");
    append(&scene.log(), &lines(0, 10));
    sidecar.wait_for("the file", |status| status.streams.len() == 1 && status.problems.is_empty());
}
