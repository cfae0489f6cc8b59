//! What an archive is called, and which names are archives.
//!
//! In: names of files, times, generation numbers. Out: names, or what a name says. Always: a name that
//! [`parse_archive`] accepts is exactly the one [`archive_name`] writes for the same values, so no other
//! program's file is taken for an archive of ours, and nothing of ours is taken for a log.
//!
//! The scheme is `<file name>.<YYYYMMDDTHHMMSSZ>.<generation>`, then `.gz` once compressed and `.gz.part`
//! while it is being compressed. The generation has six digits or more and never repeats, so two rotations in
//! one second differ, and the names of one log sort in the order of its generations as long as the clock runs
//! forward. Nothing is ever renamed from one number to the next.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// How many bytes the name of a compressed archive in progress is longer than its log's, for generations of six
/// digits. File systems end names at 255 bytes.
pub const LONGEST_SUFFIX_BYTES: usize = ".20261121T074855Z.000123.gz.part".len();

/// First bytes of every other name that Capstan writes beside a log: state directory, scratch files.
pub const RESERVED_PREFIX: &str = ".capstan";

/// How many digits a generation has at least.
const GENERATION_DIGITS: usize = 6;

/// Length of `YYYYMMDDTHHMMSSZ`.
const STAMP_BYTES: usize = 16;

/// What the bytes of an archive are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Form {
    /// The lines as the app wrote them.
    Plain,
    /// Compressed completely.
    Gzip,
    /// Being compressed; the plain file still is what counts.
    GzipPart,
}

impl Form {
    /// What stands behind the generation in the file's name.
    pub fn extension(self) -> &'static str {
        match self {
            Form::Plain => "",
            Form::Gzip => ".gz",
            Form::GzipPart => ".gz.part",
        }
    }
}

/// What the name of an archive says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ArchiveName {
    /// When the file was rotated, in whole seconds, from 1970 to 9999.
    pub time: Timestamp,
    /// Generation of the log that this file is.
    pub generation: u64,
    /// Plain, compressed, or being compressed.
    pub form: Form,
}

impl ArchiveName {
    /// The name of a plain archive; the time is cut to what a name can say.
    pub fn new(time: Timestamp, generation: u64) -> Self {
        let seconds = time.as_second().max(0);
        let time = Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH);
        ArchiveName { time, generation, form: Form::Plain }
    }

    /// The same archive in another form.
    pub fn with_form(self, form: Form) -> Self {
        ArchiveName { form, ..self }
    }

    /// The file's name, for the log whose file is called `file`.
    pub fn of(&self, file: &OsStr) -> OsString {
        let mut name = file.as_bytes().to_vec();
        self.write_suffix(&mut name);
        OsString::from_vec(name)
    }

    fn write_suffix(&self, name: &mut Vec<u8>) {
        let at = TimeZone::UTC.to_datetime(self.time);
        let suffix = format!(
            ".{:04}{:02}{:02}T{:02}{:02}{:02}Z.{:0width$}{}",
            at.year(),
            at.month(),
            at.day(),
            at.hour(),
            at.minute(),
            at.second(),
            self.generation,
            self.form.extension(),
            width = GENERATION_DIGITS,
        );
        name.extend_from_slice(suffix.as_bytes());
    }
}

/// The name of the plain archive of the log file called `file`, rotated at `time` as `generation`.
pub fn archive_name(file: &OsStr, time: Timestamp, generation: u64) -> OsString {
    ArchiveName::new(time, generation).of(file)
}

/// What `name` says, if it is an archive of the log file called `file`.
pub fn parse_archive(file: &OsStr, name: &OsStr) -> Option<ArchiveName> {
    if file.is_empty() {
        return None;
    }
    parse_suffix(name.as_bytes().strip_prefix(file.as_bytes())?)
}

/// Whether `name` is an archive, of whatever log. Patterns such as `*` must not take it for a log.
pub fn is_archive_of_any(name: &OsStr) -> bool {
    split_log_and_suffix(name.as_bytes()).is_some_and(|(_, suffix)| parse_suffix(suffix).is_some())
}

