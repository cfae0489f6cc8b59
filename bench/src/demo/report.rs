//! The table at the end: in, the stage and the recount; out, a few lines and a verdict.

use std::io::{self, Write};

use anyhow::Result;

use super::recount::Recount;
use super::script::Ending;
use super::stage::{Stage, is_packed};
use crate::figures::{grouped, mebibytes};

/// Fewer would mean that the demo shows nothing.
const LEAST_ROTATIONS: usize = 3;

/// Prints the table; whether nothing is missing and everybody did their part.
pub(super) fn print(stage: &Stage, ending: &Ending) -> Result<bool> {
    let recount = Recount::new(&stage.gunicorn.logs(), stage.receiver.output(), ending.totals.sent)?;
    let archives = stage.archives();
    let packed = archives.iter().filter(|path| is_packed(path)).count();
    let usage = stage.sidecar.usage();
    let seen = ending.reopens_seen.map_or("not told".to_owned(), grouped);
    let rows = [
        ("requests sent, answered", both(ending.totals.sent, ending.totals.answered)),
        ("lines written", grouped(recount.written)),
        ("rotations", grouped(archives.len() as u64)),
        ("reopens seen, USR1 handled", format!("{seen}, {}", grouped(recount.signals_handled))),
        ("archives, of them gzip", both(archives.len() as u64, packed as u64)),
        ("lines received", grouped(recount.received)),
        ("missing in files, at receiver", both(recount.missing_in_files(), recount.missing_at_receiver())),
        (
            "duplicated in files, at receiver",
            both(recount.duplicated_in_files(), recount.duplicated_at_receiver()),
        ),
        ("sidecar CPU-seconds", format!("{:.2}", usage.cpu.as_secs_f32())),
        ("sidecar peak RSS", mebibytes(usage.peak_resident_bytes)),
    ];
    let failures = failures(ending, &recount, archives.len());
    let mut out = io::stdout().lock();
    writeln!(out)?;
    for (name, value) in rows {
        writeln!(out, "  {name:<34}{value:>18}")?;
    }
    writeln!(out)?;
    for failure in &failures {
        writeln!(out, "  FAILED: {failure}")?;
    }
    if failures.is_empty() {
        writeln!(out, "  Nothing is missing.")?;
    }
    Ok(failures.is_empty())
}

fn failures(ending: &Ending, recount: &Recount, rotations: usize) -> Vec<String> {
    let mut failures = Vec::new();
    if !recount.is_complete() {
        failures.push("the numbers of the requests differ".to_owned());
        for (place, logs) in [("files", &recount.in_files), ("receiver", &recount.at_receiver)] {
            for (log, comparison) in ["access", "error"].iter().zip(logs) {
                failures.push(format!("{log} log, {place}: {comparison}"));
            }
        }
    }
    if !ending.all_reopened {
        failures.push("gunicorn still writes to an old file".to_owned());
    }
    if rotations < LEAST_ROTATIONS {
        failures.push(format!("only {rotations} rotations"));
    }
    failures
}

fn both(one: u64, other: u64) -> String {
    format!("{}, {}", grouped(one), grouped(other))
}
