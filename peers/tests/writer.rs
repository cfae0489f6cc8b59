//! The writer program: it writes every line once, whatever happens to its file.

#![cfg(test)]

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use capstan_peers::lines::{Numbering, Tally, files_below};
use capstan_peers::ports::wait_until;
use capstan_peers::writer::{Behaviour, Settings, Writer};

const LIMIT: Duration = Duration::from_secs(20);

/// Renames the log a few times while it is written, with a signal each time.
fn rotate(log: &Path, writer: &mut Writer, times: usize) {
    for time in 0..times {
        wait_until(LIMIT, "the log to grow", || fs::metadata(log).is_ok_and(|file| file.len() > 20_000))
            .unwrap();
        fs::rename(log, log.with_extension(format!("{time}"))).unwrap();
        writer.reopen().unwrap();
    }
}

fn check_exact(files: &[PathBuf], writers: usize, count: u64) {
    let mut tally = Tally::new(Numbering::Writer);
    tally.add_files(files).unwrap();
    let comparison = tally.compare_writers(writers, count);
    assert!(comparison.is_exact(), "{comparison}");
    assert_eq!(tally.other_lines, 0);
}

#[test]
fn one_writer_that_reopens_writes_every_line_once() {
    for behaviour in [Behaviour::Reopen, Behaviour::Watch] {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("app.log");
        let mut writer = Writer::start(&Settings { behaviour, ..Settings::new(&log, 5_000) }).unwrap();
        rotate(&log, &mut writer, 5);
        writer.finish(LIMIT).unwrap();
        let files = files_below(directory.path()).unwrap();
        assert_eq!(files.len(), 6);
        check_exact(&files, 1, 5_000);
    }
}

#[test]
fn of_four_workers_one_stays_on_the_old_file() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("app.log");
    let settings = Settings { workers: 4, deaf_workers: 1, rate: 2_000, ..Settings::new(&log, 2_000) };
    let mut writer = Writer::start(&settings).unwrap();
    rotate(&log, &mut writer, 1);
    writer.finish(LIMIT).unwrap();
    check_exact(&files_below(directory.path()).unwrap(), 4, 2_000);
    let new = String::from_utf8(fs::read(&log).unwrap()).unwrap();
    assert!(new.contains("w00 000001999") && new.contains("w02 000001999") && !new.contains("w03"));
}

#[test]
fn a_writer_without_handler_dies_of_the_signal_and_a_deaf_one_does_not() {
    let directory = tempfile::tempdir().unwrap();
    for (behaviour, signal) in [(Behaviour::Default, Some(10)), (Behaviour::Ignore, Some(15))] {
        let log = directory.path().join("app.log");
        let settings = Settings { behaviour, count: 1, stay: true, ..Settings::new(&log, 1) };
        let mut writer = Writer::start(&settings).unwrap();
        wait_until(LIMIT, "the line", || fs::metadata(&log).is_ok_and(|file| file.len() == 200)).unwrap();
        writer.reopen().unwrap();
        if behaviour == Behaviour::Default {
            assert_eq!(writer.wait(LIMIT).unwrap().signal(), signal);
        } else {
            std::thread::sleep(Duration::from_millis(50));
            assert!(writer.is_running().unwrap());
            assert!(writer.terminate().unwrap().success());
        }
        fs::remove_file(&log).unwrap();
    }
}

#[test]
fn a_late_writer_reopens_after_its_delay() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("app.log");
    let reopen_after = Duration::from_millis(300);
    let mut writer = Writer::start(&Settings { reopen_after, ..Settings::new(&log, 20_000) }).unwrap();
    rotate(&log, &mut writer, 1);
    wait_until(LIMIT, "the new file", || log.exists()).unwrap();
    writer.finish(LIMIT).unwrap();
    // 300 ms at 20,000 lines per second, much of which may be lost to a busy machine.
    assert!(fs::metadata(log.with_extension("0")).unwrap().len() > 20_000);
    check_exact(&files_below(directory.path()).unwrap(), 1, 20_000);
}

#[test]
fn a_writer_may_replace_its_own_file() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("app.log");
    let settings = Settings { replace_every: Some(1_000), rate: 0, ..Settings::new(&log, 3_500) };
    Writer::start(&settings).unwrap().finish(LIMIT).unwrap();
    let files = files_below(directory.path()).unwrap();
    assert_eq!(files.len(), 4);
    check_exact(&files, 1, 3_500);
}
