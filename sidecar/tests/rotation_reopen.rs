//! Apps that do not do what they are told: late, deaf, half deaf, dead, or rotating by themselves. Nothing that may
//! still be written is compressed or deleted, and what keeps a rotation from its end is said.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod support;

use std::fs;
use std::process::{Command, Stdio};

use capstan_peers::child::{Child, catches};
use capstan_peers::writer::{Behaviour, Settings, Writer};
use capstan_sidecar::status::StreamStatus;
use rustix::process::Signal;
use serde_json::{Value, json};
use support::recount::{Receiver, assert_exact};
use support::sidecar::Sidecar;
use support::{LONG, Scene, append, config, forwarded, lines, names};

/// As most logs here, with little patience.
fn impatient(scene: &Scene) -> Value {
    let mut log = scene.rotated();
    log["rotate"]["reopen"]["timeout"] = json!("2s");
    log
}

fn is_held(stream: &StreamStatus) -> bool {
    !stream.held.is_empty()
}

#[test]
fn one_of_four_workers_that_never_reopens_keeps_its_file_from_being_compressed_or_deleted() {
    let (scene, receiver) = (Scene::new(), Receiver::start());
    let mut log = impatient(&scene);
    log["rotate"]["retention"] = json!({ "count": 1 });
    let sidecar = Sidecar::start(&scene, &forwarded(&[log], receiver.port()));
    let count = 4_000;
    let settings =
        Settings { rate: 500, width: 100, workers: 4, deaf_workers: 1, ..Settings::new(&scene.log(), count) };
    let mut writer = scene.start(&settings);
    let problem = sidecar.wait_for_problem("somebody still writes the old file");
    assert!(
        problem.contains("both files are read on, the old one is neither compressed nor deleted"),
        "{problem}"
    );
    assert!(sidecar.metric("reopen_failures_total", &[("reason", "held")]) >= 1.0);
    // Later generations come and go, within a count of 1; the first stays as long as it is written.
    sidecar.wait_for_stream("rotations of the others", |stream| stream.generation > 4);
    let (held, on_disk) = (sidecar.status().streams[0].held.clone(), scene.archives());
    let first = held.iter().find(|held| held.generation == 1).expect("the deaf worker's file");
    let first = first.path.strip_prefix("archive/").unwrap();
    assert!(on_disk.iter().any(|name| name == first), "{first} is not in {on_disk:?}");
    assert!(!on_disk.iter().any(|name| name.starts_with(first) && name != first), "compressed: {on_disk:?}");
    writer.finish(LONG).unwrap();
    receiver.wait_for_exactly(4, count);
    // Now that it is gone the file is an archive like any other, and the oldest, so it goes.
    sidecar.wait_until_left();
    scene.wait_for_compressed(1);
    sidecar.wait_for("the problem to be over", |status| status.problems.is_empty());
}

#[test]
fn where_nobody_reopens_the_names_are_put_back_and_a_later_try_succeeds() {
    let (scene, receiver) = (Scene::new(), Receiver::start());
    let mut log = impatient(&scene);
    log["rotate"]["retention"] = json!({ "count": 1 });
    let sidecar = Sidecar::start(&scene, &forwarded(&[log], receiver.port()));
    let deaf = Settings {
        behaviour: Behaviour::Ignore,
        width: 100,
        stay: true,
        ..Settings::new(&scene.log(), 2_000)
    };
    let mut writer = scene.start(&deaf);
    let problem = sidecar.wait_for_problem("nobody was seen to reopen within 2 s");
    assert!(problem.contains("the names were put back, tried again later"), "{problem}");
    let stream = sidecar.wait_for_stream("the names to be put back", |stream| stream.held.is_empty());
    assert_eq!((stream.generation, stream.live_bytes, stream.archives), (1, 200_000, 0));
    assert_eq!(names(&scene.logs()), [".capstan", "app.log", "archive"]);
    assert_eq!(scene.archives(), [] as [String; 0], "nothing is archived, and the empty file is gone");
    sidecar.counts("rotations_total", &[("result", "undone")], 1.0);
    sidecar.counts("reopen_failures_total", &[("reason", "held")], 1.0);
    assert_eq!(sidecar.metric("deletions_total", &[]), 0.0);
    sidecar.counts("signals_total", &[("result", "sent")], 2.0);
    // An end within two seconds after a signal would be taken for its effect.
    std::thread::sleep(std::time::Duration::from_secs(3));
    writer.terminate().unwrap();
    let mut writer = scene.start(&Settings { width: 100, stay: true, ..Settings::new(&scene.log(), 0) });
    scene.wait_for_compressed(1);
    sidecar.wait_for("the problem to be over", |status| status.problems.is_empty());
    receiver.wait_for_exactly(1, 2_000);
    assert_exact(&scene.logs(), 1, 2_000);
    assert!(writer.is_running().unwrap());
}

