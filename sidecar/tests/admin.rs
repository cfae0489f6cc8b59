//! What the sidecar says of itself: metrics, health, status, and that odd clients do not hurt.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod fsupport;

use std::collections::HashSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::Duration;

use capstan_peers::collector::{Collector, Ending, Settings};
use capstan_peers::lines::files_below;
use capstan_peers::ports;

use fsupport::config::config;
use fsupport::{Pen, Scene, Sidecar, assert_complete, assert_exact, eventually, forwarded, rotated};

/// A sidecar that forwards one log.
fn forwarding(scene: &Scene, collector: &Collector) -> Sidecar {
    scene.sidecar(
        vec![forwarded("app", &scene.log("app.log"), "central")],
        vec![scene.destination("central", collector.port())],
    )
}

/// Sends bytes and reads whatever comes until the end.
fn talk(port: u16, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(ports::local(port)).unwrap();
    stream.set_read_timeout(Some(fsupport::LONG)).unwrap();
    // The answer may come, and the end, before everything is sent.
    drop(stream.write_all(request));
    let mut answer = Vec::new();
    drop(stream.read_to_end(&mut answer));
    String::from_utf8_lossy(&answer).into_owned()
}

fn request(line: &str) -> Vec<u8> {
    format!("{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n").into_bytes()
}

#[test]
fn metrics_are_proper_and_carry_names_and_never_paths() {
    let scene = Scene::new();
    let collector = scene.collector(Settings::default());
    Pen::append_once(&scene.log("app.log"), 0, 0, 100);
    let sidecar = forwarding(&scene, &collector);
    eventually("the confirmation", || sidecar.metric("confirmed_lines_total", &[]) == 100.0);
    let page = sidecar.metrics();
    let destination = vec!["destination", "log", "policy"];
    let log = vec!["log", "policy"];
    for (name, labels) in [
        ("sent_lines_total", &destination),
        ("sent_bytes_total", &destination),
        ("confirmed_lines_total", &destination),
        ("confirmed_bytes_total", &destination),
        ("lag_bytes", &destination),
        ("lag_seconds", &destination),
        ("archives", &log),
        ("archive_bytes", &log),
        ("connection_up", &vec!["destination"]),
        ("proof_level", &vec!["destination"]),
        ("connects_total", &vec!["destination", "result"]),
        ("config_valid", &vec![]),
        ("config_last_reload_success_timestamp_seconds", &vec!["policy"]),
        ("state_write_failures", &vec![]),
        ("listen_failures_total", &vec![]),
        ("build_info", &vec!["version"]),
    ] {
        let full = format!("capstan_sidecar_{name}");
        assert_eq!(page.label_names(&full), HashSet::from([labels.clone()]), "{name}");
    }
    assert!(page.samples.iter().all(|sample| sample.name.starts_with("capstan_sidecar_")));
    assert!(page.samples.iter().flat_map(|sample| sample.labels.values()).all(|value| !value.contains('/')));
    let answer = talk(sidecar.port(), &request("GET /metrics"));
    assert!(answer.contains("content-type: text/plain; version=0.0.4\r\n"), "{answer}");
    assert!(answer.lines().any(|line| line == "# TYPE capstan_sidecar_reopen_seconds histogram"));
}

