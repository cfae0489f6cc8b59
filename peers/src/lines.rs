//! The recount: in, numbered lines from files, archives and receivers; out, what is missing, double or out
//! of order.
//!
//! A line is known by its writer and number, wherever in the line they stand, so the same tally takes raw
//! files and received syslog messages.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use flate2::read::MultiGzDecoder;
use memchr::memmem;

/// Where a line carries its number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Numbering {
    /// `w03 000000123 ` anywhere in the line: a `w`, two digits, a blank, nine digits and a blank or the end.
    Writer,
    /// Digits right behind this text; the writer is called "".
    After(&'static str),
}

impl Numbering {
    /// Writer and number of a line, if it has them.
    pub fn find<'a>(&self, line: &'a [u8]) -> Option<(&'a str, u64)> {
        match self {
            Self::Writer => line.windows(13).find_map(writer_and_number),
            Self::After(text) => {
                let digits = &line[memmem::find(line, text.as_bytes())? + text.len()..];
                let length = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
                Some(("", std::str::from_utf8(&digits[..length]).ok()?.parse().ok()?))
            }
        }
    }
}

fn writer_and_number(window: &[u8]) -> Option<(&str, u64)> {
    let shape = window[0] == b'w'
        && window[1..3].iter().all(u8::is_ascii_digit)
        && window[3] == b' '
        && window[4..].iter().all(u8::is_ascii_digit);
    if !shape {
        return None;
    }
    let text = std::str::from_utf8(window).ok()?;
    Some((&text[..3], text[4..].parse().ok()?))
}

/// How often each number of each writer was seen, and in what order.
#[derive(Debug, Clone)]
pub struct Tally {
    numbering: Numbering,
    writers: BTreeMap<String, Writer>,
    /// Lines seen in all.
    pub lines: u64,
    /// Lines without a number.
    pub other_lines: u64,
    /// NUL bytes, in any line.
    pub nul_bytes: u64,
}

#[derive(Debug, Clone, Default)]
struct Writer {
    /// How often number `index` was seen.
    seen: Vec<u32>,
    last: Option<u64>,
    out_of_order: u64,
}

/// What a tally says about numbers that should all be there once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Comparison {
    /// How many numbers were expected.
    pub expected: u64,
    /// How many of them were not seen at all.
    pub missing: u64,
    /// Sightings beyond the first, of all numbers.
    pub duplicated: u64,
    /// Lines with a lower number than the line of the same writer before them, in the order of adding.
    pub out_of_order: u64,
    /// Numbers seen that nobody wrote.
    pub unexpected: u64,
    /// The first few missing, as `writer number`.
    pub examples: Vec<String>,
}

impl Comparison {
    /// Everything is there at least once and nothing that nobody wrote.
    pub fn is_complete(&self) -> bool {
        self.missing == 0 && self.unexpected == 0
    }

    /// Everything is there exactly once.
    pub fn is_exact(&self) -> bool {
        self.is_complete() && self.duplicated == 0
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "{} expected, {} missing, {} duplicated, {} out of order, {} unexpected",
            self.expected, self.missing, self.duplicated, self.out_of_order, self.unexpected
        )?;
        if !self.examples.is_empty() {
            write!(out, "; missing are {}, …", self.examples.join(", "))?;
        }
        Ok(())
    }
}

const EXAMPLES: usize = 5;
/// Far more than any test writes; a number beyond it is a broken line and would only eat memory.
const HIGHEST_NUMBER: u64 = 100_000_000;

impl Tally {
    /// Nothing seen yet.
    pub fn new(numbering: Numbering) -> Self {
        Self { numbering, writers: BTreeMap::new(), lines: 0, other_lines: 0, nul_bytes: 0 }
    }

