//! `make bench`: prints markdown tables and writes nothing into the repository.

use std::path::PathBuf;

use anyhow::Result;
use capstan_bench::bare_loop;
use capstan_bench::measure::{self, Extent, SECTIONS};
use capstan_peers::child::usage_of;
use clap::builder::PossibleValuesParser;
use clap::{Parser, Subcommand};

/// The sidecar beside a bare loop and rsyslog, on this machine.
#[derive(Parser)]
struct Arguments {
    /// Sections to run; all if none is named
    #[arg(value_parser = PossibleValuesParser::new(SECTIONS))]
    sections: Vec<String>,
    /// Lines of the large file
    #[arg(long, default_value_t = 1_000_000)]
    lines: u64,
    /// Rounds of each comparison
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of each run that takes a given time
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    #[command(subcommand)]
    part: Option<Part>,
}

/// What the benchmark starts as a process of its own.
#[derive(Subcommand)]
enum Part {
    /// Send a file with the bare loop (used by the benchmark itself)
    #[command(hide = true)]
    BareLoop { file: PathBuf, port: u16, ca: PathBuf },
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if let Some(Part::BareLoop { file, port, ca }) = arguments.part {
        bare_loop::send(&file, port, &ca)?;
        println!("{}", usage_of(std::process::id())?.peak_resident_bytes);
        return Ok(());
    }
    let extent = Extent { lines: arguments.lines, rounds: arguments.rounds, seconds: arguments.seconds };
    let all = SECTIONS.map(str::to_owned).to_vec();
    let sections = if arguments.sections.is_empty() { all } else { arguments.sections };
    for section in sections {
        measure::run(&section, &extent)?;
    }
    Ok(())
}
