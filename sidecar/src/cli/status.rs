//! `status`: what is live, archived, forwarded, lagging; as a table that is good to read, or as JSON.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use super::table::{Column, bytes, seconds, table};
use super::{Output, bases, places, settings};
use crate::control::ask;
use crate::settings::Settings;
use crate::status::{Status, StreamStatus, stored_stream};
use crate::stream::ledger::Ledger;
use crate::stream::store::peek;
use crate::stream::volume::STATE_DIRECTORY;

const PATIENCE: Duration = Duration::from_secs(10);

/// Shows the status. Fails if there is a problem.
pub fn run(config: &Path, output: Output) -> anyhow::Result<ExitCode> {
    let settings = settings(config);
    let status = match running(&places(&settings))? {
        Some(status) => status,
        None => stored(&settings?),
    };
    match output {
        Output::Json => println!("{}", serde_json::to_string_pretty(&status)?),
        Output::Table => print!("{}", render(&status)),
    }
    Ok(if status.problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn running(places: &[PathBuf]) -> anyhow::Result<Option<Status>> {
    for base in places {
        if let Some(body) = ask(base, "GET", "/status", PATIENCE)? {
            return Ok(Some(serde_json::from_slice(&body)?));
        }
    }
    Ok(None)
}

/// What the state says, without touching it.
fn stored(settings: &Settings) -> Status {
    let mut status = Status { version: env!("CARGO_PKG_VERSION").to_owned(), ..Status::default() };
    status.problems.push("no sidecar is running for these logs; this is what it stored last".to_owned());
    for base in bases(settings) {
        let ledger = match stored_ledger(&base) {
            Ok(ledger) => ledger,
            Err(error) => {
                status.problems.push(format!("{}: {error:#}", base.display()));
                continue;
            }
        };
        for (name, stream) in &ledger.streams {
            let path = base.join(name);
            let log: Option<&Arc<_>> = settings.logs.iter().find(|log| log.wants(&path));
            if let Some(log) = log {
                status.streams.push(stored_stream(&path, log, stream));
            }
        }
    }
    status
}

fn stored_ledger(base: &Path) -> anyhow::Result<Ledger> {
    let state = base.join(STATE_DIRECTORY);
    let Some(body) = peek(&state.join("state"))? else { return Ok(Ledger::default()) };
    let mut ledger = Ledger::decode(&body)?;
    if let Some(marks) = peek(&state.join("marks"))? {
        ledger.take_marks(serde_json::from_slice(&marks).unwrap_or_default());
    }
    Ok(ledger)
}

/// The table.
fn render(status: &Status) -> String {
    let mut text = match status.running {
        true => {
            format!("capstan-sidecar {}, up {}\n\n", status.version, seconds(status.uptime_seconds as f64))
        }
        false => "capstan-sidecar is not running\n\n".to_owned(),
    };
    text.push_str(&streams(&status.streams));
    for stream in &status.streams {
        for held in &stream.held {
            text.push_str(&format!(
                "  still open: {} ({}), for {} since it was rotated\n",
                held.path,
                bytes(held.bytes),
                seconds(held.seconds as f64)
            ));
        }
    }
    if !status.destinations.is_empty() {
        text.push('\n');
        text.push_str(&destinations(status));
    }
    if !status.problems.is_empty() {
        text.push_str("\nProblems\n");
        for problem in &status.problems {
            text.push_str(&format!("  {problem}\n"));
        }
    }
    text
}

fn streams(streams: &[StreamStatus]) -> String {
    let left = |title| Column { title, right: false };
    let right = |title| Column { title, right: true };
    let columns = [
        left("LOG"),
        left("FILE"),
        right("LIVE"),
        right("GENERATION"),
        right("ARCHIVES"),
        right("ARCHIVED"),
        left("ROTATED"),
        left("DESTINATION"),
        right("LAG"),
        right("BEHIND"),
    ];
    let mut rows = Vec::new();
    for stream in streams {
        let mut row = vec![
            stream.log.clone(),
            stream.path.clone(),
            bytes(stream.live_bytes),
            stream.generation.to_string(),
            stream.archives.to_string(),
            bytes(stream.archive_bytes),
            if stream.generation > 1 { stream.rotated_at.clone() } else { "never".to_owned() },
        ];
        if stream.lag.is_empty() {
            row.extend(["-".to_owned(), "-".to_owned(), "-".to_owned()]);
            rows.push(row.clone());
        }
        for (destination, lag) in &stream.lag {
            let behind = if lag.bytes == 0 { "-".to_owned() } else { seconds(lag.seconds) };
            row.extend([destination.clone(), bytes(lag.bytes), behind]);
            rows.push(std::mem::replace(&mut row, vec![String::new(); 7]));
        }
    }
    table(&columns, &rows)
}

fn destinations(status: &Status) -> String {
    let columns = [
        Column { title: "DESTINATION", right: false },
        Column { title: "CONNECTED", right: false },
        Column { title: "ENDPOINT", right: false },
        Column { title: "PROOF", right: false },
        Column { title: "LAST CONFIRMED", right: false },
        Column { title: "REPLAYS", right: true },
    ];
    let text = |value: &serde_json::Value, key: &str| match value.get(key) {
        Some(serde_json::Value::String(text)) => text.clone(),
        Some(serde_json::Value::Bool(true)) => "yes".to_owned(),
        Some(serde_json::Value::Bool(false)) => "no".to_owned(),
        Some(serde_json::Value::Number(number)) => number.to_string(),
        _ => "-".to_owned(),
    };
    let rows: Vec<Vec<String>> = status
        .destinations
        .iter()
        .map(|(name, value)| {
            let keys = ["connected", "endpoint", "proof", "lastConfirmedAt", "replays"];
            std::iter::once(name.clone()).chain(keys.iter().map(|key| text(value, key))).collect()
        })
        .collect();
    table(&columns, &rows)
}