    /// Adds one line (or message), without its LF.
    pub fn add_line(&mut self, line: &[u8]) {
        self.lines += 1;
        self.nul_bytes += memchr::memchr_iter(0, line).count() as u64;
        match self.numbering.find(line) {
            Some((writer, number)) if number < HIGHEST_NUMBER => {
                if !self.writers.contains_key(writer) {
                    self.writers.insert(writer.to_owned(), Writer::default());
                }
                if let Some(writer) = self.writers.get_mut(writer) {
                    writer.add(number);
                }
            }
            _ => self.other_lines += 1,
        }
    }

    /// Adds every line, also a last one without LF.
    pub fn add_lines(&mut self, content: &[u8]) {
        for line in content.split_inclusive(|byte| *byte == b'\n') {
            self.add_line(line.strip_suffix(b"\n").unwrap_or(line));
        }
    }

    /// Adds a file's lines; what begins like gzip is unpacked, whatever its name.
    pub fn add_file(&mut self, path: &Path) -> Result<()> {
        let content = read_unpacked(path).with_context(|| format!("cannot read {}", path.display()))?;
        self.add_lines(&content);
        Ok(())
    }

    /// Adds all files, in the order given.
    pub fn add_files(&mut self, paths: &[PathBuf]) -> Result<()> {
        paths.iter().try_for_each(|path| self.add_file(path))
    }

    /// Compares with what was written: per writer, the numbers from 0 up to its count.
    pub fn compare<'a>(&self, written: impl IntoIterator<Item = (&'a str, u64)>) -> Comparison {
        let mut result = Comparison::default();
        let written: BTreeMap<&str, u64> = written.into_iter().collect();
        let nothing = Writer::default();
        for (name, count) in &written {
            result.expected += count;
            let writer = self.writers.get(*name).unwrap_or(&nothing);
            for number in 0..*count {
                let seen = usize::try_from(number).ok().and_then(|index| writer.seen.get(index));
                if seen.is_none_or(|seen| *seen == 0) {
                    result.missing += 1;
                    if result.examples.len() < EXAMPLES {
                        result.examples.push(format!("{name} {number}").trim_start().to_owned());
                    }
                }
            }
        }
        for (name, writer) in &self.writers {
            let count = written.get(name.as_str()).copied().unwrap_or(0);
            let beyond = writer.seen.iter().skip(usize::try_from(count).unwrap_or(usize::MAX));
            result.unexpected += beyond.filter(|seen| **seen > 0).count() as u64;
            result.duplicated +=
                writer.seen.iter().map(|seen| u64::from(seen.saturating_sub(1))).sum::<u64>();
            result.out_of_order += writer.out_of_order;
        }
        result
    }

    /// Compares with writers `w00`, `w01`, … that wrote `count` lines each.
    pub fn compare_writers(&self, writers: usize, count: u64) -> Comparison {
        let names: Vec<String> = (0..writers).map(|index| format!("w{index:02}")).collect();
        self.compare(names.iter().map(|name| (name.as_str(), count)))
    }

    /// How many different numbers were seen.
    pub fn distinct(&self) -> u64 {
        let seen = |writer: &Writer| writer.seen.iter().filter(|seen| **seen > 0).count() as u64;
        self.writers.values().map(seen).sum()
    }
}

impl Writer {
    fn add(&mut self, number: u64) {
        let Ok(index) = usize::try_from(number) else { return };
        if self.seen.len() <= index {
            self.seen.resize(index + 1, 0);
        }
        self.seen[index] += 1;
        if self.last.is_some_and(|last| number < last) {
            self.out_of_order += 1;
        }
        self.last = Some(number);
    }
}

