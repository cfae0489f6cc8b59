//! What is on disk and what was received, against what was written.

use std::path::Path;
use std::sync::{Arc, Mutex};

use capstan_peers::collector::{Collector, Settings, Store};
use capstan_peers::lines::{Numbering, Tally, files_below};
use capstan_peers::ports;

use super::LONG;

/// Every line on disk is there once, none is missing, none is torn, and each writer's are in order in each file.
pub fn assert_exact(logs: &Path, writers: usize, count: u64) {
    let files = files_below(logs).unwrap();
    let mut all = Tally::new(Numbering::Writer);
    for file in &files {
        let mut one = Tally::new(Numbering::Writer);
        one.add_file(file).unwrap();
        let order = one.compare_writers(writers, count).out_of_order;
        assert_eq!(order, 0, "lines out of order in {}", file.display());
        all.add_file(file).unwrap();
    }
    let result = all.compare_writers(writers, count);
    assert!(result.is_exact(), "on disk: {result}; files: {files:?}");
    assert_eq!((all.nul_bytes, all.other_lines), (0, 0), "NUL bytes, and lines that nobody wrote");
}

/// A receiver that counts numbered lines.
pub struct Receiver {
    collector: Option<Collector>,
    tally: Arc<Mutex<Tally>>,
    port: u16,
}

impl Receiver {
    pub fn start() -> Receiver {
        Receiver::counting(Numbering::Writer)
    }

    /// One that takes numbers from elsewhere in the lines.
    pub fn counting(numbering: Numbering) -> Receiver {
        let tally = Arc::new(Mutex::new(Tally::new(numbering)));
        let collector = collector(&tally, None);
        Receiver { port: collector.port(), collector: Some(collector), tally }
    }

    /// One that does not listen yet.
    pub fn away() -> Receiver {
        let tally = Arc::new(Mutex::new(Tally::new(Numbering::Writer)));
        Receiver { port: ports::free().unwrap(), collector: None, tally }
    }

    /// It comes.
    pub fn come(&mut self) {
        self.collector = Some(collector(&self.tally, Some(self.port)));
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// What was received so far.
    pub fn tally(&self) -> Tally {
        self.tally.lock().unwrap().clone()
    }

    /// Waits until every line of these writers was received at least once, and checks that nothing else was.
    pub fn wait_for_all(&self, writers: usize, count: u64) {
        let complete = || self.tally().compare_writers(writers, count).is_complete();
        if let Err(error) = ports::wait_until(LONG, "all lines to be received", complete) {
            panic!("{error}: {}", self.tally().compare_writers(writers, count));
        }
        assert_eq!(self.tally().other_lines, 0, "lines that nobody wrote");
    }

    /// Waits until every number below `count` was received, and checks that none was twice.
    pub fn wait_for_numbers(&self, count: u64) {
        let complete = || self.tally().compare([("", count)]).is_complete();
        if let Err(error) = ports::wait_until(LONG, "all numbers to be received", complete) {
            panic!("{error}: {}", self.tally().compare([("", count)]));
        }
        let result = self.tally().compare([("", count)]);
        assert!(result.is_exact(), "received: {result}");
    }

    /// The same, and none was received twice: right only if no connection ended without proof.
    pub fn wait_for_exactly(&self, writers: usize, count: u64) {
        self.wait_for_all(writers, count);
        let result = self.tally().compare_writers(writers, count);
        assert!(result.is_exact(), "received: {result}");
    }
}

fn collector(tally: &Arc<Mutex<Tally>>, port: Option<u16>) -> Collector {
    let tally = tally.clone();
    let store = Store::Call(Arc::new(move |message: &[u8]| tally.lock().unwrap().add_line(message)));
    Collector::start(Settings { port, store, ..Settings::default() }).unwrap()
}
