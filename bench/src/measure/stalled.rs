//! A receiver that has stopped reading: in, a large file and more lines all the time; out, the sidecar's
//! peak memory, and whether everything arrives once the receiver reads again.

use std::time::{Duration, Instant};

use anyhow::Result;
use capstan_peers::collector::Store;

use super::{ARRIVAL_LIMIT, Bench, Extent, paced};
use crate::config::{self, Receiver};
use crate::figures::{grouped, mebibytes};
use crate::sidecar::Sidecar;

const LINES_PER_SECOND: u64 = 20_000;

/// Measures and prints.
pub fn run(extent: &Extent) -> Result<()> {
    let bench = Bench::new()?;
    let sink = bench.receiver(Store::Discard)?;
    let log = bench.large_file("logs", extent.lines)?;
    let receiver = Receiver { port: sink.port(), ca: bench.ca() };
    let config = config::config("bench", &[config::forwarded("app", &log)], receiver);
    let mut sidecar = Sidecar::start(&bench.subdirectory("sidecar")?, &config)?;
    // Some of it arrives, so that the connection stands; then nothing is read any more.
    sink.wait_for_messages(1, ARRIVAL_LIMIT)?;
    sink.stall(true);
    let duration = Duration::from_secs(extent.seconds);
    let written = paced::write_timed(&log, Instant::now(), LINES_PER_SECOND, duration)?;
    let peak = sidecar.usage().peak_resident_bytes;
    sink.stall(false);
    sink.wait_for_messages(extent.lines + written, ARRIVAL_LIMIT)?;
    let peak_catching_up = sidecar.usage().peak_resident_bytes;
    sidecar.terminate(ARRIVAL_LIMIT)?;
    println!("\n### Receiver stalled for {} s under {} lines/s\n", extent.seconds, grouped(LINES_PER_SECOND));
    println!("| | measured | target |");
    println!("|---|---|---|");
    println!("| peak RSS while stalled | {} | ≤ 16.0 MiB |", mebibytes(peak));
    println!("| peak RSS when all has arrived | {} | ≤ 16.0 MiB |", mebibytes(peak_catching_up));
    Ok(())
}
