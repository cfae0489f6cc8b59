//! A real rsyslog as the receiver: both TLS drivers, certificates both ways, stopped and killed under load.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod fsupport;

use capstan_peers::certificates::CLIENT_NAME;
use capstan_peers::lines::{Comparison, Numbering, Tally};
use capstan_peers::rsyslog::{ClientCheck, Driver, Queue, Rsyslog, Settings};
use serde_json::json;

use fsupport::{Destination, Load, Pen, Scene, Sidecar, eventually, forwarded};

const DRIVERS: [Driver; 2] = [Driver::OpenSsl, Driver::GnuTls];

fn tally(rsyslog: &Rsyslog) -> Tally {
    let mut tally = Tally::new(Numbering::Writer);
    rsyslog.lines().unwrap().iter().for_each(|line| tally.add_line(line));
    tally
}

fn wait_for(rsyslog: &Rsyslog, written: u64) -> Comparison {
    let complete = || tally(rsyslog).compare([("w00", written)]).is_complete();
    let waited = capstan_peers::ports::wait_until(fsupport::LONG, "all lines", complete);
    let comparison = tally(rsyslog).compare([("w00", written)]);
    assert!(waited.is_ok(), "{comparison}\n{}", rsyslog.log());
    comparison
}

/// Mutual TLS: rsyslog wants a certificate with our name, we want one of its authority.
fn mutual(scene: &Scene, port: u16) -> Destination {
    let client = &scene.certificates.client;
    scene
        .destination("central", port)
        .secured("clientCertificate", json!({ "certificateFile": client.certificate, "keyFile": client.key }))
}

fn start(scene: &Scene, driver: Driver, queue: Queue) -> Rsyslog {
    let settings = Settings { driver, client_check: ClientCheck::Named, queue, ..Settings::default() };
    Rsyslog::start(&scene.directory("rsyslog"), &scene.certificates, &settings).unwrap()
}

/// Lets some more lines arrive.
fn progress(rsyslog: &Rsyslog) {
    let before = tally(rsyslog).distinct();
    eventually("lines to arrive", || tally(rsyslog).distinct() > before + 2000);
}

fn run(scene: &Scene, rsyslog: &Rsyslog, margin: &str) -> Sidecar {
    let log = scene.log("app.log");
    let destination =
        mutual(scene, rsyslog.port()).delivery("replayMargin", margin).delivery("rollBytes", 500_000);
    scene.sidecar(vec![forwarded("app", &log, "central")], vec![destination])
}

fn stopped_under_load(driver: Driver) {
    let scene = Scene::new();
    let mut rsyslog = start(&scene, driver, Queue::Memory);
    let load = Load::start(&scene.log("app.log"), 0, 10_000);
    // Stopped properly, it stores what it has read, so no margin is needed; but what it had not read is lost, and
    // its close_notify crosses ours.
    let sidecar = run(&scene, &rsyslog, "0s");
    for _ in 0..4 {
        progress(&rsyslog);
        rsyslog.terminate().unwrap();
        rsyslog.restart().unwrap();
    }
    let written = load.stop();
    wait_for(&rsyslog, written);
    sidecar.wait_until_confirmed();
    let comparison = wait_for(&rsyslog, written);
    let replayed = sidecar.metric("replayed_lines_total", &[]);
    assert!(comparison.duplicated as f64 <= replayed, "{comparison}, but {replayed} were sent again");
    eventually("proof", || sidecar.destination("central")["proof"] == "Confirmed");
}

fn killed_under_load(driver: Driver) {
    let scene = Scene::new();
    let mut rsyslog = start(&scene, driver, Queue::Memory);
    let load = Load::start(&scene.log("app.log"), 0, 10_000);
    let sidecar = run(&scene, &rsyslog, "10s");
    for _ in 0..4 {
        progress(&rsyslog);
        rsyslog.kill().unwrap();
        rsyslog.restart().unwrap();
    }
    let written = load.stop();
    wait_for(&rsyslog, written);
    sidecar.wait_until_confirmed();
    let comparison = wait_for(&rsyslog, written);
    let replayed = sidecar.metric("replayed_lines_total", &[]);
    assert!(comparison.duplicated as f64 <= replayed, "{comparison}, but {replayed} were sent again");
}

