//! `capstan-operator`: arguments, logging, run, exit code.

use std::process::ExitCode;

use capstan_operator::settings::{Cli, Command};
use capstan_operator::{app, inject_file, injection_test};
use clap::Parser;
use tokio::runtime::Runtime;
use tracing::level_filters::LevelFilter;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match work(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("capstan-operator: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn work(cli: Cli) -> anyhow::Result<()> {
    let sidecar = cli.sidecar.resolve();
    match cli.command {
        Some(Command::Inject { filename, r#in }) => Ok(inject_file::print(&filename, &r#in, &sidecar)?),
        Some(Command::TestInjection { r#in, image }) => runtime()?.block_on(test_injection(&r#in, &image)),
        None => {
            log_as_json();
            Ok(runtime()?.block_on(app::run(cli.run, sidecar))?)
        }
    }
}

fn runtime() -> std::io::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()
}

async fn test_injection(namespace: &str, image: &str) -> anyhow::Result<()> {
    println!("{}", injection_test::run(namespace, image).await?);
    Ok(())
}

fn log_as_json() {
    let level = std::env::var("CAPSTAN_LOG").ok().and_then(|level| level.parse().ok());
    let json = tracing_subscriber::fmt().json().flatten_event(true).with_target(false);
    json.with_max_level(level.unwrap_or(LevelFilter::INFO)).init();
}
