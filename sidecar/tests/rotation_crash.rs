//! The sidecar dies at any moment of a rotation or a compression: the next start completes or undoes it, and no line
//! is lost, doubled on disk, or not received.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::fs::{self, File};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use capstan_peers::writer::{Settings, Writer};
use capstan_sidecar::files::directory::Directory;
use capstan_sidecar::rotate::compress::Compressor;
use capstan_sidecar::stream::ledger::{Intent, Ledger, Stage, Stream};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde_json::json;
use support::recount::{Receiver, assert_exact};
use support::sidecar::{Sidecar, edit_ledger};
use support::{LONG, Scene, append, forwarded, lines, names};

const KILLS: u32 = 60;

/// A time up to `most` milliseconds.
fn any_time(most: u64) -> Duration {
    Duration::from_millis(RandomState::new().build_hasher().finish() % most)
}

fn killed_at_any_point(workers: usize) {
    let (scene, receiver) = (Scene::new(), Receiver::start());
    let mut log = scene.rotated();
    log["rotate"]["when"]["size"] = json!("32Ki");
    let config = forwarded(&[log], receiver.port());
    let count = 240_000 / workers as u64;
    let settings =
        Settings { workers, rate: 20_000 / workers as u64, width: 60, ..Settings::new(&scene.log(), count) };
    let mut writer = scene.start(&settings);
    let mut sidecar = Sidecar::start(&scene, &config);
    for _ in 0..KILLS {
        sleep(any_time(250));
        sidecar.relaunch();
    }
    writer.finish(LONG).unwrap();
    receiver.wait_for_all(workers, count);
    sidecar.restart();
    sidecar.wait_until_left();
    let archives = scene.archives().len();
    assert!(archives > KILLS as usize, "hardly a rotation was cut short: {archives} archives");
    scene.wait_for_compressed(archives);
    assert_exact(&scene.logs(), workers, count);
    assert_eq!(empty_files(&scene.archive()), [] as [PathBuf; 0], "left behind by a rotation");
    assert_eq!(names(&scene.logs()), [".capstan", "app.log", "archive"]);
}

fn empty_files(directory: &Path) -> Vec<PathBuf> {
    let paths = names(directory).into_iter().map(|name| directory.join(name));
    paths.filter(|path| capstan_peers::lines::read_unpacked(path).unwrap().is_empty()).collect()
}

#[test]
fn a_sidecar_killed_at_any_point_loses_no_line_of_one_writer() {
    killed_at_any_point(1);
}

#[test]
fn a_sidecar_killed_at_any_point_loses_no_line_of_four_writers() {
    killed_at_any_point(4);
}

/// A log with some lines, an app that has it open, and a sidecar that was stopped.
struct Crash {
    receiver: Receiver,
    sidecar: Sidecar,
    writer: Writer,
    // Last, because everybody else uses its files to the end.
    scene: Scene,
}

const LINES: u64 = 5_000;
const ARCHIVE: &str = "archive/app.log.20260102T030405Z.000001";

impl Crash {
    /// Stopped before any rotation.
    fn before_a_rotation() -> Crash {
        let (scene, receiver) = (Scene::new(), Receiver::start());
        let settings = Settings { rate: 0, stay: true, ..Settings::new(&scene.log(), LINES) };
        let writer = scene.start(&settings);
        let mut log = scene.rotated();
        log["rotate"]["when"]["size"] = json!("1Gi");
        let mut sidecar = Sidecar::start(&scene, &forwarded(&[log], receiver.port()));
        sidecar.wait_for_bytes(&scene.log(), LINES * 200);
        receiver.wait_for_all(1, LINES);
        sidecar.stop();
        fs::create_dir(scene.archive()).unwrap();
        Crash { scene, receiver, sidecar, writer }
    }

