//! Lines for measurements: in, a file and a rate; out, lines in it, numbered or with the time of writing.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::LINE_BYTES;

/// A fast writer sleeps so long between its bursts.
const TICK: Duration = Duration::from_millis(1);

/// Makes a file of so many numbered lines.
pub fn write_numbered(path: &Path, lines: u64) -> Result<()> {
    let file = File::create(path).with_context(|| format!("cannot make {}", path.display()))?;
    let mut out = BufWriter::with_capacity(1 << 20, file);
    for number in 0..lines {
        out.write_all(&line(&format!("w00 {number:09} ")))?;
    }
    out.flush()?;
    Ok(())
}

/// Appends `per_second` lines a second, each by one write(2), each with the nanoseconds since `epoch` just
/// before it; returns how many.
pub fn write_timed(path: &Path, epoch: Instant, per_second: u64, duration: Duration) -> Result<u64> {
    let mut file = append(path)?;
    let start = Instant::now();
    let mut written = 0;
    while start.elapsed() < duration {
        let due = (start.elapsed().as_secs_f64() * per_second as f64) as u64;
        while written < due {
            file.write_all(&line(&format!("at {:020} ", epoch.elapsed().as_nanos())))?;
            written += 1;
        }
        sleep(TICK);
    }
    Ok(written)
}

/// The nanoseconds in a line of [`write_timed`], wherever in a message they stand.
pub fn time_in(message: &[u8]) -> Option<u64> {
    // Behind the last "at ", since a header may hold the same letters.
    let start = memchr::memmem::rfind(message, b"at ")? + 3;
    std::str::from_utf8(message.get(start..start + 20)?).ok()?.parse().ok()
}

/// Opens a log as an app does.
pub fn append(path: &Path) -> Result<File> {
    let opened = OpenOptions::new().append(true).create(true).open(path);
    opened.with_context(|| format!("cannot open {}", path.display()))
}

/// The text, padded to the length of a line.
pub fn line(text: &str) -> Vec<u8> {
    let mut line = Vec::with_capacity(LINE_BYTES);
    line.extend_from_slice(text.as_bytes());
    line.resize(LINE_BYTES - 1, b'x');
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_is_found_behind_a_header() {
        let message = [b"<134>1 - host at app - - - ".as_slice(), &line("at 00000000000000000042 ")].concat();
        assert_eq!(time_in(&message), Some(42));
        assert_eq!(time_in(b"nothing"), None);
    }

    #[test]
    fn timed_lines_are_whole_and_as_many_as_said() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("app.log");
        let written = write_timed(&path, Instant::now(), 1000, Duration::from_millis(50)).unwrap();
        let content = std::fs::read(&path).unwrap();
        assert_eq!(content.len() as u64, written * LINE_BYTES as u64);
        assert!(content.chunks(LINE_BYTES).all(|line| time_in(line).is_some() && line.ends_with(b"\n")));
    }
}
