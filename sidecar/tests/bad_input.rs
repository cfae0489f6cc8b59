//! Bad input, and what it gets: a message that says what is wrong, nothing lost, and everything goes on once it is
//! mended.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod fsupport;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use capstan_peers::collector::{Collector, Settings, Versions};
use capstan_peers::misbehave::{Kind, Misbehaving};
use serde_json::{Value, json};

use fsupport::config::config;
use fsupport::{Destination, Pen, Scene, Sidecar, assert_exact, eventually, forwarded};

/// One log of 100 lines to a receiver that cannot be used: the message, and after `mend` every line once.
fn refused_until_mended(
    scene: &Scene,
    collector: &Collector,
    destination: Destination,
    message: &str,
    mend: impl FnOnce(),
) {
    let log = scene.log(&format!("{}.log", collector.port()));
    Pen::append_once(&log, 0, 0, 100);
    let sidecar = scene.sidecar(vec![forwarded("app", &log, "central")], vec![destination]);
    sidecar.wait_for_error("central", message);
    let status = sidecar.status();
    assert_eq!(status["destinations"]["central"]["connected"], false, "{message}");
    assert_eq!(status["destinations"]["central"]["proof"], "Unknown", "{message}");
    let problems = status["problems"].to_string();
    assert!(problems.contains("destination central: "), "{problems}");
    assert!(sidecar.log().contains("cannot connect"), "{message}");
    assert_eq!(collector.message_count(), 0, "{message}");
    sidecar.counts("lag_bytes", &[("destination", "central")], 10_000.0);
    mend();
    assert_exact(collector, &[("w00", 100)]);
    sidecar.wait_until_confirmed();
}

fn copy(from: &Path, to: &Path) {
    fs::copy(from, to).unwrap();
}

/// A receiver with this certificate.
fn collector(scene: &Scene, name: &str) -> Collector {
    let made = &scene.certificates;
    let identity = match name {
        "expired" => &made.expired,
        "wrong name" => &made.wrong_name,
        "common name" => &made.common_name_only,
        "stranger" => &made.stranger,
        _ => &made.server,
    };
    let tls = scene.tls(identity, Versions::Both);
    Collector::start(Settings { tls: Some(tls), ..Settings::default() }).unwrap()
}

#[test]
fn an_authority_that_is_not_trusted_is_named_until_the_file_is_replaced() {
    let scene = Scene::new();
    let collector = collector(&scene, "stranger");
    let ca = scene.root().join("ca-in-use.pem");
    copy(&scene.certificates.ca, &ca);
    let destination = scene.destination("central", collector.port()).secured("caFile", ca.to_str());
    let message = "127.0.0.1: the receiver's certificate is signed by 'Another authority', which is not among the \
                   trusted authorities";
    let message = message.replacen("127.0.0.1", &format!("127.0.0.1:{}", collector.port()), 1);
    let mend = || copy(&scene.certificates.other_ca, &ca);
    refused_until_mended(&scene, &collector, destination, &message, mend);
}

#[test]
fn files_of_an_authority_that_cannot_be_used_are_named() {
    let scene = Scene::new();
    let ca = scene.root().join("ca-in-use.pem");
    let cases: [(Option<&str>, &str); 4] = [
        (None, "cannot read {}: No such file or directory (os error 2)"),
        (Some(""), "there is no certificate in {} (it has to be in PEM form)"),
        (Some("not PEM at all\n"), "there is no certificate in {} (it has to be in PEM form)"),
        (Some("-----BEGIN CERTIFICATE-----\nAAAA\n"), "{} is no PEM file: "),
    ];
    for (content, message) in cases {
        let collector = collector(&scene, "good");
        match content {
            Some(content) => fs::write(&ca, content).unwrap(),
            None => drop(fs::remove_file(&ca)),
        }
        let destination = scene.destination("central", collector.port()).secured("caFile", ca.to_str());
        let message = message.replace("{}", ca.to_str().unwrap());
        let mend = || copy(&scene.certificates.ca, &ca);
        refused_until_mended(&scene, &collector, destination, &message, mend);
    }
}