#[test]
fn an_app_that_looks_at_its_path_itself_needs_no_signal() {
    let (scene, receiver) = (Scene::new(), Receiver::start());
    let mut log = scene.rotated();
    log["rotate"]["reopen"] = json!({ "none": {} });
    let sidecar = Sidecar::start(&scene, &forwarded(&[log], receiver.port()));
    let count = 20_000;
    let settings = Settings {
        behaviour: Behaviour::Watch,
        rate: 5_000,
        width: 100,
        ..Settings::new(&scene.log(), count)
    };
    scene.start(&settings).finish(LONG).unwrap();
    receiver.wait_for_exactly(1, count);
    sidecar.wait_until_left();
    assert!(sidecar.status().streams[0].generation > 3);
    assert_eq!(sidecar.metric("signals_total", &[]), 0.0);
    assert_exact(&scene.logs(), 1, count);
}

fn app_that_replaces_its_file(rotated: bool, include: &str) {
    let (scene, receiver) = (Scene::new(), Receiver::start());
    let mut log = scene.rotated();
    log["files"]["include"] = json!([scene.logs().join(include)]);
    log["rotate"]["reopen"] = json!({ "none": {} });
    log["rotate"]["when"]["size"] = json!("50k");
    if !rotated {
        log.as_object_mut().unwrap().remove("rotate");
    }
    let mut sidecar = Sidecar::start(&scene, &forwarded(&[log], receiver.port()));
    let count = 20_000;
    let settings = Settings {
        behaviour: Behaviour::Watch,
        rate: 4_000,
        width: 100,
        replace_every: Some(700),
        ..Settings::new(&scene.log(), count)
    };
    scene.start(&settings).finish(LONG).unwrap();
    receiver.wait_for_exactly(1, count);
    sidecar.wait_until_left();
    assert_exact(&scene.logs(), 1, count);
    let aside = names(&scene.logs()).iter().filter(|name| name.contains(".replaced-")).count();
    if include == "app.log" {
        assert_eq!(aside, (count as usize - 1) / 700, "what the app put aside is not ours to archive");
    }
    // Whatever is looked at again later, nothing is new.
    append(&scene.logs().join("other.txt"), "");
    sidecar.restart_and_settle();
    receiver.wait_for_exactly(1, count);
    assert_exact(&scene.logs(), 1, count);
}

#[test]
fn an_app_that_replaces_its_file_itself_is_followed() {
    app_that_replaces_its_file(false, "app.log");
}

#[test]
fn an_app_that_replaces_its_file_while_it_is_rotated_loses_nothing() {
    app_that_replaces_its_file(true, "app.log");
}

#[test]
fn files_that_an_app_puts_aside_are_not_taken_for_new_logs_where_the_pattern_fits_them() {
    app_that_replaces_its_file(false, "*");
}

