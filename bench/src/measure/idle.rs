//! Nothing to do: in, a sidecar that has sent everything; out, its memory and processor time.

use std::thread::sleep;
use std::time::Duration;

use anyhow::Result;
use capstan_peers::collector::Store;

use super::{ARRIVAL_LIMIT, Bench, Extent, paced};
use crate::config::{self, Receiver};
use crate::figures::{mebibytes, running_time};
use crate::sidecar::Sidecar;

/// Until the connection of the last lines was closed for proof.
const SETTLE: Duration = Duration::from_secs(8);
const LINES: u64 = 1_000;

/// Measures and prints.
pub fn run(extent: &Extent) -> Result<()> {
    let bench = Bench::new()?;
    let sink = bench.receiver(Store::Discard)?;
    let log = bench.subdirectory("logs")?.join("app.log");
    paced::write_numbered(&log, LINES)?;
    let receiver = Receiver { port: sink.port(), ca: bench.ca() };
    let config = config::config("bench", &[config::forwarded("app", &log)], receiver);
    let mut sidecar = Sidecar::start(&bench.subdirectory("sidecar")?, &config)?;
    sink.wait_for_messages(LINES, ARRIVAL_LIMIT)?;
    sleep(SETTLE);
    let before = running_time(sidecar.id());
    sleep(Duration::from_secs(extent.seconds));
    let cpu = running_time(sidecar.id()).saturating_sub(before).as_secs_f64();
    let resident = sidecar.usage().resident_bytes;
    sidecar.terminate(ARRIVAL_LIMIT)?;
    println!("\n### Idle for {} s, one file\n", extent.seconds);
    println!("| | measured | target |");
    println!("|---|---|---|");
    println!("| RSS | {} | ≤ 8.0 MiB |", mebibytes(resident));
    println!("| CPU | {:.3} % | < 0.1 % |", 100.0 * cpu / extent.seconds as f64);
    Ok(())
}
