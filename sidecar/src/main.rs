//! `capstan-sidecar`: arguments, logging, run, exit code.

use std::process::ExitCode;

use capstan_sidecar::cli::{Cli, Command};
use clap::Parser;
use tracing::level_filters::LevelFilter;

fn main() -> ExitCode {
    let cli = Cli::parse();
    log_as_json(matches!(cli.command, Command::Run { .. }));
    match cli.command.run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("capstan-sidecar: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// `run` logs to standard output, where a container's logs belong; the other commands print results there, and
/// only say on standard error what went wrong.
fn log_as_json(to_stdout: bool) {
    let default = if to_stdout { LevelFilter::INFO } else { LevelFilter::WARN };
    let level = std::env::var("CAPSTAN_LOG").ok().and_then(|level| level.parse().ok()).unwrap_or(default);
    let json = tracing_subscriber::fmt().json().flatten_event(true).with_target(false).with_max_level(level);
    if to_stdout { json.init() } else { json.with_writer(std::io::stderr).init() }
}
