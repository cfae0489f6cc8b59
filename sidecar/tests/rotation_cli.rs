//! The commands `rotate`, `status` and `check`, with and without a running sidecar; rotation by time; several logs of
//! one target.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::fs;

use capstan_peers::writer::Settings;
use capstan_sidecar::stream::ledger::Ledger;
use serde_json::{Value, json};
use support::recount::{Receiver, assert_exact};
use support::sidecar::{Said, Sidecar, command, edit_ledger, write_config};
use support::{LONG, Scene, append, config, forwarded, lines, names};

/// Logs `one` and `two`, rotated on request or at 64 KiB, whose app notices by itself.
fn two_logs(scene: &Scene) -> Vec<Value> {
    let log = |name: &str| {
        let mut log = scene.rotated();
        log["name"] = json!(name);
        log["files"]["include"] = json!([scene.logs().join(format!("{name}.log"))]);
        log["rotate"]["reopen"] = json!({ "none": {}, "timeout": "1h" });
        log
    };
    vec![log("one"), log("two")]
}

fn outcome<'a>(said: &'a Said, file: &str) -> &'a str {
    let line = said.out.lines().find(|line| line.contains(file));
    line.unwrap_or_else(|| panic!("nothing is said of {file}: {said:?}")).split_once(": ").unwrap().1
}

/// How many archives a log has. For a moment one may be there both plain and compressed.
fn archived(scene: &Scene, log: &str) -> usize {
    let archives = scene.archives();
    let plain = |name: &String| name.split(".gz").next().unwrap().to_owned();
    let ours = archives.iter().filter(|name| name.starts_with(log));
    ours.map(plain).collect::<std::collections::BTreeSet<_>>().len()
}

fn rotate_asks(running: bool) {
    let scene = Scene::new();
    let file = write_config(&scene, "sidecar", &config(&two_logs(&scene)));
    append(&scene.logs().join("one.log"), &lines(0, 10));
    append(&scene.logs().join("two.log"), &lines(10, 20));
    let sidecar = running.then(|| Sidecar::start(&scene, &config(&two_logs(&scene))));
    if let Some(sidecar) = &sidecar {
        sidecar.wait_for("both to be known", |status| {
            status.streams.len() == 2 && status.streams.iter().all(|stream| stream.live_bytes > 0)
        });
    }
    let rotate = |arguments: &[&str]| command(&file, &[&["rotate"], arguments].concat());

    let said = rotate(&[]);
    assert_eq!(
        (said.code, outcome(&said, "one.log"), outcome(&said, "two.log")),
        (0, "not due (650 bytes)", "not due (650 bytes)")
    );
    let said = rotate(&["--dry-run"]);
    assert_eq!((said.code, outcome(&said, "one.log")), (0, "not due (650 bytes)"));
    let said = rotate(&["--dry-run", "--force"]);
    assert_eq!((said.code, outcome(&said, "one.log")), (0, "would be rotated (650 bytes)"));
    assert_eq!(scene.archives(), [] as [String; 0], "so far nothing was to be done");

    let said = rotate(&["--force", "--log", "one"]);
    assert_eq!((said.code, said.out.lines().count()), (0, 1), "{said:?}");
    assert_eq!(outcome(&said, "one.log"), "rotated, and seen to be reopened");
    assert_eq!((archived(&scene, "one"), archived(&scene, "two")), (1, 0));
    let said = rotate(&["--force", "--log", "test/two"]);
    assert_eq!((said.code, outcome(&said, "two.log")), (0, "rotated, and seen to be reopened"));
    let said = rotate(&["--log", "three"]);
    assert_eq!(said.code, 1);
    assert!(
        said.err.contains("there is no log 'three' in this configuration; there is one, two"),
        "{said:?}"
    );
    scene.wait_for_compressed(2);
    assert_exact(&scene.logs(), 1, 20);
}

