//! From write to receipt at 10,000 lines per second: in, a running sender; out, percentiles.
//!
//! Writer and receiver are threads of this process, so both read the same clock.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use capstan_peers::collector::Store;

use super::senders::Sender;
use super::{ARRIVAL_LIMIT, Bench, Extent, paced};
use crate::config::Receiver;
use crate::figures::{grouped, milliseconds, percentile};

const LINES_PER_SECOND: u64 = 10_000;
/// The first connection, and whatever else only happens once, is not what is measured.
const WARM_UP: Duration = Duration::from_secs(1);

/// Measures and prints.
pub fn run(extent: &Extent) -> Result<()> {
    println!("\n### Write to receipt at {} lines/s for {} s\n", grouped(LINES_PER_SECOND), extent.seconds);
    println!("| sender | p50 | p99 | p99.9 | max |");
    println!("|---|---|---|---|---|");
    for sender in Sender::available().into_iter().filter(|sender| *sender != Sender::BareLoop) {
        let seconds = measure(sender, Duration::from_secs(extent.seconds))?;
        let of = |share| milliseconds(percentile(&seconds, share));
        println!("| {} | {} | {} | {} | {} |", sender.name(), of(0.5), of(0.99), of(0.999), of(1.0));
    }
    println!("| target for the sidecar | | 20 ms | | |");
    Ok(())
}

/// The seconds that each line took.
fn measure(sender: Sender, duration: Duration) -> Result<Vec<f64>> {
    let bench = Bench::new()?;
    let log = bench.subdirectory("logs")?.join("app.log");
    let epoch = Instant::now();
    let taken: Arc<Mutex<Vec<f64>>> = Arc::default();
    let taken_there = taken.clone();
    let receive = move |message: &[u8]| {
        let now = epoch.elapsed().as_nanos() as u64;
        if let Some(written) = paced::time_in(message) {
            let seconds = now.saturating_sub(written) as f64 / 1e9;
            taken_there.lock().unwrap_or_else(PoisonError::into_inner).push(seconds);
        }
    };
    let receiver = bench.receiver(Store::Call(Arc::new(receive)))?;
    paced::write_timed(&log, epoch, 1, Duration::ZERO)?;
    let to = Receiver { port: receiver.port(), ca: bench.ca() };
    let running = sender.start(&bench.subdirectory("sender")?, &log, to)?;
    let warm_up = paced::write_timed(&log, epoch, LINES_PER_SECOND, WARM_UP)?;
    let taken_by_now = || std::mem::take(&mut *taken.lock().unwrap_or_else(PoisonError::into_inner));
    receiver.wait_for_messages(warm_up, ARRIVAL_LIMIT)?;
    drop(taken_by_now());
    let written = paced::write_timed(&log, epoch, LINES_PER_SECOND, duration)?;
    receiver.wait_for_messages(warm_up + written, ARRIVAL_LIMIT)?;
    running.stop()?;
    Ok(taken_by_now())
}