/// A receiver whose certificate does not pass; it gets the good one at the same port.
fn another_certificate(name: &str, change: impl FnOnce(Destination) -> Destination, message: &str) {
    let scene = Scene::new();
    let wrong = collector(&scene, name);
    let port = wrong.port();
    let log = scene.log("app.log");
    Pen::append_once(&log, 0, 0, 100);
    let destination = change(scene.destination("central", port));
    let sidecar = scene.sidecar(vec![forwarded("app", &log, "central")], vec![destination]);
    sidecar.wait_for_error("central", message);
    assert_eq!(sidecar.metric("connects_total", &[("result", "ok")]), 0.0);
    assert!(sidecar.metric("connects_total", &[("result", "certificate")]) >= 1.0);
    assert_eq!(wrong.message_count(), 0);
    drop(wrong);
    let tls = scene.tls(&scene.certificates.server, Versions::Both);
    let right = Settings { port: Some(port), tls: Some(tls), ..Settings::default() };
    let right = Collector::start(right).unwrap();
    assert_exact(&right, &[("w00", 100)]);
}

#[test]
fn a_certificate_for_another_host_is_refused_with_the_names_in_it() {
    let message = "the receiver's certificate is for 'elsewhere.example', not for 'localhost'; set the server name \
                   if that is right";
    another_certificate("wrong name", |destination| destination, message);
}

#[test]
fn a_certificate_that_expired_is_refused_with_the_date() {
    let message = "the receiver's certificate expired at 2021-01-01T00:00:00Z, or one that it depends on";
    another_certificate("expired", |destination| destination, message);
}

#[test]
fn a_certificate_with_a_common_name_only_is_refused_with_what_to_do() {
    let message = "the receiver's certificate has no subject alternative name, only the common name 'localhost', \
                   which does not count: have it reissued with the name 'localhost', or trust its fingerprint \
                   sha-256:";
    another_certificate("common name", |destination| destination, message);
}

#[test]
fn the_host_is_the_name_that_is_checked_unless_another_is_configured() {
    let change = |destination: Destination| destination.without("serverName");
    let message = "the receiver's certificate is for 'elsewhere.example', not for '127.0.0.1'";
    another_certificate("wrong name", change, message);
}

#[test]
fn fingerprints_stand_in_place_of_an_authority() {
    let scene = Scene::new();
    let made = &scene.certificates;
    for (index, identity) in
        [&made.expired, &made.wrong_name, &made.common_name_only, &made.stranger].into_iter().enumerate()
    {
        let tls = scene.tls(identity, Versions::Both);
        let collector = Collector::start(Settings { tls: Some(tls), ..Settings::default() }).unwrap();
        let log = scene.log(&format!("{index}.log"));
        Pen::append_once(&log, 0, 0, 10);
        let known = [made.server.fingerprint().unwrap(), identity.fingerprint().unwrap()];
        let destination = scene
            .destination("central", collector.port())
            .without("caFile")
            .secured("fingerprints", known.to_vec());
        let _sidecar = scene.sidecar(vec![forwarded("app", &log, "central")], vec![destination]);
        assert_exact(&collector, &[("w00", 10)]);
    }
    let message = format!(
        "the receiver's certificate has the fingerprint {}, which is not among the configured ones",
        made.stranger.fingerprint().unwrap()
    );
    let collector = collector(&scene, "stranger");
    let log = scene.log("other.log");
    Pen::append_once(&log, 0, 0, 10);
    let destination = scene
        .destination("central", collector.port())
        .without("caFile")
        .secured("fingerprints", vec![made.server.fingerprint().unwrap()]);
    let sidecar = scene.sidecar(vec![forwarded("app", &log, "central")], vec![destination]);
    sidecar.wait_for_error("central", &message);
    assert_eq!(collector.message_count(), 0);
}