    /// Stopped with a sealed archive that was not compressed; returns its path too. The live file is empty.
    fn before_a_compression() -> (Crash, PathBuf) {
        let mut crash = Crash::before_a_rotation();
        let mut config = crash.config();
        config["logs"][0]["rotate"]["archive"]["compression"] = json!("None");
        crash.sidecar.restart_with(&config);
        crash.rotate();
        crash.sidecar.stop();
        let archives = crash.scene.archives();
        assert_eq!(archives.len(), 1);
        crash.edit(|stream| assert!(matches!(stream.generations[0].stage, Stage::Sealed(_))));
        config["logs"][0]["rotate"]["archive"]["compression"] = json!("Gzip");
        fs::write(crash.sidecar.config(), config.to_string()).unwrap();
        let archive = crash.scene.archive().join(&archives[0]);
        (crash, archive)
    }

    fn config(&self) -> serde_json::Value {
        serde_json::from_slice(&fs::read(self.sidecar.config()).unwrap()).unwrap()
    }

    fn rotate(&self) {
        self.sidecar.wait_for_stream("the file to be known", |stream| stream.generation > 0);
        let said = self.sidecar.command(&["rotate", "--force"]);
        assert!(said.code == 0 && said.out.contains("rotated"), "{said:?}");
    }

    fn edit(&self, edit: impl FnOnce(&mut Stream)) {
        edit_ledger(&self.scene.logs(), |ledger: &mut Ledger| {
            edit(ledger.streams.get_mut("app.log").unwrap())
        });
    }

    fn archive(&self) -> PathBuf {
        self.scene.logs().join(ARCHIVE)
    }

    /// As the sidecar enters it before it touches the directory.
    fn intend(&self) {
        self.edit(|stream| {
            let old = stream.live().unwrap().id.clone();
            stream.intent = Some(Intent { archive: ARCHIVE.to_owned(), old });
        });
    }

    fn prepare(&self) {
        File::create_new(self.archive()).unwrap();
    }

    fn exchange(&self, archive: &Path) {
        renameat_with(CWD, self.scene.log(), CWD, archive, RenameFlags::EXCHANGE).unwrap();
    }

    /// Starts again and checks that everything is as after a rotation without a crash, with so many archives.
    fn completes(mut self, archives: usize) {
        self.sidecar.restart();
        self.sidecar.wait_until_left();
        self.scene.wait_for_compressed(archives);
        self.is_whole();
        // And goes on as if nothing had been.
        self.rotate_after_writing(archives);
    }

    fn is_whole(&self) {
        assert_exact(&self.scene.logs(), 1, LINES);
        assert_eq!(empty_files(&self.scene.archive()), [] as [PathBuf; 0], "left behind");
        self.receiver.wait_for_exactly(1, LINES);
        assert_eq!(self.sidecar.metric("lost_bytes_total", &[]), 0.0);
        assert_eq!(self.sidecar.metric("truncations_total", &[]), 0.0);
    }

    fn rotate_after_writing(mut self, archives: usize) {
        self.writer.terminate().unwrap();
        append(&self.scene.log(), &lines(LINES, LINES + 100));
        self.sidecar.wait_for_stream("the lines", |stream| stream.live_bytes > 0);
        self.receiver.wait_for_exactly(1, LINES + 100);
        let said = self.sidecar.command(&["rotate", "--force"]);
        // The app is gone, so nobody can be told, and nobody needs to be.
        assert!(said.code == 0 && said.out.contains("rotated"), "{said:?}");
        self.scene.wait_for_compressed(archives + 1);
        assert_exact(&self.scene.logs(), 1, LINES + 100);
    }
}

#[test]
fn a_rotation_that_was_only_announced_is_forgotten() {
    let crash = Crash::before_a_rotation();
    crash.intend();
    crash.completes(0);
}

#[test]
fn the_new_file_of_a_rotation_that_was_only_prepared_is_removed() {
    let crash = Crash::before_a_rotation();
    crash.intend();
    crash.prepare();
    crash.completes(0);
}

#[test]
fn a_rotation_whose_files_were_exchanged_is_completed_and_the_app_told() {
    let crash = Crash::before_a_rotation();
    crash.intend();
    crash.prepare();
    crash.exchange(&crash.archive());
    crash.completes(1);
}

#[test]
fn a_rotation_without_exchange_that_left_no_live_file_is_completed_and_the_app_told() {
    let crash = Crash::before_a_rotation();
    crash.intend();
    fs::rename(crash.scene.log(), crash.archive()).unwrap();
    crash.completes(1);
}