#[test]
fn counters_agree_with_a_recount_also_after_a_replay() {
    let scene = Scene::new();
    let collector = scene.collector(Settings::default());
    let log = scene.log("app.log");
    let mut pen = Pen::open(&log, 0);
    pen.write(1000);
    let destination = scene.destination("central", collector.port()).delivery("replayMargin", "1h");
    let sidecar = scene.sidecar(vec![forwarded("app", &log, "central")], vec![destination]);
    let check = |confirmed: f64, sent: f64, replayed: f64| {
        sidecar.wait_until_confirmed();
        let labels = [("policy", "web"), ("log", "app"), ("destination", "central")];
        let value = |name: &str| sidecar.metric(name, &labels);
        eventually("the counters", || value("confirmed_lines_total") == confirmed);
        assert_eq!(value("confirmed_bytes_total"), confirmed * 100.0);
        assert_eq!((value("sent_lines_total"), value("replayed_lines_total")), (sent, replayed));
        assert_eq!(value("sent_bytes_total"), sent * 100.0);
        assert_eq!((value("lag_bytes"), value("lag_seconds")), (0.0, 0.0));
        assert_eq!(collector.message_count() as f64, sent);
    };
    check(1000.0, 1000.0, 0.0);
    collector.end_connections(Ending::Reset);
    eventually("the replay", || collector.message_count() == 2000);
    check(1000.0, 2000.0, 1000.0);
    sidecar.counts("replays_total", &[("destination", "central")], 1.0);
    // A replay of lines that were not confirmed counts them as confirmed afterwards, and once.
    collector.stall(true);
    pen.write(1000);
    eventually("lines on their way", || sidecar.metric("sent_lines_total", &[]) == 3000.0);
    collector.end_connections(Ending::Reset);
    collector.stall(false);
    assert_complete(&collector, &[("w00", 2000)]);
    sidecar.wait_until_confirmed();
    eventually("the counters", || sidecar.metric("confirmed_lines_total", &[]) == 2000.0);
    sidecar.counts("confirmed_bytes_total", &[], 200_000.0);
}

