//! One busy file alone, and beside 1,000 quiet ones: processor time and memory of the sidecar.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use capstan_peers::collector::Store;

use super::{ARRIVAL_LIMIT, Bench, Extent, paced};
use crate::config::{self, Receiver};
use crate::figures::{grouped, mebibytes, running_time};
use crate::sidecar::Sidecar;

const QUIET_FILES: u64 = 1_000;
const LINES_PER_SECOND: u64 = 20_000;

/// Measures and prints.
pub fn run(extent: &Extent) -> Result<()> {
    println!("\n### {} lines/s for {} s into one file\n", grouped(LINES_PER_SECOND), extent.seconds);
    println!("| files | CPU-s per million lines | RSS |");
    println!("|---|---|---|");
    for (name, quiet_files) in [("one busy", 0), ("one busy, 1,000 quiet", QUIET_FILES)] {
        let (cpu_per_million, resident) = measure(quiet_files, Duration::from_secs(extent.seconds))?;
        println!("| {name} | {cpu_per_million:.3} | {} |", mebibytes(resident));
    }
    println!("| target | as one busy | |");
    Ok(())
}

fn measure(quiet_files: u64, duration: Duration) -> Result<(f64, u64)> {
    let bench = Bench::new()?;
    let sink = bench.receiver(Store::Discard)?;
    let logs = bench.subdirectory("logs")?;
    let busy = logs.join("busy.log");
    for path in quiet(&logs, quiet_files).chain([busy.clone()]) {
        paced::write_numbered(&path, 1)?;
    }
    let receiver = Receiver { port: sink.port(), ca: bench.ca() };
    let config = config::config("bench", &[config::forwarded("app", &logs.join("*.log"))], receiver);
    let mut sidecar = Sidecar::start(&bench.subdirectory("sidecar")?, &config)?;
    sink.wait_for_messages(quiet_files + 1, ARRIVAL_LIMIT)?;
    let before = running_time(sidecar.id());
    let written = paced::write_timed(&busy, Instant::now(), LINES_PER_SECOND, duration)?;
    sink.wait_for_messages(quiet_files + 1 + written, ARRIVAL_LIMIT)?;
    let cpu = running_time(sidecar.id()).saturating_sub(before);
    let resident = sidecar.usage().resident_bytes;
    sidecar.terminate(ARRIVAL_LIMIT)?;
    Ok((cpu.as_secs_f64() / (written as f64 / 1e6), resident))
}

fn quiet(logs: &Path, count: u64) -> impl Iterator<Item = std::path::PathBuf> {
    let logs = logs.to_path_buf();
    (0..count).map(move |number| logs.join(format!("quiet-{number:04}.log")))
}
