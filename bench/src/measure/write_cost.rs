//! What the app pays: in, the same writes to a file that the sidecar watches and to one that nobody does;
//! out, nanoseconds per write of each.
//!
//! Short blocks of writes take turns between the two files, so both see the same machine; the median of the
//! blocks is compared. Two paces: bursts, and single writes with pauses, each of which may wake the sidecar.

use std::fs::File;
use std::io::Write;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Result;
use capstan_peers::collector::Store;

use super::{ARRIVAL_LIMIT, Bench, Extent, paced};
use crate::config::{self, Receiver};
use crate::figures::{median, rounded};
use crate::sidecar::Sidecar;

const PAIRS: usize = 100;

/// How writes follow each other.
struct Pace {
    name: &'static str,
    /// Writes in a block.
    writes: usize,
    /// Before each write of a block.
    before_write: Duration,
    /// After each block, so that the sidecar is caught up and waits again.
    after_block: Duration,
}

const PACES: [Pace; 2] = [
    Pace {
        name: "bursts of 2,000",
        writes: 2_000,
        before_write: Duration::ZERO,
        after_block: Duration::from_millis(20),
    },
    Pace {
        name: "one each millisecond",
        writes: 20,
        before_write: Duration::from_millis(1),
        after_block: Duration::ZERO,
    },
];

/// Measures and prints.
pub fn run(_extent: &Extent) -> Result<()> {
    println!("\n### Cost to the app of a write of 200 bytes, O_APPEND\n");
    println!("Medians of {PAIRS} blocks each, in turn.\n");
    println!("| writes | nobody watches | sidecar watches | difference |");
    println!("|---|---|---|---|");
    for pace in PACES {
        let (alone, watched) = measure(&pace)?;
        let percent = 100.0 * (watched / alone - 1.0);
        println!("| {} | {} ns | {} ns | {percent:+.1} % |", pace.name, rounded(alone), rounded(watched));
    }
    println!("| target | | | ≤ +10 % |");
    Ok(())
}

fn measure(pace: &Pace) -> Result<(f64, f64)> {
    let bench = Bench::new()?;
    let sink = bench.receiver(Store::Discard)?;
    let watched_path = bench.subdirectory("watched")?.join("app.log");
    let mut watched = paced::append(&watched_path)?;
    let mut alone = paced::append(&bench.subdirectory("alone")?.join("app.log"))?;
    watched.write_all(&paced::line("first "))?;
    let receiver = Receiver { port: sink.port(), ca: bench.ca() };
    let config = config::config("bench", &[config::forwarded("app", &watched_path)], receiver);
    let mut sidecar = Sidecar::start(&bench.subdirectory("sidecar")?, &config)?;
    sink.wait_for_messages(1, ARRIVAL_LIMIT)?;
    let (mut times_alone, mut times_watched) = (Vec::new(), Vec::new());
    for _ in 0..PAIRS {
        times_alone.push(block(&mut alone, pace)?);
        times_watched.push(block(&mut watched, pace)?);
    }
    sidecar.terminate(ARRIVAL_LIMIT)?;
    Ok((median(&times_alone), median(&times_watched)))
}

/// Nanoseconds per write.
fn block(file: &mut File, pace: &Pace) -> Result<f64> {
    let line = paced::line("w00 000000000 ");
    let mut nanoseconds = Vec::with_capacity(pace.writes);
    for _ in 0..pace.writes {
        if !pace.before_write.is_zero() {
            sleep(pace.before_write);
        }
        let start = Instant::now();
        file.write_all(&line)?;
        nanoseconds.push(start.elapsed().as_nanos() as f64);
    }
    sleep(pace.after_block);
    Ok(nanoseconds.iter().sum::<f64>() / nanoseconds.len() as f64)
}
