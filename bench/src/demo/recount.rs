//! The recount: in, the directory of logs and the receiver's file; out, what is where.

use std::path::{Path, PathBuf};

use anyhow::Result;
use capstan_peers::lines::{Comparison, Numbering, Tally, files_below, read_unpacked};
use memchr::memmem;

/// What one log has in the files and at the receiver.
#[derive(Debug)]
pub(super) struct Recount {
    /// Lines in the files, archives included.
    pub(super) written: u64,
    /// Lines at the receiver.
    pub(super) received: u64,
    /// Access and error log, in the files.
    pub(super) in_files: [Comparison; 2],
    /// Access and error log, at the receiver.
    pub(super) at_receiver: [Comparison; 2],
    /// NUL bytes in the files.
    pub(super) nul_bytes: u64,
    /// How often gunicorn says that it got SIGUSR1.
    pub(super) signals_handled: u64,
}

impl Recount {
    /// Counts; `requests` is how many the client sent.
    pub(super) fn new(logs: &Path, received: &Path, requests: u64) -> Result<Self> {
        let files = files_below(logs)?;
        let [files_access, files_error] = tallies(&files)?;
        let [receiver_access, receiver_error] = tallies(&[received.to_path_buf()])?;
        let tenths = requests.div_ceil(10);
        Ok(Self {
            written: files_access.lines,
            received: receiver_access.lines,
            nul_bytes: files_access.nul_bytes,
            in_files: [files_access.compare([("", requests)]), files_error.compare([("", tenths)])],
            at_receiver: [receiver_access.compare([("", requests)]), receiver_error.compare([("", tenths)])],
            signals_handled: count_in(&files, b"Handling signal: usr1")?,
        })
    }

    pub(super) fn missing_in_files(&self) -> u64 {
        self.in_files.iter().map(|log| log.missing).sum()
    }

    pub(super) fn duplicated_in_files(&self) -> u64 {
        self.in_files.iter().map(|log| log.duplicated).sum()
    }

    pub(super) fn missing_at_receiver(&self) -> u64 {
        self.at_receiver.iter().map(|log| log.missing).sum()
    }

    pub(super) fn duplicated_at_receiver(&self) -> u64 {
        self.at_receiver.iter().map(|log| log.duplicated).sum()
    }

    /// Everything is in the files exactly once, and at the receiver at least once.
    pub(super) fn is_complete(&self) -> bool {
        self.in_files.iter().all(Comparison::is_exact)
            && self.at_receiver.iter().all(Comparison::is_complete)
            && self.nul_bytes == 0
    }
}

/// Of the access log and of the error log.
fn tallies(files: &[PathBuf]) -> Result<[Tally; 2]> {
    let mut access = Tally::new(Numbering::After("GET /req/"));
    access.add_files(files)?;
    let mut error = Tally::new(Numbering::After("tenth request "));
    error.add_files(files)?;
    Ok([access, error])
}

fn count_in(files: &[PathBuf], text: &[u8]) -> Result<u64> {
    let mut count = 0;
    for path in files {
        count += memmem::find_iter(&read_unpacked(path)?, text).count() as u64;
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// 20 requests, and so two lines in the error log; `drop_received` is what the receiver did not get.
    fn check(drop_received: &str, expected_missing: u64) {
        let directory = tempfile::tempdir().unwrap();
        let logs = directory.path().join("logs");
        fs::create_dir_all(logs.join("archive")).unwrap();
        let line = |number| format!("127.0.0.1 \"GET /req/{number:06} HTTP/1.1\" 200\n");
        let archived: String = (0..10).map(line).collect();
        let live: String = (10..20).map(line).collect();
        let error = "[INFO] Handling signal: usr1\ntenth request 000000\ntenth request 000001\n";
        fs::write(logs.join("archive/access.log.1"), &archived).unwrap();
        fs::write(logs.join("access.log"), &live).unwrap();
        fs::write(logs.join("error.log"), error).unwrap();
        let received = directory.path().join("received.log");
        fs::write(&received, (archived + &live + error).replace(drop_received, "")).unwrap();

        let recount = Recount::new(&logs, &received, 20).unwrap();
        assert_eq!(recount.written, 23);
        assert_eq!((recount.missing_in_files(), recount.duplicated_in_files()), (0, 0));
        assert_eq!(recount.missing_at_receiver(), expected_missing);
        assert_eq!(recount.is_complete(), expected_missing == 0);
        assert_eq!(recount.signals_handled, 1);
    }

    #[test]
    fn a_line_that_the_receiver_does_not_have_is_missing() {
        check("no such line", 0);
        check("GET /req/000003", 1);
        check("tenth request 000001", 1);
    }
}