#[test]
fn a_rotation_by_somebody_else_is_followed_under_the_new_names() {
    let (scene, receiver) = (Scene::new(), Receiver::start());
    let mut log = scene.rotated();
    log["files"]["include"] = json!([scene.logs().join("*")]);
    log.as_object_mut().unwrap().remove("rotate");
    let mut sidecar = Sidecar::start(&scene, &forwarded(&[log], receiver.port()));
    let count = 12_000;
    let settings = Settings { rate: 3_000, width: 100, ..Settings::new(&scene.log(), count) };
    let mut writer = scene.start(&settings);
    for round in 1..=5 {
        sidecar.wait_for("the live file to grow", |status| {
            status.streams.iter().any(|stream| {
                (stream.path.ends_with("app.log"), stream.generation) == (true, round)
                    && stream.live_bytes > 20_000
            })
        });
        // As logrotate does it: the oldest first, then a new file, then the signal.
        for old in (1..round).rev() {
            let name = |number| scene.logs().join(format!("app.log.{number}"));
            fs::rename(name(old), name(old + 1)).unwrap();
        }
        fs::rename(scene.log(), scene.logs().join("app.log.1")).unwrap();
        append(&scene.log(), "");
        writer.reopen().unwrap();
        if round == 3 {
            // Whether one is looking or not.
            sidecar.stop();
            sidecar.restart();
        }
    }
    writer.finish(LONG).unwrap();
    receiver.wait_for_all(1, count);
    sidecar.wait_until_left();
    sidecar.restart_and_settle();
    assert_exact(&scene.logs(), 1, count);
    assert_eq!(names(&scene.logs()).len(), 7, "{:?}", names(&scene.logs()));
    receiver.wait_for_exactly(1, count);
}

#[test]
fn truncation_by_somebody_else_is_counted_and_the_file_read_from_its_start() {
    let (scene, receiver) = (Scene::new(), Receiver::start());
    append(&scene.log(), &lines(0, 100));
    let mut sidecar = Sidecar::start(&scene, &forwarded(&[scene.quiet()], receiver.port()));
    receiver.wait_for_exactly(1, 100);
    let truncate = || fs::File::options().write(true).open(scene.log()).unwrap().set_len(0).unwrap();
    truncate();
    append(&scene.log(), &lines(100, 110));
    receiver.wait_for_exactly(1, 110);
    sidecar.counts("truncations_total", &[], 1.0);
    // As much again as before the truncation, and more: only the content tells.
    truncate();
    append(&scene.log(), &lines(110, 300));
    receiver.wait_for_all(1, 300);
    // While nobody looks.
    sidecar.stop();
    truncate();
    append(&scene.log(), &lines(300, 320));
    sidecar.restart();
    receiver.wait_for_all(1, 320);
    assert!(sidecar.output().contains("truncated or replaced while the sidecar was away"));
}

/// A log that is due, and a process of the pid file that must not be signalled, for this reason.
fn refuses(scene: &Scene, reason: &str) {
    append(&scene.log(), &lines(0, 2_000));
    let sidecar = Sidecar::start(scene, &config(&[impatient(scene)]));
    let problem = sidecar.wait_for_problem(reason);
    assert!(problem.contains("nobody was seen to reopen within 2 s, and nobody was signalled"), "{problem}");
    assert!(sidecar.metric("reopen_failures_total", &[("reason", "not_signalled")]) >= 1.0);
    assert!(sidecar.metric("signals_total", &[("result", "refused")]) >= 1.0);
    assert_eq!(sidecar.metric("signals_total", &[("result", "sent")]), 0.0);
}

/// Holds the log open, so that a rotation waits for it.
fn holder(scene: &Scene) -> fs::File {
    fs::File::options().create(true).append(true).open(scene.log()).unwrap()
}

#[test]
fn a_target_without_a_handler_is_not_signalled_and_lives_on() {
    let scene = Scene::new();
    let settings = Settings { behaviour: Behaviour::Default, stay: true, ..Settings::new(&scene.log(), 0) };
    let mut writer = scene.start(&settings);
    refuses(&scene, &format!("process {} has no handler for signal 10, which would kill it", writer.id()));
    assert!(writer.is_running().unwrap());
    assert_exact(&scene.logs(), 1, 2_000);
}

#[test]
fn a_pid_file_that_names_the_first_process_is_refused() {
    let scene = Scene::new();
    let _holder = holder(&scene);
    scene.write_pid(1);
    refuses(&scene, "process 1 is never signalled: it is the first process");
}

