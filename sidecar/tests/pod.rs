//! What a sidecar does because it runs in a pod: wishes by annotation, signals by container, last words.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod fsupport;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use capstan_config::TerminationMessage;
use capstan_peers::child::Child;
use capstan_peers::collector::{Collector, Settings};
use capstan_peers::misbehave::{Kind, Misbehaving};
use fsupport::pod::{Pod, mount};
use fsupport::{Destination, LONG, Pen, Scene, assert_exact, eventually, forwarded, rotated};
use serde_json::json;

fn annotate(scene: &Scene, rotate_at: &str) {
    let text = format!("capstan.dev/rotate-at={rotate_at:?}\n");
    fs::write(scene.root().join("annotations"), text).unwrap();
}

fn archives(pod: &Pod) -> u64 {
    let streams = pod.status()["streams"].as_array().unwrap().clone();
    streams.iter().map(|stream| stream["archives"].as_u64().unwrap()).sum()
}

#[test]
fn all_logs_are_rotated_once_when_the_annotated_time_has_come() {
    let scene = Scene::new();
    let collector = Collector::start(Settings::default()).unwrap();
    let logs: Vec<_> = ["one", "two"].iter().map(|name| scene.log(&format!("{name}.log"))).collect();
    let (one, two) = (rotated("one", &logs[0], "to", "1Gi"), rotated("two", &logs[1], "to", "1Gi"));
    let file = fsupport::config::config(vec![one, two], vec![Destination::tcp("to", collector.port())]);
    mount(&scene, "web", Some(&file.to_string()));
    for (writer, log) in logs.iter().enumerate() {
        Pen::append_once(log, writer, 0, 10);
    }
    let mut pod = Pod::start(&scene);
    assert_exact(&collector, &[("w00", 10), ("w01", 10)]);
    annotate(&scene, "soon");
    let message = "annotation capstan.dev/rotate-at: \\\"soon\\\" is not a time; write for example \\\"2026-11-21T15:00:00Z\\\"";
    eventually("the problem", || pod.problems().contains(message));
    annotate(&scene, &(jiff::Timestamp::now() + jiff::SignedDuration::from_hours(1)).to_string());
    eventually("the problem to be over", || !pod.problems().contains("rotate-at"));
    assert_eq!(archives(&pod), 0, "its time has not come");
    let wanted = jiff::Timestamp::now();
    annotate(&scene, &wanted.to_string());
    eventually("the archives", || archives(&pod) == 2);
    Pen::append_once(&logs[0], 0, 10, 10);
    assert_exact(&collector, &[("w00", 20), ("w01", 10)]);
    // Served, also for the next start.
    pod.restart();
    Pen::append_once(&logs[0], 0, 20, 10);
    assert_exact(&collector, &[("w00", 30), ("w01", 10)]);
    assert_eq!(archives(&pod), 2);
    annotate(&scene, &jiff::Timestamp::now().to_string());
    // The second log is empty: there is nothing to rotate.
    eventually("the next archive", || archives(&pod) == 3);
}

#[test]
fn who_asks_for_a_container_gets_no_signal_where_containers_cannot_be_seen() {
    let scene = Scene::new();
    let log = scene.log("app.log");
    let mut app = rotated("app", &log, "to", "1Ki");
    app["container"] = json!("app");
    // Our own test is what matches; it has no handler, and would be refused for that otherwise.
    app["rotate"]["reopen"] =
        json!({ "signal": { "name": "HUP", "process": { "commandPattern": "deps/pod-" } }, "timeout": "1s" });
    app.as_object_mut().unwrap().remove("forward");
    mount(&scene, "web", Some(&fsupport::config::config(vec![app], Vec::new()).to_string()));
    // Held open, so that there is somebody to wait for.
    let mut pen = Pen::open(&log, 0);
    let pod = Pod::start(&scene);
    pen.write(20);
    eventually("the refusal", || {
        pod.log().contains("it cannot be seen which container it runs in, and the log asks for 'app'")
    });
    assert!(pod.metric("signals_total", &[("result", "refused")]) >= 1.0);
    assert_eq!(pod.metric("signals_total", &[("result", "sent")]), 0.0);
}

