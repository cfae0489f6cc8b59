//! Real apps under requests, rotated again and again: gunicorn with two logs, nginx with master and worker.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::thread::sleep;
use std::time::Duration;

use capstan_peers::gunicorn::Gunicorn;
use capstan_peers::lines::{Numbering, Tally, files_below};
use capstan_peers::load::Load;
use capstan_peers::nginx::Nginx;
use capstan_peers::ports;
use serde_json::{Value, json};
use support::recount::Receiver;
use support::sidecar::Sidecar;
use support::{LONG, Scene, forwarded};

/// What was asked of an app, in the files whose names begin like this.
fn on_disk(scene: &Scene, name: &str, numbering: Numbering) -> Tally {
    let mut tally = Tally::new(numbering);
    for file in files_below(&scene.logs()).unwrap() {
        if file.file_name().unwrap().to_str().unwrap().starts_with(name) {
            tally.add_file(&file).unwrap();
        }
    }
    tally
}

/// Rotates so many times while requests are made, and returns how many were.
fn rotate_under_requests(sidecar: &Sidecar, port: u16, rotations: u32) -> u64 {
    let load = Load::start(port, 4, 400);
    for _ in 0..rotations {
        let before = load.totals().answered;
        ports::wait_until(LONG, "answers", || load.totals().answered > before + 50).unwrap();
        let said = sidecar.command(&["rotate", "--force"]);
        assert!(said.code == 0, "{said:?}");
    }
    sleep(Duration::from_millis(50));
    let totals = load.stop();
    assert_eq!(totals.sent, totals.answered, "a rotation is no reason for a request to fail");
    totals.sent
}

fn log(scene: &Scene, name: &str, file: &str, process: Value) -> Value {
    let mut log = scene.quiet();
    log["name"] = json!(name);
    log["files"]["include"] = json!([scene.logs().join(file)]);
    log["rotate"]["reopen"] = json!({ "signal": { "name": "USR1", "process": process }, "timeout": "1h" });
    log
}

const ROTATIONS: u32 = 8;

#[test]
fn gunicorn_with_two_workers_loses_no_line_of_either_log() {
    let (scene, receiver) = (Scene::new(), Receiver::counting(Numbering::After("/req/")));
    let mut app = Gunicorn::start(&scene.root()).unwrap();
    let process = json!({ "pidFile": app.pid_file(), "commandPattern": "gunicorn" });
    let logs =
        [log(&scene, "access", "access.log", process.clone()), log(&scene, "error", "error.log", process)];
    let sidecar = Sidecar::start(&scene, &forwarded(&logs, receiver.port()));
    sidecar.wait_for("both logs", |status| status.streams.len() == 2);
    let sent = rotate_under_requests(&sidecar, app.port(), ROTATIONS);
    let open = app.open_logs().unwrap();
    assert!(open.iter().all(|path| path.parent() == Some(&scene.logs())), "an archive is open: {open:?}");
    app.terminate().unwrap();
    scene.wait_for_compressed(2 * ROTATIONS as usize);
    let access = on_disk(&scene, "access.log", Numbering::After("/req/"));
    let result = access.compare([("", sent)]);
    assert!(result.is_exact() && access.nul_bytes == 0, "{result}");
    let tenths =
        on_disk(&scene, "error.log", Numbering::After("tenth request ")).compare([("", sent.div_ceil(10))]);
    assert!(tenths.is_exact(), "{tenths}");
    receiver.wait_for_numbers(sent);
    let sent_signals = sidecar.metric("signals_total", &[("result", "sent")]);
    assert!(
        sent_signals < f64::from(2 * ROTATIONS),
        "{sent_signals} signals for {ROTATIONS} rotations of two logs"
    );
}

#[test]
fn nginx_with_master_and_worker_loses_no_line() {
    let (scene, receiver) = (Scene::new(), Receiver::counting(Numbering::After("/req/")));
    let mut app = Nginx::start(&scene.root()).unwrap();
    let log = log(&scene, "access", "access.log", json!({ "pidFile": app.pid_file() }));
    let sidecar = Sidecar::start(&scene, &forwarded(&[log], receiver.port()));
    sidecar.wait_for("the log", |status| status.streams.len() == 1);
    let sent = rotate_under_requests(&sidecar, app.port(), ROTATIONS);
    app.terminate().unwrap();
    scene.wait_for_compressed(ROTATIONS as usize);
    let access = on_disk(&scene, "access.log", Numbering::After("/req/"));
    let result = access.compare([("", sent)]);
    assert!(result.is_exact() && access.nul_bytes == 0, "{result}");
    receiver.wait_for_numbers(sent);
}