#[test]
fn rotate_does_what_it_is_asked_by_way_of_the_running_sidecar() {
    rotate_asks(true);
}

#[test]
fn rotate_does_what_it_is_asked_where_no_sidecar_runs() {
    rotate_asks(false);
}

#[test]
fn rotate_of_one_log_leaves_another_that_is_due_alone() {
    let scene = Scene::new();
    let file = write_config(&scene, "sidecar", &config(&two_logs(&scene)));
    append(&scene.logs().join("one.log"), &lines(0, 2_000));
    append(&scene.logs().join("two.log"), &lines(2_000, 4_000));
    let said = command(&file, &["rotate", "--log", "one"]);
    assert_eq!((said.code, outcome(&said, "one.log")), (0, "rotated, and seen to be reopened"));
    assert_eq!((archived(&scene, "one"), archived(&scene, "two")), (1, 0));
    let said = command(&file, &["rotate"]);
    assert_eq!(said.code, 0);
    assert!(outcome(&said, "one.log").starts_with("not due"));
    assert_eq!((archived(&scene, "one"), archived(&scene, "two")), (1, 1));
    assert!(scene.archives().iter().all(|name| name.ends_with(".gz")), "compressed before it ends");
    assert_exact(&scene.logs(), 1, 4_000);
}

#[test]
fn rotate_without_a_sidecar_tells_the_app_and_fails_if_that_does_not_reopen() {
    let scene = Scene::new();
    let mut log = scene.rotated();
    log["rotate"]["reopen"]["timeout"] = json!("2s");
    let file = write_config(&scene, "sidecar", &config(&[log]));
    let settings = Settings { stay: true, rate: 0, width: 100, ..Settings::new(&scene.log(), 2_000) };
    let mut writer = scene.start(&settings);
    scene.wait("the lines", || fs::metadata(scene.log()).is_ok_and(|file| file.len() == 200_000));
    let said = command(&file, &["rotate"]);
    assert_eq!((said.code, outcome(&said, "app.log")), (0, "rotated, and seen to be reopened"));
    writer.terminate().unwrap();
    let _holder = fs::File::options().append(true).open(scene.log()).unwrap();
    append(&scene.log(), &lines(2_000, 2_010));
    let said = command(&file, &["rotate", "--force"]);
    assert_eq!(said.code, 1);
    assert!(outcome(&said, "app.log").contains("nobody was seen to reopen within 2 s"), "{said:?}");
    assert!(outcome(&said, "app.log").contains("the names were put back"), "{said:?}");
    assert_eq!(scene.archives().len(), 1);
    assert_exact(&scene.logs(), 1, 2_010);
}

#[test]
fn a_schedule_rotates_what_is_overdue_at_once_and_only_once() {
    let scene = Scene::new();
    let mut log = scene.quiet();
    log["rotate"]["when"] = json!({ "schedule": "@yearly" });
    let mut sidecar = Sidecar::start(&scene, &config(&[log]));
    append(&scene.log(), &lines(0, 10));
    sidecar.wait_for_stream("the file", |stream| stream.live_bytes > 0);
    sidecar.stop();
    assert_eq!(scene.archives().len(), 0);
    edit_ledger(&scene.logs(), |ledger: &mut Ledger| {
        // Three years: a time that was missed several times is made up for once.
        ledger.streams.get_mut("app.log").unwrap().rotated_at -= 3 * 366 * 86_400 * 1_000_000;
    });
    sidecar.restart();
    scene.wait_for_compressed(1);
    append(&scene.log(), &lines(10, 20));
    sidecar.wait_for_stream("more lines", |stream| stream.live_bytes > 0 && stream.generation == 2);
    sidecar.restart_and_settle();
    assert_eq!(scene.archives().len(), 1);
    assert!(sidecar.output().contains("Schedule"));
}

