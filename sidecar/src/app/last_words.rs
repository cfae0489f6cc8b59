//! What the process leaves behind when it has to end before everything is confirmed: its termination message.
//!
//! It is written as soon as the stop begins and again while it lasts, because whoever stops us may not wait until the
//! end; if everything is confirmed by then, nothing is left behind.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::PathBuf;

use capstan_config::{TerminationMessage, Unconfirmed};

use crate::status::Status;

/// The file, and what stands in it.
#[derive(Debug)]
pub struct LastWords {
    file: PathBuf,
    written: String,
}

impl LastWords {
    /// Words that go into `file`, if it is there: on a host it is not.
    pub fn new(file: PathBuf) -> LastWords {
        LastWords { file, written: String::new() }
    }

    /// Writes what is not confirmed.
    pub fn write(&mut self, status: &Status) {
        let text = message(status);
        if text == self.written {
            return;
        }
        let opened = fs::OpenOptions::new().write(true).truncate(true).open(&self.file);
        if let Err(error) = opened.and_then(|mut file| file.write_all(text.as_bytes())) {
            tracing::debug!(%error, "no termination message can be left");
        }
        self.written = text;
    }
}

/// The message; empty if everything is confirmed.
fn message(status: &Status) -> String {
    let mut sums: BTreeMap<(&str, &str), (u64, f64)> = BTreeMap::new();
    for stream in &status.streams {
        for (destination, lag) in stream.lag.iter().filter(|(_, lag)| lag.bytes > 0) {
            let sum = sums.entry((&stream.log, destination)).or_default();
            sum.0 += lag.bytes;
            sum.1 = sum.1.max(lag.seconds);
        }
    }
    if sums.is_empty() {
        return String::new();
    }
    let unconfirmed = sums.into_iter().map(|((log, destination), (bytes, seconds))| Unconfirmed {
        log: log.to_owned(),
        destination: destination.to_owned(),
        bytes,
        seconds: (seconds * 10.0).round() / 10.0,
    });
    TerminationMessage::new(unconfirmed.collect()).render()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::{Lag, StreamStatus};

    fn stream(log: &str, bytes: u64, seconds: f64) -> StreamStatus {
        let lag = BTreeMap::from([("papertrail".to_owned(), Lag { bytes, seconds })]);
        StreamStatus { log: log.to_owned(), lag, ..StreamStatus::default() }
    }

    #[test]
    fn files_of_one_log_are_added_up_and_what_is_confirmed_is_left_out() {
        let streams = vec![stream("web/a", 100, 1.25), stream("web/b", 0, 0.0), stream("web/a", 23, 4.2)];
        let status = Status { streams, ..Status::default() };
        let expected = r#"{"capstan":1,"unconfirmed":[{"log":"web/a","destination":"papertrail","bytes":123,"seconds":4.2}]}"#;
        assert_eq!(message(&status), expected);
        assert_eq!(message(&Status::default()), "");
    }
}