/// Killed as soon as it has confirmed, when most of what it has read is still in its queue.
fn killed_after_a_confirmation(driver: Driver) {
    let scene = Scene::new();
    let mut rsyslog = start(&scene, driver, Queue::Memory);
    let log = scene.log("app.log");
    let mut pen = Pen::open(&log, 0);
    let destination = mutual(&scene, rsyslog.port())
        .delivery("replayMargin", "10s")
        .delivery("rollBytes", 1_000_000)
        .delivery("rollIdle", "100ms");
    let sidecar = scene.sidecar(vec![forwarded("app", &log, "central")], vec![destination]);
    for _ in 0..5 {
        let before = sidecar.metric("confirmed_lines_total", &[]);
        pen.write(20_000);
        // Without a pause, so that no time is lost.
        while sidecar.metric("confirmed_lines_total", &[]) == before {}
        rsyslog.kill().unwrap();
        rsyslog.restart().unwrap();
        sidecar.wait_until_confirmed();
    }
    wait_for(&rsyslog, pen.written);
}

#[test]
fn rsyslog_killed_just_after_it_confirmed_gets_its_lost_queue_again() {
    killed_after_a_confirmation(Driver::OpenSsl);
    killed_after_a_confirmation(Driver::GnuTls);
}

#[test]
fn rsyslog_with_openssl_stopped_under_load_misses_nothing() {
    stopped_under_load(Driver::OpenSsl);
}

#[test]
fn rsyslog_with_gnutls_stopped_under_load_misses_nothing() {
    stopped_under_load(Driver::GnuTls);
}

#[test]
fn rsyslog_with_openssl_killed_under_load_misses_nothing() {
    killed_under_load(Driver::OpenSsl);
}

#[test]
fn rsyslog_with_gnutls_killed_under_load_misses_nothing() {
    killed_under_load(Driver::GnuTls);
}

#[test]
fn both_drivers_confirm_and_get_every_line_once_and_unchanged() {
    for driver in DRIVERS {
        let scene = Scene::new();
        let settings = Settings { driver, client_check: ClientCheck::Valid, ..Settings::default() };
        let directory = scene.directory("rsyslog");
        let rsyslog = Rsyslog::start(&directory, &scene.certificates, &settings).unwrap();
        let log = scene.log("app.log");
        let mut pen = Pen::open(&log, 0);
        pen.write(2000);
        pen.write_bytes(b"a tab\tand a CR\r in it\n");
        let destination = mutual(&scene, rsyslog.port());
        let mut sidecar = scene.sidecar(vec![forwarded("app", &log, "central")], vec![destination]);
        sidecar.wait_until_confirmed();
        eventually("proof", || sidecar.destination("central")["proof"] == "Confirmed");
        sidecar.terminate();
        let comparison = wait_for(&rsyslog, 2000);
        assert!(comparison.is_exact() && comparison.out_of_order == 0, "{driver:?}: {comparison}");
        let lines = rsyslog.lines().unwrap();
        assert_eq!(lines.len(), 2001);
        let message = fsupport::rfc5424::parse(&lines[2000]);
        assert_eq!(message.body, b"a tab\tand a CR\r in it");
        assert_eq!((message.app_name.as_str(), message.msg_id.as_str()), ("web", "app"));
    }
}

#[test]
fn rsyslog_without_our_certificate_gets_nothing_and_says_why_until_it_is_mended() {
    for driver in DRIVERS {
        let scene = Scene::new();
        let rsyslog = start(&scene, driver, Queue::Direct);
        let log = scene.log("app.log");
        Pen::open(&log, 0).write(100);
        // The files stand where they are configured, and are replaced there as a Secret is.
        let (certificate, key) = (scene.root().join("client.pem"), scene.root().join("client.key"));
        let stranger = &scene.certificates.client_of_other_ca;
        std::fs::copy(&stranger.certificate, &certificate).unwrap();
        std::fs::copy(&stranger.key, &key).unwrap();
        let destination = scene
            .destination("central", rsyslog.port())
            .secured("clientCertificate", json!({ "certificateFile": certificate, "keyFile": key }));
        let sidecar = scene.sidecar(vec![forwarded("app", &log, "central")], vec![destination]);
        eventually("a refusal", || !sidecar.last_error("central").is_empty());
        assert_eq!(rsyslog.lines().unwrap().len(), 0, "{driver:?}");
        let good = &scene.certificates.client;
        std::fs::copy(&good.certificate, &certificate).unwrap();
        std::fs::copy(&good.key, &key).unwrap();
        let comparison = wait_for(&rsyslog, 100);
        assert!(comparison.is_exact(), "{CLIENT_NAME}, {driver:?}: {comparison}");
    }
}