#[test]
fn names_that_were_put_back_are_taken_as_they_are_and_the_empty_file_goes() {
    let mut crash = Crash::before_a_rotation();
    // Deaf from the start: the app is named by a pid file that is not there.
    fs::remove_file(crash.scene.pid_file()).unwrap();
    crash.sidecar.restart();
    crash.sidecar.wait_for_stream("the file to be known", |stream| stream.generation > 0);
    let config = crash.sidecar.config().to_owned();
    let asked = std::thread::spawn(move || support::sidecar::command(&config, &["rotate", "--force"]));
    crash.sidecar.wait_for_stream("the rotation", |stream| !stream.held.is_empty());
    crash.sidecar.kill();
    assert_ne!(asked.join().unwrap().code, 0, "a rotation that nobody saw the end of is no success");
    let archive = crash.scene.archive().join(&crash.scene.archives()[0]);
    crash.exchange(&archive);
    crash.scene.write_pid(crash.writer.id());
    crash.sidecar.restart();
    crash.sidecar.wait_for_stream("the live file", |stream| {
        stream.live_bytes == LINES * 200 && stream.held.is_empty()
    });
    crash.scene.wait("the empty file to go", || crash.scene.archives().is_empty());
    crash.is_whole();
    crash.rotate_after_writing(0);
}

#[test]
fn a_compression_that_was_cut_off_anywhere_goes_on() {
    let (crash, archive) = Crash::before_a_compression();
    let part = archive.with_file_name(format!("{}.gz.part", archive.file_name().unwrap().to_str().unwrap()));
    let directory = Directory::open(&crash.scene.archive()).unwrap();
    let source = directory.open_file(archive.file_name().unwrap()).unwrap();
    let mut compressor = Compressor::start(&directory, archive.file_name().unwrap(), &source, 0, 6).unwrap();
    compressor.step().unwrap();
    drop(compressor);
    let length = fs::metadata(&part).unwrap().len();
    File::options().write(true).open(&part).unwrap().set_len(length / 2).unwrap();
    crash.completes(1);
}

#[test]
fn a_torn_part_that_is_no_compressed_file_at_all_is_made_anew() {
    let (crash, archive) = Crash::before_a_compression();
    let part = archive.with_file_name(format!("{}.gz.part", archive.file_name().unwrap().to_str().unwrap()));
    fs::write(part, vec![0; 100_000]).unwrap();
    crash.completes(1);
}

/// The compressed file stands under its final name; the plain one is there still.
fn compress(crash: &Crash, archive: &Path) {
    use capstan_sidecar::rotate::compress::Progress;
    let directory = Directory::open(&crash.scene.archive()).unwrap();
    let source = directory.open_file(archive.file_name().unwrap()).unwrap();
    let mut compressor = Compressor::start(&directory, archive.file_name().unwrap(), &source, 0, 6).unwrap();
    while !matches!(compressor.step().unwrap(), Progress::Done(_)) {}
}

#[test]
fn a_plain_archive_beside_its_finished_compressed_one_is_removed() {
    let (crash, archive) = Crash::before_a_compression();
    compress(&crash, &archive);
    crash.completes(1);
}

#[test]
fn a_compressed_archive_whose_plain_one_was_just_removed_is_known_for_what_it_is() {
    let (crash, archive) = Crash::before_a_compression();
    compress(&crash, &archive);
    fs::remove_file(archive).unwrap();
    crash.completes(1);
}

#[test]
fn an_archive_that_was_deleted_just_before_the_crash_is_no_loss() {
    let (mut crash, archive) = Crash::before_a_compression();
    let kept = fs::read(&archive).unwrap();
    fs::remove_file(&archive).unwrap();
    crash.sidecar.restart();
    let stream = crash.sidecar.wait_for_stream("the live file", |stream| stream.generation > 0);
    assert_eq!(stream.archives, 0);
    // Only so that the recount finds what retention took.
    fs::write(crash.scene.archive().join("kept"), kept).unwrap();
    crash.is_whole();
}
