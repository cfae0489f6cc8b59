//! Apps that write numbered lines.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// A line of writer `w<writer>` without its LF, `width` bytes long.
pub fn line(writer: usize, number: u64, width: usize) -> String {
    let mut line = format!("w{writer:02} {number:09} ");
    while line.len() < width {
        line.push('x');
    }
    line
}

/// One writer that keeps its file open.
pub struct Pen {
    file: File,
    writer: usize,
    pub written: u64,
}

impl Pen {
    pub fn open(path: &Path, writer: usize) -> Pen {
        Pen { file: append(path), writer, written: 0 }
    }

    /// For apps that open their file for each write: writes `count` lines from number `from` on and closes it.
    /// Returns the next number.
    pub fn append_once(path: &Path, writer: usize, from: u64, count: u64) -> u64 {
        let mut pen = Pen { file: append(path), writer, written: from };
        pen.write(count);
        pen.written
    }

    /// Writes so many lines of 100 bytes, in one go.
    pub fn write(&mut self, count: u64) {
        let text: String =
            (0..count).map(|index| line(self.writer, self.written + index, 99) + "\n").collect();
        self.file.write_all(text.as_bytes()).unwrap();
        self.written += count;
    }

    /// Writes any bytes, which count as no line.
    pub fn write_bytes(&mut self, bytes: &[u8]) {
        self.file.write_all(bytes).unwrap();
    }
}

pub fn append(path: &Path) -> File {
    OpenOptions::new().create(true).append(true).open(path).unwrap()
}

/// A writer that goes on by itself, opening its path anew for each bunch of lines, until it is stopped.
pub struct Load {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<u64>,
}

impl Load {
    /// About so many lines of 100 bytes per second.
    pub fn start(path: &Path, writer: usize, per_second: u64) -> Load {
        let stop = Arc::<AtomicBool>::default();
        let (stopped, path) = (stop.clone(), path.to_owned());
        let thread = thread::spawn(move || write_until(&stopped, &path, writer, per_second));
        Load { stop, thread }
    }

    /// Stops it; how many lines it has written.
    pub fn stop(self) -> u64 {
        self.stop.store(true, Relaxed);
        self.thread.join().unwrap()
    }
}

fn write_until(stop: &AtomicBool, path: &Path, writer: usize, per_second: u64) -> u64 {
    let start = Instant::now();
    let mut written = 0;
    while !stop.load(Relaxed) {
        let due = (start.elapsed().as_secs_f64() * per_second as f64) as u64;
        if due > written {
            // After a pause of the machine the rest is caught up in pieces.
            written = Pen::append_once(path, writer, written, (due - written).min(per_second / 10));
        }
        thread::sleep(Duration::from_millis(5));
    }
    written
}