#[test]
fn what_stays_unconfirmed_is_left_as_the_termination_message() {
    let scene = Scene::new();
    let collector = Collector::start(Settings::default()).unwrap();
    // A receiver that takes everything and never says so.
    let stalled = Misbehaving::start(Kind::Silent).unwrap();
    let (good, bad) = (scene.log("good.log"), scene.log("bad.log"));
    let logs = vec![forwarded("good", &good, "good"), forwarded("bad", &bad, "bad")];
    let destinations = vec![
        Destination::tcp("good", collector.port()),
        Destination::tcp("bad", stalled.port()).delivery("closeTimeout", "1h"),
    ];
    mount(&scene, "web", Some(&fsupport::config::config(logs, destinations).to_string()));
    Pen::append_once(&good, 0, 0, 10);
    Pen::append_once(&bad, 1, 0, 10);
    let words = scene.root().join("termination-log");
    fs::write(&words, "").unwrap();
    let mut pod = Pod::start(&scene);
    assert_exact(&collector, &[("w00", 10)]);
    eventually("it to be sent", || pod.metric("lag_bytes", &[("log", "bad")]) == 1000.0);
    pod.child.signal(rustix::process::Signal::TERM).unwrap();
    // It is there long before the end: whoever stops us may not wait for that.
    let read = || TerminationMessage::parse(&fs::read_to_string(&words).unwrap());
    eventually("the message", || read().is_some_and(|message| message.unconfirmed.len() == 1));
    assert!(pod.child.ended().unwrap().is_none(), "it still tries");
    let message = read().unwrap();
    let left = &message.unconfirmed[0];
    assert_eq!((message.capstan, left.log.as_str(), left.destination.as_str()), (1, "web/bad", "bad"));
    assert_eq!(left.bytes, 1000);
    pod.child.kill().unwrap();
}

#[test]
fn who_has_everything_confirmed_leaves_nothing() {
    let scene = Scene::new();
    let collector = Collector::start(Settings::default()).unwrap();
    let log = scene.log("app.log");
    let destination =
        Destination::tcp("to", collector.port()).delivery("rollIdle", "1h").delivery("rollAge", "1h");
    let file = fsupport::config::config(vec![forwarded("app", &log, "to")], vec![destination]);
    mount(&scene, "web", Some(&file.to_string()));
    Pen::append_once(&log, 0, 0, 10);
    let words = scene.root().join("termination-log");
    fs::write(&words, "").unwrap();
    let mut pod = Pod::start(&scene);
    assert_exact(&collector, &[("w00", 10)]);
    assert!(pod.child.terminate(LONG).unwrap().success());
    assert_eq!(fs::read_to_string(&words).unwrap(), "");
}

#[test]
fn an_app_that_closes_its_files_has_its_last_lines_proved_at_once() {
    let scene = Scene::new();
    let collector = Collector::start(Settings::default()).unwrap();
    let log = scene.log("app.log");
    let destination =
        Destination::tcp("to", collector.port()).delivery("rollIdle", "1h").delivery("rollAge", "1h");
    let file = fsupport::config::config(vec![forwarded("app", &log, "to")], vec![destination]);
    mount(&scene, "web", Some(&file.to_string()));
    let mut pen = Pen::open(&log, 0);
    let pod = Pod::start(&scene);
    pen.write(10);
    assert_exact(&collector, &[("w00", 10)]);
    let confirmed = || pod.metric("confirmed_lines_total", &[]);
    assert_eq!(confirmed(), 0.0);
    // It has to be quiet first, so that it is seen to be held.
    std::thread::sleep(std::time::Duration::from_millis(500));
    drop(pen);
    eventually("the proof", || confirmed() == 10.0);
}