/// Whether `name` is written by Capstan itself: an archive, the state, a scratch file. Such a file is never a log.
pub fn is_reserved(name: &OsStr) -> bool {
    name.as_bytes().starts_with(RESERVED_PREFIX.as_bytes()) || is_archive_of_any(name)
}

/// Splits `app.log.20261121T074855Z.000123.gz` before the dot of the time; the log's part is not empty.
fn split_log_and_suffix(name: &[u8]) -> Option<(&[u8], &[u8])> {
    let (plain, _) = split_form(name);
    let before_generation = plain.iter().rposition(|byte| *byte == b'.')?;
    let before_time = before_generation.checked_sub(STAMP_BYTES + 1)?;
    (before_time > 0).then(|| name.split_at(before_time))
}

fn split_form(name: &[u8]) -> (&[u8], Form) {
    [Form::GzipPart, Form::Gzip]
        .into_iter()
        .find_map(|form| Some((name.strip_suffix(form.extension().as_bytes())?, form)))
        .unwrap_or((name, Form::Plain))
}

/// Reads `.YYYYMMDDTHHMMSSZ.NNNNNN[.gz[.part]]` and nothing else.
fn parse_suffix(suffix: &[u8]) -> Option<ArchiveName> {
    let (plain, form) = split_form(suffix);
    let stamp = plain.strip_prefix(b".")?.get(..STAMP_BYTES)?;
    let digits = plain.get(1 + STAMP_BYTES..)?.strip_prefix(b".")?;
    let generation = if digits.len() < GENERATION_DIGITS { None } else { number(digits) }?;
    let name = ArchiveName { time: parse_stamp(stamp)?, generation, form };
    // Writing it again and comparing refuses every other spelling, such as a generation with surplus zeros.
    let mut again = Vec::with_capacity(suffix.len());
    name.write_suffix(&mut again);
    (again == suffix).then_some(name)
}

fn parse_stamp(stamp: &[u8]) -> Option<Timestamp> {
    let field =
        |from: usize, to: usize| number(stamp.get(from..to)?).and_then(|value| i8::try_from(value).ok());
    let year = i16::try_from(number(stamp.get(..4)?)?).ok()?;
    let civil =
        DateTime::new(year, field(4, 6)?, field(6, 8)?, field(9, 11)?, field(11, 13)?, field(13, 15)?, 0)
            .ok()?;
    let time = TimeZone::UTC.to_timestamp(civil).ok()?;
    (time >= Timestamp::UNIX_EPOCH).then_some(time)
}

fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    digits.iter().try_fold(0_u64, |value, digit| value.checked_mul(10)?.checked_add(u64::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn parse(file: &str, name: &str) -> Option<ArchiveName> {
        parse_archive(OsStr::new(file), OsStr::new(name))
    }

    #[test]
    fn a_name_carries_time_and_generation() {
        let name = archive_name(OsStr::new("app.log"), at("2026-11-21T07:48:55.9Z"), 123);
        assert_eq!(name, "app.log.20261121T074855Z.000123");
        let compressed = ArchiveName::new(at("2026-11-21T07:48:55Z"), 1_234_567).with_form(Form::Gzip);
        assert_eq!(compressed.of(OsStr::new("app.log")), "app.log.20261121T074855Z.1234567.gz");
        assert_eq!(
            parse("app.log", "app.log.20261121T074855Z.000123.gz.part"),
            Some(ArchiveName { time: at("2026-11-21T07:48:55Z"), generation: 123, form: Form::GzipPart })
        );
    }

    #[test]
    fn another_programs_file_is_no_archive() {
        for name in [
            "app.log",
            "app.log.1",
            "app.log.1.gz",
            "app.log.20261121",
            "app.log.20261121T074855Z",
            "app.log.20261121T074855Z.",
            "app.log.20261121T074855Z.12345",
            "app.log.20261121T074855Z.0001234",
            "app.log.20261121T074855Z.+00123",
            "app.log.20261121T074855Z.000123.xz",
            "app.log.20261121T074855Z.000123.part",
            "app.log.20261121T074855Z.000123.gz.gz",
            "app.log.20261121T074855Z.99999999999999999999",
            "app.log.20261321T074855Z.000123",
            "app.log.20261121T074860Z.000123",
            "app.log.20261121t074855Z.000123",
            "app.log.19691231T235959Z.000123",
            "app.log.bak.20261121T074855Z.000123",
            "app.log20261121T074855Z.000123",
            "app.20261121T074855Z.000123",
            "",
        ] {
            assert_eq!(parse("app.log", name), None, "{name}");
        }
        assert_eq!(parse("", ".20261121T074855Z.000123"), None);
    }

    #[test]
    fn an_archive_of_another_log_is_an_archive_all_the_same() {
        for name in [
            "app.log.bak.20261121T074855Z.000123",
            "x.20261121T074855Z.000123.gz",
            "ü.20261121T074855Z.000001",
        ] {
            assert!(is_archive_of_any(OsStr::new(name)), "{name}");
            assert!(is_reserved(OsStr::new(name)), "{name}");
        }
        for name in
            ["app.log", "app.log.1", ".20261121T074855Z.000123", "app.log.gz", "000123", ".gz.part", ""]
        {
            assert!(!is_archive_of_any(OsStr::new(name)), "{name}");
            assert!(!is_reserved(OsStr::new(name)), "{name}");
        }
        assert!(is_reserved(OsStr::new(".capstan")));
        assert!(is_reserved(OsStr::new(".capstan-lease-1")));
    }

    #[test]
    fn a_log_that_is_called_like_an_archive_keeps_its_own_archives_apart() {
        let log = "app.log.20261121T074855Z.000001";
        let archive = archive_name(OsStr::new(log), at("2026-11-22T00:00:00Z"), 2);
        assert!(parse_archive(OsStr::new(log), &archive).is_some());
        assert_eq!(parse_archive(OsStr::new("app.log"), &archive), None);
    }

    #[test]
    fn bytes_that_are_no_text_survive() {
        let log = OsStr::from_bytes(b"\xff\xfe.log");
        let archive = archive_name(log, at("2026-11-22T00:00:00Z"), 7);
        assert_eq!(parse_archive(log, &archive).unwrap().generation, 7);
        assert!(is_archive_of_any(&archive));
    }

    #[test]
    fn a_clock_before_1970_still_gives_a_name_that_can_be_read_back() {
        let name = ArchiveName::new(at("-000001-01-01T00:00:00Z"), 1);
        assert_eq!(parse_archive(OsStr::new("a"), &name.of(OsStr::new("a"))), Some(name));
    }

    #[test]
    fn the_longest_suffix_is_as_long_as_it_says() {
        let name = ArchiveName::new(at("2026-11-21T07:48:55Z"), 1).with_form(Form::GzipPart);
        assert_eq!(name.of(OsStr::new("a")).len(), 1 + LONGEST_SUFFIX_BYTES);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            file in "[^/\0]{1,20}",
            second in -400_000_000_000_i64..253_000_000_000,
            generation: u64,
            form in prop_oneof![Just(Form::Plain), Just(Form::Gzip), Just(Form::GzipPart)],
        ) {
            let name = ArchiveName::new(Timestamp::from_second(second.max(-377_000_000_000)).unwrap(), generation)
                .with_form(form);
            let file = OsString::from(file);
            let written = name.of(&file);
            prop_assert_eq!(parse_archive(&file, &written), Some(name));
            prop_assert!(is_archive_of_any(&written));
        }

        #[test]
        fn what_is_read_is_written_back(file in "[a-z.]{1,5}", rest in "\\.2[0-9]{7}T[0-2][0-9]{5}Z\\.[0-9]{5,8}(\\.gz|\\.gz\\.part|)") {
            let name = OsString::from(format!("{file}{rest}"));
            if let Some(read) = parse_archive(OsStr::new(&file), &name) {
                prop_assert_eq!(read.of(OsStr::new(&file)), name);
            }
        }
    }
}