#[test]
fn client_certificates_that_cannot_be_used_are_named_until_they_are_mended() {
    let scene = Scene::new();
    let good = scene.certificates.client.clone();
    let (certificate, key) = (scene.root().join("client.pem"), scene.root().join("client.key"));
    let other = scene.certificates.client_of_other_ca.clone();
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let cases: [(&dyn Fn(), &str); 5] = [
        (
            &|| copy(&other.key, &key),
            "the private key in {key} does not belong to the certificate in {certificate}",
        ),
        (
            &|| fs::write(&key, encrypted).unwrap(),
            "the private key in {key} is encrypted, and there is nobody to ask for its passphrase",
        ),
        (
            &|| fs::write(&key, "").unwrap(),
            "there is no private key in {key} (it has to be in PEM form: PKCS#1, PKCS#8 or SEC1)",
        ),
        (&|| fs::remove_file(&key).unwrap(), "cannot read {key}: No such file or directory (os error 2)"),
        (
            &|| fs::remove_file(&certificate).unwrap(),
            "cannot read {certificate}: No such file or directory (os error 2)",
        ),
    ];
    for (spoil, message) in cases {
        let mut tls = scene.tls(&scene.certificates.server, Versions::Both);
        tls.client_ca = Some(scene.certificates.ca.clone());
        let collector = Collector::start(Settings { tls: Some(tls), ..Settings::default() }).unwrap();
        let mend = || {
            copy(&good.certificate, &certificate);
            copy(&good.key, &key);
        };
        mend();
        spoil();
        let destination = scene
            .destination("central", collector.port())
            .secured("clientCertificate", json!({ "certificateFile": certificate, "keyFile": key }));
        let message = message
            .replace("{key}", key.to_str().unwrap())
            .replace("{certificate}", certificate.to_str().unwrap());
        refused_until_mended(&scene, &collector, destination, &message, mend);
    }
}

#[test]
fn a_receiver_that_wants_a_certificate_and_gets_none_or_a_wrong_one_is_understood() {
    let scene = Scene::new();
    let stranger = &scene.certificates.client_of_other_ca;
    let none: Option<Value> = None;
    let wrong = Some(json!({ "certificateFile": stranger.certificate, "keyFile": stranger.key }));
    let wants = "the receiver wants a client certificate, and none was given or none fits";
    for version in [Versions::Only12, Versions::Only13] {
        for (client, message) in [(&none, wants), (&wrong, "client certificate")] {
            let mut tls = scene.tls(&scene.certificates.server, version);
            tls.client_ca = Some(scene.certificates.ca.clone());
            let collector = Collector::start(Settings { tls: Some(tls), ..Settings::default() }).unwrap();
            let log = scene.log(&format!("{}.log", collector.port()));
            Pen::append_once(&log, 0, 0, 10);
            let mut destination = scene.destination("central", collector.port());
            if let Some(client) = client {
                destination = destination.secured("clientCertificate", client.clone());
            }
            let sidecar = scene.sidecar(vec![forwarded("app", &log, "central")], vec![destination]);
            sidecar.wait_for_error("central", message);
            assert_eq!(collector.message_count(), 0);
        }
    }
}

#[test]
fn receivers_that_are_no_syslog_receivers_are_told_apart() {
    let cases = [
        (Kind::Silent, "no TLS handshake within 0.4 s; is this port for TLS?"),
        (
            Kind::PlainText,
            "the receiver does not speak TLS on this port: it answered \"220 mail.example ESMTP ready\"",
        ),
        (Kind::CloseAtOnce, "the receiver closed the connection during the handshake; is this port for TLS?"),
        (
            Kind::ResetWithUnread,
            "the receiver closed the connection during the handshake; is this port for TLS?",
        ),
        (Kind::FullBacklog, "no answer within 0.4 s"),
    ];
    let scene = Scene::new();
    let peers = cases.map(|(kind, _)| Misbehaving::start(kind).unwrap());
    let (mut logs, mut destinations) = (Vec::new(), Vec::new());
    for (index, peer) in peers.iter().enumerate() {
        let (name, log) = (format!("d{index}"), scene.log(&format!("{index}.log")));
        Pen::append_once(&log, 0, 0, 10);
        logs.push(forwarded(&name, &log, &name));
        let destination = scene
            .destination(&name, peer.port())
            .delivery("connectTimeout", "400ms")
            .delivery("handshakeTimeout", "400ms");
        destinations.push(destination);
    }
    let no_name = json!([{ "host": "no-such-host.invalid", "port": 6514 }]);
    logs.push(forwarded("nowhere", &scene.log("0.log.not-there"), "nowhere"));
    destinations.push(scene.destination("nowhere", 1).syslog("endpoints", no_name));
    let sidecar = scene.sidecar(logs, destinations);
    for (index, (_, message)) in cases.iter().enumerate() {
        sidecar.wait_for_error(&format!("d{index}"), message);
    }
    sidecar.wait_for_error("nowhere", "cannot look up 'no-such-host.invalid': ");
}

