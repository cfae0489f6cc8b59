//! One large file over TLS 1.3 to a fast sink: lines per second, processor time and memory of each sender.
//!
//! The senders take turns, so that a machine that grows slower does so for all. The clock runs from the
//! first byte at the sink to the last line; processor time is that of the sender's whole life, start and
//! close included.

use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use capstan_peers::collector::{Collector, Store};
use capstan_peers::ports::wait_until;

use super::senders::Sender;
use super::{ARRIVAL_LIMIT, Bench, Extent};
use crate::config::Receiver;
use crate::figures::{grouped, mebibytes, median, rounded};

/// For one sender, a value for each round.
#[derive(Default)]
struct Samples {
    lines_per_second: Vec<f64>,
    cpu_per_million: Vec<f64>,
    peak_bytes: Vec<f64>,
}

/// Measures and prints.
pub fn run(extent: &Extent) -> Result<()> {
    let bench = Bench::new()?;
    let file = bench.large_file("large", extent.lines)?;
    let senders = Sender::available();
    let mut samples: Vec<Samples> = senders.iter().map(|_| Samples::default()).collect();
    for round in 0..extent.rounds {
        for (sender, samples) in senders.iter().zip(&mut samples) {
            let name =
                format!("round-{round}-{}", senders.iter().position(|other| other == sender).unwrap_or(0));
            let measured = measure(*sender, &bench, &name, &file, extent.lines, samples);
            measured.with_context(|| format!("{} in round {round}", sender.name()))?;
        }
    }
    print(extent, &senders, &samples);
    Ok(())
}

fn measure(
    sender: Sender,
    bench: &Bench,
    name: &str,
    file: &Path,
    lines: u64,
    samples: &mut Samples,
) -> Result<()> {
    // The log moves into a directory where no sender has left any state, and back.
    let log = bench.subdirectory(&format!("{name}-log"))?.join("app.log");
    fs::rename(file, &log)?;
    let sink = bench.receiver(Store::Discard)?;
    let receiver = Receiver { port: sink.port(), ca: bench.ca() };
    let running = sender.start(&bench.subdirectory(name)?, &log, receiver)?;
    let took = time_arrival(&sink, lines)?;
    let usage = running.stop()?;
    fs::rename(&log, file)?;
    let millions = lines as f64 / 1e6;
    samples.lines_per_second.push(lines as f64 / took.as_secs_f64());
    samples.cpu_per_million.push(usage.cpu.as_secs_f64() / millions);
    samples.peak_bytes.push(usage.peak_resident_bytes as f64);
    Ok(())
}

/// From the first byte to the last line.
fn time_arrival(sink: &Collector, lines: u64) -> Result<Duration> {
    wait_until(ARRIVAL_LIMIT, "the first byte", || sink.byte_count() > 0)?;
    let start = Instant::now();
    while sink.message_count() < lines {
        anyhow::ensure!(start.elapsed() < ARRIVAL_LIMIT, "only {} lines arrived", sink.message_count());
        sleep(Duration::from_micros(500));
    }
    Ok(start.elapsed())
}

fn print(extent: &Extent, senders: &[Sender], samples: &[Samples]) {
    println!("\n### One file of {} lines of 200 bytes, TLS 1.3", grouped(extent.lines));
    println!("\nMedians of {} rounds, senders in turn.\n", extent.rounds);
    println!("| sender | lines/s | CPU-s per million lines | lines per CPU-s | of bare loop | peak RSS |");
    println!("|---|---|---|---|---|---|");
    let cpu_of = |samples: &Samples| median(&samples.cpu_per_million);
    let bare = senders.iter().position(|sender| *sender == Sender::BareLoop);
    let bound = bare.and_then(|index| samples.get(index)).map_or(0.0, cpu_of);
    for (sender, samples) in senders.iter().zip(samples) {
        println!(
            "| {} | {} | {:.3} | {} | {:.0} % | {} |",
            sender.name(),
            rounded(median(&samples.lines_per_second)),
            cpu_of(samples),
            rounded(1e6 / cpu_of(samples)),
            100.0 * bound / cpu_of(samples),
            mebibytes(median(&samples.peak_bytes) as u64),
        );
    }
    println!("| target for the sidecar | 2,000,000 | 0.333 | 3,000,000 | 50 % | 16.0 MiB |");
}