/// The regular files of a directory and those below it, by name; hidden ones are left out.
pub fn files_below(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let entries = fs::read_dir(directory).with_context(|| format!("cannot list {}", directory.display()))?;
    for entry in entries {
        let entry = entry?;
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        if entry.file_type()?.is_dir() {
            found.append(&mut files_below(&entry.path())?);
        } else if entry.file_type()?.is_file() {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

/// A file's content; what begins like gzip is unpacked, whatever its name.
pub fn read_unpacked(path: &Path) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    File::open(path)?.read_to_end(&mut content)?;
    if !content.starts_with(&[0x1f, 0x8b]) {
        return Ok(content);
    }
    let mut unpacked = Vec::new();
    MultiGzDecoder::new(content.as_slice()).read_to_end(&mut unpacked)?;
    Ok(unpacked)
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::io::Write;

    fn check_find(numbering: &Numbering, line: &str, expected: Option<(&str, u64)>) {
        assert_eq!(numbering.find(line.as_bytes()), expected, "{line}");
    }

    fn compare(lines: &str, written: &[(&str, u64)]) -> Comparison {
        let mut tally = Tally::new(Numbering::Writer);
        tally.add_lines(lines.as_bytes());
        tally.compare(written.iter().copied())
    }

    #[test]
    fn numbers_are_found_at_the_start_and_behind_a_syslog_header() {
        check_find(&Numbering::Writer, "w03 000000123 xxx", Some(("w03", 123)));
        let message = "<134>1 2026-01-01T00:00:00.000001Z web-7 app 12 log - w12 000000007 x";
        check_find(&Numbering::Writer, message, Some(("w12", 7)));
        check_find(&Numbering::Writer, "w3 000000123", None);
        check_find(&Numbering::Writer, "w03 00000012", None);
        let request = Numbering::After("/req/");
        check_find(&request, r#"127.0.0.1 - - "GET /req/000042 HTTP/1.1" 200"#, Some(("", 42)));
        check_find(&request, "GET /req/ HTTP", None);
    }

    #[test]
    fn missing_double_late_and_foreign_lines_are_counted_apart() {
        let lines = "w00 000000000 \nw00 000000002 \nw00 000000001 \nw00 000000001 \nw01 000000000 \nnoise\n";
        let result = compare(lines, &[("w00", 5), ("w02", 1)]);
        let expected = Comparison {
            expected: 6,
            missing: 3,
            duplicated: 1,
            out_of_order: 1,
            unexpected: 1,
            examples: ["w00 3", "w00 4", "w02 0"].map(str::to_owned).to_vec(),
        };
        assert_eq!(result, expected);
        assert!(!result.is_complete());
    }

    #[test]
    fn all_lines_once_is_exact_and_twice_is_complete() {
        let lines = "w00 000000000\nw00 000000001\n";
        assert!(compare(lines, &[("w00", 2)]).is_exact());
        let twice = compare(&lines.repeat(2), &[("w00", 2)]);
        assert!(twice.is_complete() && !twice.is_exact());
        assert_eq!((twice.duplicated, twice.out_of_order), (2, 1));
    }

    #[test]
    fn nul_bytes_and_lines_without_number_are_noticed() {
        let mut tally = Tally::new(Numbering::Writer);
        tally.add_lines(b"\0\0w00 000000000 \nother\n");
        assert_eq!((tally.lines, tally.other_lines, tally.nul_bytes, tally.distinct()), (2, 1, 2, 1));
    }

    #[test]
    fn gzip_of_several_members_is_read_like_a_plain_file() {
        let directory = tempfile::tempdir().unwrap();
        let mut packed = Vec::new();
        for line in ["w00 000000000 \n", "w00 000000001 \n"] {
            let mut encoder = GzEncoder::new(&mut packed, Compression::fast());
            encoder.write_all(line.as_bytes()).unwrap();
            encoder.finish().unwrap();
        }
        fs::create_dir(directory.path().join("archive")).unwrap();
        fs::write(directory.path().join("archive/a.gz"), packed).unwrap();
        fs::write(directory.path().join("live"), "w00 000000002 \n").unwrap();
        fs::write(directory.path().join(".hidden"), "w00 000000003 \n").unwrap();
        let files = files_below(directory.path()).unwrap();
        assert_eq!(files.len(), 2);
        let mut tally = Tally::new(Numbering::Writer);
        tally.add_files(&files).unwrap();
        assert!(tally.compare_writers(1, 3).is_exact());
    }
}
