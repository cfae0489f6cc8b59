//! Checks a log and its files.

use super::at::At;
use super::{forward, rotate};
use crate::defaults;
use crate::raw;
use crate::types::{Files, Log, ReadFrom};
use crate::units::{ByteSize, PathPattern};

/// The most patterns of one kind.
const MOST_PATTERNS: usize = 32;

/// Lines must fit in memory, several at a time.
const LONGEST_LINE: ByteSize = ByteSize(16 << 20);

pub(super) fn read(raw: &raw::Log, at: &At) -> Option<Log> {
    let name = at.required("name", &raw.name, "write a name that is unique in the file");
    let files = match &raw.files {
        Some(raw) => files(raw, &at.key("files")),
        None => {
            at.missing("files", "write for example {\"include\": [\"/var/log/app/*.log\"]}");
            None
        }
    };
    at.later("syslog", &raw.syslog);
    let container = at.optional("container", &raw.container);
    let read_from = at.or("readFrom", &raw.read_from, ReadFrom::Beginning);
    let max_line =
        at.within("maxLineBytes", &raw.max_line_bytes, defaults::MAX_LINE, ByteSize(64)..=LONGEST_LINE);
    if raw.rotate.is_none() && raw.forward.is_none() {
        at.wrong("has neither rotate nor forward; write at least one of them");
    }
    // The closures return `Some` only for what is there and right; what is there and wrong has been noted.
    let rotate =
        raw.rotate.as_ref().map(|rotate| rotate::read(rotate, raw.forward.is_some(), &at.key("rotate")));
    let forward = raw.forward.as_ref().map(|forward| forward::read(forward, &at.key("forward")));
    Some(Log {
        name: name?,
        files: files?,
        container,
        read_from,
        max_line,
        rotate: rotate.flatten(),
        forward: forward.flatten(),
    })
}

fn files(raw: &raw::Files, at: &At) -> Option<Files> {
    let include = at.list("include", &raw.include, 1..=MOST_PATTERNS, |value, at| {
        let pattern: PathPattern = At::item(value, at)?;
        if pattern.is_file_name() {
            at.wrong(format!(
                "\"{pattern}\" is not absolute; write the path from the root, with a leading slash"
            ));
        }
        Some(pattern)
    });
    let exclude = at.list("exclude", &raw.exclude, 0..=MOST_PATTERNS, At::item);
    Some(Files { include: include?, exclude: exclude? })
}