#[test]
fn a_schedule_leaves_a_small_file_alone_and_takes_an_empty_one_only_if_asked() {
    for (when, archives) in [
        (json!({ "schedule": "@yearly", "minSize": "1Mi" }), 0),
        (json!({ "schedule": "@yearly", "ifEmpty": false }), 0),
        (json!({ "schedule": "@yearly", "ifEmpty": true }), 1),
    ] {
        let scene = Scene::new();
        let mut log = scene.quiet();
        log["rotate"]["when"] = when.clone();
        let mut sidecar = Sidecar::start(&scene, &config(&[log]));
        append(&scene.log(), if when.get("minSize").is_some() { "some\n" } else { "" });
        sidecar.wait_for_stream("the file", |_| true);
        sidecar.stop();
        let before = edit_rotated_at(&scene);
        sidecar.restart();
        // Either it is rotated, or its time is taken for served.
        sidecar.wait_for_stream("a decision", |stream| stream.rotated_at != before);
        scene.wait_for_compressed(archives);
    }
}

/// Puts the last rotation three years back, and says how the status shows that.
fn edit_rotated_at(scene: &Scene) -> String {
    let mut at = 0;
    edit_ledger(&scene.logs(), |ledger: &mut Ledger| {
        let stream = ledger.streams.get_mut("app.log").unwrap();
        stream.rotated_at -= 3 * 366 * 86_400 * 1_000_000;
        at = stream.rotated_at;
    });
    jiff::Timestamp::from_second(at / 1_000_000).unwrap().to_string()
}

#[test]
fn logs_of_one_target_rotate_together_with_one_signal() {
    let scene = Scene::new();
    let (mut one, mut two) = (scene.rotated(), scene.rotated());
    for (log, name) in [(&mut one, "one"), (&mut two, "two")] {
        log["name"] = json!(name);
        log["files"]["include"] = json!([scene.logs().join(format!("{name}.log"))]);
    }
    append(&scene.logs().join("two.log"), &lines(0, 10));
    // It writes to the first, and what it does with the second is not seen from outside.
    let path = scene.logs().join("one.log");
    let settings = Settings { stay: true, rate: 0, width: 100, ..Settings::new(&path, 100) };
    let _writer = scene.start(&settings);
    let sidecar = Sidecar::start(&scene, &config(&[one, two]));
    sidecar.wait_for("both to be known", |status| {
        status.streams.len() == 2 && status.streams.iter().all(|stream| stream.live_bytes > 0)
    });
    let said = sidecar.command(&["rotate", "--force"]);
    assert_eq!(said.code, 0, "{said:?}");
    scene.wait_for_compressed(2);
    sidecar.counts("rotations_total", &[("result", "ok")], 2.0);
    sidecar.counts("signals_total", &[("result", "sent")], 1.0);
    assert_eq!(sidecar.output().matches("signalled to reopen").count(), 1);
}

#[test]
fn status_shows_what_is_live_archived_held_and_lagging_as_a_table_and_as_json() {
    let (scene, receiver) = (Scene::new(), Receiver::start());
    append(&scene.log(), &lines(0, 100));
    let mut sidecar = Sidecar::start(&scene, &forwarded(&[scene.quiet()], receiver.port()));
    receiver.wait_for_exactly(1, 100);
    assert_eq!(sidecar.command(&["rotate", "--force"]).code, 0);
    append(&scene.log(), &lines(100, 150));
    sidecar.wait_for_stream("everything to be confirmed", |stream| {
        stream.live_bytes > 0 && stream.lag["receiver"].bytes == 0
    });
    let table = sidecar.command(&["status"]);
    assert_eq!(table.code, 0, "{table:?}");
    let words = |row: &str| -> Vec<String> {
        let row = table.out.lines().find(|line| line.contains(row));
        row.unwrap_or_else(|| panic!("no {row:?} in {}", table.out))
            .split_whitespace()
            .map(str::to_owned)
            .collect()
    };
    assert_eq!(words("GENERATION")[..6], ["LOG", "FILE", "LIVE", "GENERATION", "ARCHIVES", "ARCHIVED"]);
    let row = words("app.log");
    assert_eq!(row[0], "test/app");
    assert_eq!(row[2..8], ["3.2", "KiB", "2", "1", "6.3", "KiB"]);
    assert!(words(&format!("127.0.0.1:{}", receiver.port())).contains(&"yes".to_owned()));

    let json = sidecar.command(&["status", "--output", "json"]);
    let value: Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(value["running"], true);
    assert_eq!(value["streams"][0]["archives"], 1);
    sidecar.stop();
    let stored = sidecar.command(&["status"]);
    assert_eq!(stored.code, 1, "nobody is running: that is a problem");
    assert!(
        stored.out.contains("capstan-sidecar is not running") && stored.out.contains("app.log"),
        "{stored:?}"
    );
    let json = sidecar.command(&["status", "--output", "json"]);
    let value: Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!((&value["running"], &value["streams"][0]["archives"]), (&json!(false), &json!(1)));
}