#[test]
fn the_secrets_of_a_sidecar_are_closed_to_others_of_its_user() {
    const NOBODY: u32 = 65534;
    let root = tempfile::tempdir().unwrap();
    // The user must get at the program, wherever it was built.
    let program = root.path().join("capstan-sidecar");
    fs::copy(env!("CARGO_BIN_EXE_capstan-sidecar"), &program).unwrap();
    fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let as_nobody = |program: &Path| {
        let mut command = Command::new(program);
        command.uid(NOBODY).gid(NOBODY).current_dir("/").env("SECRET", "in the environment");
        command
    };
    let mut sidecar = as_nobody(&program);
    sidecar.args(["run", "--config", "/nonexistent", "--listen", "none"]);
    let log = root.path().join("log");
    let sidecar = Child::spawn_logging("capstan-sidecar", &mut sidecar, &log).unwrap();
    let mut other = as_nobody(Path::new("/bin/sleep"));
    let other = Child::spawn("sleep", other.arg("600")).unwrap();
    let started = || fs::read_to_string(&log).unwrap().contains("started");
    eventually("the sidecar", started);
    let reads = |id: u32, what: &str| {
        let output =
            as_nobody(Path::new("/bin/ls")).arg("-l").arg(format!("/proc/{id}/{what}/")).output().unwrap();
        let text = as_nobody(Path::new("/bin/cat")).arg(format!("/proc/{id}/{what}")).output().unwrap();
        output.status.success() || text.status.success()
    };
    for what in ["environ", "fd", "maps", "cwd"] {
        assert!(reads(other.id(), what), "{what}: the test shows nothing");
        assert!(!reads(sidecar.id(), what), "{what}");
    }
}

/// A process with a handler that notes its signal in `out`, in a container of a pod as kubelet makes them: its
/// termination log is mounted from a place that names the container.
fn contained(scene: &Scene, container: &str, marker: &str) -> (Child, PathBuf) {
    let kept = scene.directory(&format!("kubelet/pods/uid-1/containers/{container}")).join("1f2e3d4c");
    let (mounted, out) =
        (scene.root().join(format!("{container}-log")), scene.root().join(format!("{container}-out")));
    fs::write(&kept, "").unwrap();
    fs::write(&mounted, "").unwrap();
    let script = r#"mount --bind "$1" "$2"; trap "echo got >> $3" USR1; echo ready >> $3; while :; do sleep 0.05; done"#;
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", script, marker]);
    let child = Child::spawn(container, command.arg(&kept).arg(&mounted).arg(&out)).unwrap();
    eventually("the process", || fs::read_to_string(&out).is_ok_and(|text| text.contains("ready")));
    (child, out)
}

#[test]
fn only_processes_of_the_log_s_container_are_signalled() {
    let scene = Scene::new();
    let log = scene.log("app.log");
    let marker = format!("marker-{}", std::process::id());
    let (_app, app_out) = contained(&scene, "app", &marker);
    let (_proxy, proxy_out) = contained(&scene, "proxy", &marker);
    let got = |out: &Path| fs::read_to_string(out).unwrap().matches("got").count();
    let write = |container: Option<&str>| {
        let mut rotated = rotated("app", &log, "to", "1Ki");
        rotated.as_object_mut().unwrap().remove("forward");
        rotated["container"] = json!(container);
        rotated["rotate"]["reopen"] =
            json!({ "signal": { "name": "USR1", "process": { "commandPattern": marker } }, "timeout": "1h" });
        mount(&scene, "web", Some(&fsupport::config::config(vec![rotated], Vec::new()).to_string()))
    };
    // Nothing is said: the first of the pod's containers is meant.
    let hash = write(None);
    let pod = Pod::start(&scene);
    pod.wait_until_good("web", &hash);
    Pen::append_once(&log, 0, 0, 20);
    eventually("the signal", || got(&app_out) >= 1);
    assert_eq!(got(&proxy_out), 0);
    let before = got(&app_out);
    let hash = write(Some("proxy"));
    pod.wait_until_good("web", &hash);
    eventually("the first rotation to be over", || archives(&pod) == 1);
    Pen::append_once(&log, 0, 20, 20);
    eventually("the other signal", || got(&proxy_out) >= 1);
    assert_eq!(got(&app_out), before);
}
