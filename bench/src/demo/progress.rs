//! The live line: in, the stage now and then; out, one line on a terminal, a few lines elsewhere.

use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use super::stage::{Stage, is_packed};
use crate::figures::{grouped, mebibytes};

/// Between two lines when the output is no terminal.
const QUIET: Duration = Duration::from_secs(5);

pub(super) struct Progress {
    terminal: bool,
    start: Instant,
    last: Option<Instant>,
    received: Option<LineCount>,
}

impl Progress {
    pub(super) fn new() -> Self {
        let terminal = io::stdout().is_terminal();
        Self { terminal, start: Instant::now(), last: None, received: None }
    }

    /// A line that stays.
    pub(super) fn event(&self, text: &str) {
        self.clear();
        say(&format!("{:5.1} s  {text}\n", self.start.elapsed().as_secs_f32()));
    }

    /// Removes the live line.
    pub(super) fn clear(&self) {
        if self.terminal {
            say("\r\x1b[K");
        }
    }

    /// Shows how far everything is.
    pub(super) fn update(&mut self, elapsed: Duration, stage: &Stage) {
        if !self.terminal && self.last.is_some_and(|last| last.elapsed() < QUIET) {
            return;
        }
        self.last = Some(Instant::now());
        let output = stage.receiver.output();
        let received = self.received.get_or_insert_with(|| LineCount::of(output)).now();
        let archives = stage.archives();
        let packed = archives.iter().filter(|path| is_packed(path)).count();
        let answered = stage.load.as_ref().map_or(0, |load| load.totals().answered);
        let memory = mebibytes(stage.sidecar.usage().resident_bytes);
        let line = format!(
            "{:5.1} s  requests {}  received {}  archives {} ({packed} gzip)  sidecar {memory}",
            elapsed.as_secs_f32(),
            grouped(answered),
            grouped(received),
            archives.len(),
        );
        say(&if self.terminal { format!("\r\x1b[K{line}") } else { line + "\n" });
    }
}

/// Progress that cannot be shown is no reason to stop.
fn say(text: &str) {
    let mut out = io::stdout();
    drop(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
}

/// Counts the lines of a growing file, each part of it once.
struct LineCount {
    file: Option<File>,
    lines: u64,
}

impl LineCount {
    fn of(path: &Path) -> Self {
        Self { file: File::open(path).ok(), lines: 0 }
    }

    fn now(&mut self) -> u64 {
        let mut new = Vec::new();
        if let Some(file) = self.file.as_mut()
            && file.read_to_end(&mut new).is_ok()
        {
            self.lines += memchr::memchr_iter(b'\n', &new).count() as u64;
        }
        self.lines
    }
}