#[test]
fn the_status_agrees_with_what_is_on_disk_and_at_the_receiver() {
    let scene = Scene::new();
    let collector = scene.collector(Settings::default());
    let log = scene.log("app.log");
    let destination = scene.destination("central", collector.port());
    let sidecar = scene.sidecar(vec![rotated("app", &log, "central", "5000")], vec![destination]);
    let mut written = 0;
    for rotations in 1..=4 {
        written = Pen::append_once(&log, 0, written, 100);
        let rotated = || sidecar.metric("rotations_total", &[("method", "rename"), ("result", "ok")]);
        eventually("a rotation", || rotated() == f64::from(rotations));
    }
    written = Pen::append_once(&log, 0, written, 7);
    sidecar.wait_until_confirmed();
    let archives = || {
        let files = files_below(&scene.root().join("logs")).unwrap();
        files.into_iter().filter(|file| *file != log).collect::<Vec<_>>()
    };
    eventually("archives", || {
        archives().iter().filter(|file| file.extension().unwrap() == "gz").count() == 4
    });
    eventually("the status", || sidecar.status()["streams"][0]["archives"] == 4);
    let status = sidecar.status();
    let stream = &status["streams"][0];
    assert_eq!((&stream["log"], &stream["path"]), (&"web/app".into(), &log.to_str().unwrap().into()));
    assert_eq!((&stream["liveBytes"], &stream["generation"]), (&700.into(), &5.into()));
    assert_eq!((&stream["archiveBytes"], &stream["held"]), (&40_000.into(), &serde_json::json!([])));
    assert_eq!(stream["lag"]["central"]["bytes"], 0);
    let central = &status["destinations"]["central"];
    eventually("the connection", || sidecar.destination("central")["connected"] == true);
    assert_eq!(central["endpoint"], format!("127.0.0.1:{}", collector.port()));
    assert_eq!((&central["proof"], &central["replays"]), (&"Confirmed".into(), &0.into()));
    assert_eq!((&status["running"], &status["problems"]), (&true.into(), &serde_json::json!([])));
    let on_disk =
        || archives().iter().map(|file| fs::metadata(file).map_or(0, |found| found.len())).sum::<u64>();
    eventually("the bytes on disk", || {
        sidecar.metric("archive_bytes", &[("log", "app")]) == on_disk() as f64
    });
    sidecar.counts("archives", &[("log", "app")], 4.0);
    assert_exact(&collector, &[("w00", written)]);
    // The table says the same.
    let (table, exit) = sidecar.command(&["status"]);
    assert!(exit.success(), "{table}");
    let row: Vec<&str> =
        table.lines().find(|line| line.starts_with("web/app")).unwrap().split("  ").collect();
    let cells: Vec<&str> = row.into_iter().map(str::trim).filter(|cell| !cell.is_empty()).collect();
    let path = log.to_str().unwrap();
    assert_eq!(cells[..6], ["web/app", path, "700 B", "5", "4", "39.1 KiB"], "{table}");
    assert_eq!(cells[7..], ["central", "0 B", "-"], "{table}");
    // And as JSON.
    let (json, _) = sidecar.command(&["status", "--output", "json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["streams"][0]["archiveBytes"], 40_000);
}

#[test]
fn a_receiver_that_is_away_shows_in_status_table_and_metrics() {
    let scene = Scene::new();
    let mut collector = scene.collector(Settings::default());
    collector.refuse();
    Pen::append_once(&scene.log("app.log"), 0, 0, 100);
    let sidecar = forwarding(&scene, &collector);
    sidecar.wait_for_error("central", "Connection refused");
    assert_eq!(sidecar.metric("connection_up", &[("destination", "central")]), 0.0);
    assert_eq!(sidecar.metric("proof_level", &[("destination", "central")]), 0.0);
    sidecar.counts("lag_bytes", &[("destination", "central")], 10_000.0);
    assert_eq!(sidecar.metric("confirmed_lines_total", &[]), 0.0);
    assert!(sidecar.metric("connects_total", &[("result", "connect")]) >= 1.0);
    let (table, exit) = sidecar.command(&["status"]);
    assert_eq!(exit.code(), Some(1));
    assert!(table.contains("Problems\n  destination central: cannot connect to '127.0.0.1': "), "{table}");
    // Nothing is claimed that was not seen: no file, no stream; no proof.
    let status = sidecar.status();
    assert_eq!(status["destinations"]["central"]["proof"], "Unknown");
    assert!(status["destinations"]["central"].get("lastConfirmedAt").is_none());
    collector.accept_again().unwrap();
    assert_exact(&collector, &[("w00", 100)]);
    sidecar.wait_until_confirmed();
    eventually("the end of the problem", || sidecar.command(&["status"]).1.success());
    eventually("the connection", || sidecar.metric("connection_up", &[("destination", "central")]) == 1.0);
}

#[test]
fn rotations_are_not_asked_for_over_the_network() {
    let scene = Scene::new();
    let collector = scene.collector(Settings::default());
    let log = scene.log("app.log");
    Pen::append_once(&log, 0, 0, 10);
    let sidecar = scene.sidecar(
        vec![rotated("app", &log, "central", "1Gi")],
        vec![scene.destination("central", collector.port())],
    );
    sidecar.wait_until_confirmed();
    for method in ["POST", "GET", "PUT", "DELETE"] {
        let answer = talk(sidecar.port(), &request(&format!("{method} /rotate?force=true&dryRun=false")));
        assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
        assert!(answer.ends_with("rotations are asked for through the control socket\n"), "{answer}");
    }
    assert_eq!(files_below(&scene.root().join("logs")).unwrap(), [log]);
    let (output, exit) = sidecar.command(&["rotate", "--force"]);
    assert!(exit.success(), "{output}");
    // The log and its archive, once that is compressed.
    eventually("the archive", || files_below(&scene.root().join("logs")).unwrap().len() == 2);
}

#[test]
fn other_requests_get_proper_answers() {
    let scene = Scene::new();
    let collector = scene.collector(Settings::default());
    let sidecar = forwarding(&scene, &collector);
    for (line, status) in [
        ("GET /healthz", "200"),
        ("GET /healthz?x=y", "200"),
        ("GET /status", "200"),
        ("POST /status", "405"),
        ("DELETE /metrics", "405"),
        ("GET /", "404"),
        ("GET /../../etc/passwd", "404"),
        ("GET http://elsewhere/healthz", "200"),
        ("BREW /coffee", "404"),
    ] {
        let answer = talk(sidecar.port(), &request(line));
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{line}: {answer}");
    }
    assert_eq!(sidecar.get("/healthz").body, "ok\n");
}

#[test]
fn odd_clients_do_not_hurt() {
    let scene = Scene::new();
    let collector = scene.collector(Settings::default());
    let log = scene.log("app.log");
    Pen::append_once(&log, 0, 0, 100);
    let sidecar = forwarding(&scene, &collector);
    sidecar.wait_until_confirmed();
    let before = sidecar.open_files();
    // Clients that say nothing, or too little, and stay.
    let mut slow: Vec<TcpStream> =
        (0..200).map(|_| TcpStream::connect(ports::local(sidecar.port())).unwrap()).collect();
    slow.iter_mut().skip(100).for_each(|stream| stream.write_all(b"GET /status HT").unwrap());
    let huge = [b"GET /status HTTP/1.1\r\nX: ".as_slice(), &vec![b'x'; 4 << 20], b"\r\n\r\n"].concat();
    let many: String = (0..100_000).map(|number| format!("X{number}: y\r\n")).collect();
    for garbage in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a TLS client\r\n\r\n"[..],
        b"\0\0\0\0\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /status HTTP/9.9\r\n\r\n",
        b"<13>1 - - - - - - a syslog message\n\r\n\r\n",
        &huge,
        [b"GET /status HTTP/1.1\r\n".as_slice(), many.as_bytes(), b"\r\n"].concat().as_slice(),
    ] {
        let answer = talk(sidecar.port(), garbage);
        assert!(!answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert_eq!(sidecar.get("/healthz").status, 200);
    }
    // One that sends a body without end is answered, and what it sends is not kept.
    let mut endless = TcpStream::connect(ports::local(sidecar.port())).unwrap();
    endless.set_write_timeout(Some(Duration::from_secs(2))).unwrap();
    endless.write_all(b"POST /status HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n").unwrap();
    for _ in 0..1000 {
        if endless.write_all(&[b'x'; 64 << 10]).is_err() {
            break;
        }
    }
    drop(endless);
    Pen::append_once(&log, 0, 100, 100);
    assert_exact(&collector, &[("w00", 200)]);
    // Those that stayed are shown the door.
    eventually("connections to be closed", || sidecar.open_files() <= before + 5);
    let peak = sidecar.usage().peak_resident_bytes;
    assert!(peak < 24 << 20, "{peak}");
    drop(slow);
}

#[test]
fn a_port_that_is_taken_keeps_nobody_from_working_and_is_served_later() {
    let scene = Scene::new();
    let collector = scene.collector(Settings::default());
    let log = scene.log("app.log");
    Pen::append_once(&log, 0, 0, 100);
    let mut sidecar = Sidecar::new(scene.root());
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, sidecar.port())).unwrap();
    let destination = scene.destination("central", collector.port());
    sidecar.write_config(&config(vec![forwarded("app", &log, "central")], vec![destination]));
    sidecar.launch();
    assert_exact(&collector, &[("w00", 100)]);
    let message = "cannot listen; metrics and status are not served here, trying again";
    eventually("the log to say so", || sidecar.log().contains(message));
    assert_eq!(sidecar.log().matches(message).count(), 1);
    // The control socket beside the logs answers all the same.
    let (table, _) = sidecar.command(&["status"]);
    assert!(table.starts_with("capstan-sidecar 0"), "{table}");
    let port = sidecar.port();
    drop(taken);
    eventually("the port to be served", || ports::is_listening(port));
    assert!(sidecar.metric("listen_failures_total", &[]) >= 1.0);
    assert_eq!(sidecar.get("/healthz").status, 200);
}

#[test]
fn the_log_is_json_and_holds_nothing_of_the_app_s_lines() {
    let scene = Scene::new();
    let collector = scene.collector(Settings::default());
    let log = scene.log("app.log");
    Pen::open(&log, 0).write_bytes(b"a password: hunter2\n\x1b[2J hunter2\n");
    let mut sidecar = forwarding(&scene, &collector);
    eventually("the lines", || collector.message_count() == 2);
    collector.end_connections(Ending::Reset);
    sidecar.wait_until_confirmed();
    sidecar.terminate();
    let said = sidecar.log();
    assert!(!said.contains("hunter2"), "{said}");
    for line in said.lines() {
        let parsed: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(parsed["timestamp"].is_string() && parsed["level"].is_string(), "{line}");
    }
}