/// A configuration at the start that cannot be used: the message, and what is served meanwhile.
fn unusable(spoil: impl FnOnce(&Sidecar), message: &str) {
    let scene = Scene::new();
    let collector = scene.collector(Settings::default());
    let log = scene.log("app.log");
    Pen::append_once(&log, 0, 0, 100);
    let good =
        config(vec![forwarded("app", &log, "central")], vec![scene.destination("central", collector.port())]);
    let mut sidecar = Sidecar::new(scene.root());
    let message = message.replace("{}", sidecar.config_file().to_str().unwrap());
    spoil(&sidecar);
    sidecar.start();
    let problems = || sidecar.status()["problems"].as_array().cloned().unwrap_or_default();
    let expected = json!(format!("the configuration cannot be used: {message}"));
    eventually("the problem", || problems() == [expected.clone()]);
    assert_eq!(sidecar.metric("config_valid", &[]), 0.0);
    assert_eq!(sidecar.get("/healthz").status, 200);
    assert!(sidecar.log().contains("the configuration cannot be used: "));
    // `check` says the same, and that it is wrong.
    let (output, status) = sidecar.command(&["check"]);
    assert_eq!((output.trim_end(), status.code()), (message.as_str(), Some(1)));
    drop(fs::remove_dir(sidecar.config_file()));
    sidecar.write_config(&good);
    assert_exact(&collector, &[("w00", 100)]);
    sidecar.counts("config_valid", &[], 1.0);
    assert!(problems().is_empty(), "{:?}", problems());
    sidecar.terminate();
}

#[test]
fn a_configuration_that_is_missing_is_waited_for() {
    unusable(|_| {}, "{}: No such file or directory (os error 2)");
}

#[test]
fn a_configuration_directory_without_a_policy_is_waited_for() {
    let message = "{}: no policy in this directory: expected <policy>/config.v1.json";
    unusable(|sidecar| fs::create_dir(sidecar.config_file()).unwrap(), message);
}

#[test]
fn a_configuration_that_is_torn_is_waited_for() {
    let text = "{\n  \"version\": 1,\n  \"policy\": \"we";
    unusable(
        |sidecar| sidecar.write_config_text(text),
        "{}: the file ends in the middle, at line 3 column 15",
    );
}

#[test]
fn a_configuration_of_a_newer_version_is_waited_for() {
    let text = "{ \"version\": 2, \"anything\": true }";
    let message = "{}: version: 2 is not known to this sidecar, which reads version 1";
    unusable(|sidecar| sidecar.write_config_text(text), message);
}

#[test]
fn a_configuration_with_wrong_fields_names_each_of_them() {
    let text = r#"{ "version": 1, "policy": "web", "logs": [{ "name": "app", "files": { "include": ["/x.log"] },
        "rotate": { "when": { "size": "100MB" }, "reopen": { "none": {} }, "retension": {} } }] }"#;
    let message = "{}: logs[0].rotate.retension: is not known; did you mean retention?";
    let scene = Scene::new();
    let sidecar = Sidecar::new(scene.root());
    sidecar.write_config_text(text);
    let (output, status) = sidecar.command(&["check"]);
    assert_eq!(status.code(), Some(1));
    let first = output.lines().next().unwrap();
    assert!(first.starts_with(&message.replace("{}", sidecar.config_file().to_str().unwrap())), "{output}");
    unusable(
        |sidecar| sidecar.write_config_text(text),
        &output.trim_end().replace(sidecar.config_file().to_str().unwrap(), "{}"),
    );
}

