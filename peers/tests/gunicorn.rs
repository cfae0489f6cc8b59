//! The real gunicorn under load: every answered request is in its logs once, over a rotation too.

#![cfg(test)]

use std::fs;
use std::time::Duration;

use capstan_peers::gunicorn::Gunicorn;
use capstan_peers::lines::{Numbering, Tally, files_below};
use capstan_peers::load::Load;
use capstan_peers::ports::wait_until;

const LIMIT: Duration = Duration::from_secs(30);

#[test]
fn every_answered_request_is_in_the_logs_once_over_a_rotation() {
    let directory = tempfile::tempdir().unwrap();
    let mut gunicorn = Gunicorn::start(directory.path()).unwrap();
    let access = gunicorn.logs().join("access.log");
    let load = Load::start(gunicorn.port(), 4, 500);
    wait_until(LIMIT, "answers", || load.totals().answered > 100).unwrap();
    fs::rename(&access, gunicorn.logs().join("access.log.1")).unwrap();
    let master = rustix::process::Pid::from_raw(gunicorn.id().try_into().unwrap()).unwrap();
    rustix::process::kill_process(master, rustix::process::Signal::USR1).unwrap();
    wait_until(LIMIT, "the new file to grow", || fs::metadata(&access).is_ok_and(|file| file.len() > 5_000))
        .unwrap();
    let on_old_file = || gunicorn.open_logs().unwrap().contains(&gunicorn.logs().join("access.log.1"));
    wait_until(LIMIT, "all three processes to reopen", || !on_old_file()).unwrap();
    // Three processes, two logs.
    assert_eq!(gunicorn.open_logs().unwrap().len(), 6);
    let totals = load.stop();
    assert_eq!(totals.sent, totals.answered);
    gunicorn.terminate().unwrap();

    let files = files_below(&gunicorn.logs()).unwrap();
    let mut requests = Tally::new(Numbering::After("GET /req/"));
    requests.add_files(&files).unwrap();
    let comparison = requests.compare([("", totals.sent)]);
    assert!(comparison.is_exact(), "{comparison}");
    let mut errors = Tally::new(Numbering::After("tenth request "));
    errors.add_files(&files).unwrap();
    let comparison = errors.compare([("", totals.sent.div_ceil(10))]);
    assert!(comparison.is_exact(), "{comparison}");
}