#[test]
fn a_pid_file_of_a_process_that_is_gone_is_refused() {
    let scene = Scene::new();
    let _holder = holder(&scene);
    let mut gone = Command::new("true").spawn().unwrap();
    scene.write_pid(gone.id());
    let id = gone.id();
    gone.wait().unwrap();
    refuses(&scene, &format!("the pid file names process {id}, which does not exist"));
}

#[test]
fn a_stale_pid_file_whose_number_was_reused_is_refused() {
    let scene = Scene::new();
    let mut writer = scene.start(&Settings { stay: true, ..Settings::new(&scene.log(), 0) });
    let file = fs::File::options().write(true).open(scene.pid_file()).unwrap();
    file.set_modified(std::time::SystemTime::now() - std::time::Duration::from_secs(3600)).unwrap();
    refuses(
        &scene,
        &format!("the pid file names process {}, which started after the file was written", writer.id()),
    );
    assert!(writer.is_running().unwrap());
}

#[test]
fn a_pid_file_that_is_not_there_and_a_pattern_that_fits_nobody_are_said() {
    let scene = Scene::new();
    let _holder = holder(&scene);
    refuses(&scene, "app.pid: cannot open: No such file or directory");
    let scene = Scene::new();
    let _holder = holder(&scene);
    append(&scene.log(), &lines(0, 2_000));
    let mut log = impatient(&scene);
    log["rotate"]["reopen"]["signal"]["process"] =
        json!({ "commandPattern": "no-such-program-anywhere-[0-9]{9}" });
    let sidecar = Sidecar::start(&scene, &config(&[log]));
    sidecar.wait_for_problem("no process matches the command pattern");
}

/// Appends lines until SIGUSR1, for which it has a handler that ends it.
fn mortal(scene: &Scene) -> Child {
    let script = r#"exec >>"$0"; trap "exit 3" USR1; while :; do echo line; sleep 0.02; done"#;
    let mut command = Command::new("sh");
    command.args(["-c", script]).arg(scene.log()).stdin(Stdio::null());
    let child = Child::spawn("sh", &mut command).unwrap();
    scene.wait("the handler", || catches(child.id(), Signal::USR1));
    scene.write_pid(child.id());
    child
}

#[test]
fn a_target_that_dies_of_the_signal_is_not_signalled_again_not_even_after_a_restart() {
    let scene = Scene::new();
    let mut log = impatient(&scene);
    log["rotate"]["when"]["size"] = json!("1Gi");
    let mut app = mortal(&scene);
    let mut sidecar = Sidecar::start(&scene, &config(&[log]));
    let rotate = |sidecar: &Sidecar| {
        sidecar.wait_for_stream("lines", |stream| stream.live_bytes > 0);
        sidecar.command(&["rotate", "--force"])
    };
    rotate(&sidecar);
    assert_eq!(app.wait(LONG).unwrap().code(), Some(3), "it was signalled once");
    scene.wait("the death to be noticed", || sidecar.metric("signals_total", &[("result", "died")]) > 0.0);
    let refused = "a process died of this signal before";
    for restart in [false, true] {
        if restart {
            sidecar.kill();
            sidecar.restart();
        }
        let mut app = mortal(&scene);
        let said = rotate(&sidecar);
        assert!(said.code == 1 && said.out.contains(refused), "{said:?}");
        assert!(app.ended().unwrap().is_none(), "it was signalled again");
        app.kill().unwrap();
        sidecar.wait_until_left();
    }
}

#[test]
fn an_app_that_is_gone_is_no_obstacle() {
    let scene = Scene::new();
    let mut writer: Writer =
        scene.start(&Settings { width: 100, rate: 0, ..Settings::new(&scene.log(), 2_000) });
    writer.finish(LONG).unwrap();
    let sidecar = Sidecar::start(&scene, &config(&[impatient(&scene)]));
    scene.wait_for_compressed(1);
    assert!(!is_held(&sidecar.status().streams[0]));
    sidecar.counts("rotations_total", &[("result", "ok")], 1.0);
    assert_exact(&scene.logs(), 1, 2_000);
}