#[test]
fn a_configuration_that_is_spoiled_while_the_sidecar_runs_changes_nothing() {
    let scene = Scene::new();
    let collector = scene.collector(Settings::default());
    let log = scene.log("app.log");
    let mut pen = Pen::open(&log, 0);
    let sidecar = scene.sidecar(
        vec![forwarded("app", &log, "central")],
        vec![scene.destination("central", collector.port())],
    );
    pen.write(10);
    assert_exact(&collector, &[("w00", 10)]);
    sidecar.write_config_text("{");
    pen.write(10);
    assert_exact(&collector, &[("w00", 20)]);
    fs::remove_file(sidecar.config_file()).unwrap();
    pen.write(10);
    assert_exact(&collector, &[("w00", 30)]);
}

#[test]
fn paths_that_are_no_log_files_are_refused_counted_and_never_read() {
    let scene = Scene::new();
    let collector = scene.collector(Settings::default());
    let base = scene.directory("logs");
    let outside = scene.root().join("outside.log");
    Pen::append_once(&outside, 9, 0, 10);
    symlink(&outside, base.join("link.log")).unwrap();
    Pen::append_once(&base.join("twice.log"), 8, 0, 10);
    fs::hard_link(base.join("twice.log"), scene.root().join("second-name")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, base.join("fifo.log"), rustix::fs::Mode::RWXU).unwrap();
    fs::create_dir(base.join("directory.log")).unwrap();
    symlink(scene.root(), base.join("loop")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(base.join("socket.log")).unwrap();
    Pen::append_once(&base.join("good.log"), 0, 0, 10);
    let sidecar = scene.sidecar(
        vec![forwarded("app", &base.join("**").join("*.log"), "central")],
        vec![scene.destination("central", collector.port())],
    );
    assert_exact(&collector, &[("w00", 10)]);
    let refused = || sidecar.metric("refused_files_total", &[("policy", "web"), ("log", "app")]);
    eventually("four refusals", || refused() == 4.0);
    let log = sidecar.log();
    for (name, reason) in [
        ("link.log", "is a symbolic link, which is never followed"),
        ("twice.log", "is a file with more than one name"),
        ("fifo.log", "is a FIFO, socket or device, no file"),
    ] {
        let line = log.lines().find(|line| line.contains(name)).unwrap_or_default();
        assert!(line.contains(reason), "{name}: {line}");
    }
    assert_eq!(sidecar.status()["streams"].as_array().unwrap().len(), 1);
}

#[test]
fn a_directory_that_cannot_be_written_is_forwarded_all_the_same_and_that_is_said() {
    if rustix::process::geteuid().is_root() {
        // Root writes everywhere; a file in the state directory's place keeps it from being made.
        let scene = Scene::new();
        let collector = scene.collector(Settings::default());
        let log = scene.log("app.log");
        Pen::append_once(&log, 0, 0, 100);
        fs::write(scene.log(".capstan"), "").unwrap();
        let sidecar = scene.sidecar(
            vec![forwarded("app", &log, "central")],
            vec![scene.destination("central", collector.port())],
        );
        let problems = || sidecar.status()["problems"].to_string();
        eventually("the problem", || problems().contains(scene.log(".capstan").to_str().unwrap()));
        fs::remove_file(scene.log(".capstan")).unwrap();
        assert_exact(&collector, &[("w00", 100)]);
        return;
    }
    let scene = Scene::new();
    let collector = scene.collector(Settings::default());
    let log = scene.log("app.log");
    Pen::append_once(&log, 0, 0, 100);
    fs::set_permissions(scene.directory("logs"), fs::Permissions::from_mode(0o555)).unwrap();
    let sidecar = scene.sidecar(
        vec![forwarded("app", &log, "central")],
        vec![scene.destination("central", collector.port())],
    );
    assert_exact(&collector, &[("w00", 100)]);
    assert!(sidecar.status()["problems"].to_string().contains("no place for state"));
}