#[test]
fn status_names_the_file_that_is_still_open() {
    let scene = Scene::new();
    let _holder = fs::File::options().create(true).append(true).open(scene.log()).unwrap();
    append(&scene.log(), &lines(0, 2_000));
    let sidecar = Sidecar::start(&scene, &config(&[scene.rotated()]));
    sidecar.wait_for_stream("the rotation", |stream| !stream.held.is_empty());
    let table = sidecar.command(&["status"]);
    assert!(table.out.contains("still open: archive/app.log."), "{table:?}");
}

#[test]
fn check_prints_the_settings_in_effect_or_names_every_field_that_is_wrong() {
    let scene = Scene::new();
    let good = write_config(&scene, "good", &config(&[scene.rotated()]));
    let said = command(&good, &["check"]);
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    let printed: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(printed["logs"][0]["rotate"]["reopen"]["fallback"], "Wait", "defaults are written out");
    let again = command(&write_config(&scene, "again", &printed), &["check"]);
    assert_eq!(again.out, said.out, "what it prints means the same");

    let bad = |change: &dyn Fn(&mut Value)| {
        let mut bad = config(&[scene.rotated()]);
        change(&mut bad["logs"][0]["rotate"]);
        let said = command(&write_config(&scene, "bad", &bad), &["check"]);
        assert_eq!((said.code, said.out.as_str()), (1, ""));
        said.err
    };
    let keys = bad(&|rotate| {
        rotate.as_object_mut().unwrap().extend([("retension".into(), json!({})), ("x".into(), json!(1))])
    });
    assert!(keys.contains("logs[0].rotate.retension: is not known; did you mean retention?"), "{keys}");
    assert!(keys.contains("logs[0].rotate.x: is not known"), "{keys}");
    let values = bad(&|rotate| {
        rotate["when"]["size"] = json!("100MB");
        rotate["archive"]["directory"] = json!("../elsewhere");
    });
    assert!(values.contains("logs[0].rotate.when.size: \"100MB\" is not a size"), "{values}");
    assert!(values.contains("logs[0].rotate.archive.directory: "), "{values}");
    let said = command(&scene.path("none.json"), &["check"]);
    assert_eq!(said.code, 1);
    assert!(said.err.contains("none.json: No such file or directory"), "{said:?}");
    assert_eq!(names(&scene.logs()), [] as [String; 0], "checking touches nothing");
}

#[test]
fn rotations_are_not_asked_for_over_the_network() {
    use std::io::{Read, Write};
    let scene = Scene::new();
    append(&scene.log(), &lines(0, 10));
    let sidecar = Sidecar::start(&scene, &config(&[scene.quiet()]));
    sidecar.wait_for_stream("the file", |stream| stream.live_bytes > 0);
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", sidecar.port())).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream
        .write_all(
            b"POST /rotate?force=true HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        )
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    assert_eq!(scene.archives(), [] as [String; 0]);
}
