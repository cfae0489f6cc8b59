//! `rotate`: one pass, by the running sidecar if there is one, else here.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::{places, settings};
use crate::control::{RotateOutcome, RotateRequest, StreamOutcome, ask};
use crate::hub::Hub;
use crate::metrics::Metrics;
use crate::pod::Pod;
use crate::rotate::compressor::Compressor;
use crate::rotate::rotator::Rotator;
use crate::settings::Settings;
use crate::watch::watcher::Watcher;

/// How long the running sidecar may take: until the slowest app has reopened, and some.
const PATIENCE: Duration = Duration::from_secs(3600);

/// Rotates, says what became of it, and fails if anything failed.
pub fn run(config: &Path, request: &RotateRequest) -> anyhow::Result<ExitCode> {
    let settings = settings(config);
    if let Ok(settings) = &settings {
        check_log(settings, request)?;
    }
    let outcome = match ask_running(&places(&settings), request)? {
        Some(outcome) => outcome,
        None => rotate_here(Arc::new(settings?), request)?,
    };
    Ok(tell(&outcome))
}

fn check_log(settings: &Settings, request: &RotateRequest) -> anyhow::Result<()> {
    let Some(wanted) = &request.log else { return Ok(()) };
    let known: Vec<String> = settings.logs.iter().map(|log| log.log.name.to_string()).collect();
    let full = settings.logs.iter().any(|log| log.full_name() == *wanted);
    if !full && !known.contains(wanted) {
        anyhow::bail!("there is no log '{wanted}' in this configuration; there is {}", known.join(", "));
    }
    Ok(())
}

/// One sidecar serves all directories of a configuration, so the first that answers is asked.
fn ask_running(places: &[PathBuf], request: &RotateRequest) -> anyhow::Result<Option<RotateOutcome>> {
    let target = format!("/rotate?{}", request.to_query());
    for base in places {
        if let Some(body) = ask(base, "POST", &target, PATIENCE)? {
            return Ok(Some(serde_json::from_slice(&body)?));
        }
    }
    Ok(None)
}

fn rotate_here(settings: Arc<Settings>, request: &RotateRequest) -> anyhow::Result<RotateOutcome> {
    let (hub, metrics) = (Arc::new(Hub::default()), Arc::new(Metrics::new()?));
    crate::sys::ignore_sigio()?;
    hub.set_settings(settings);
    let mut watcher = Watcher::new(hub.clone(), metrics.clone());
    watcher.look_once();
    let (jobs, compressor) = Compressor::new(hub.clone(), metrics.clone(), Arc::new(AtomicBool::new(false)));
    let mut rotator = Rotator::new(hub.clone(), metrics, Arc::new(Pod::of_environment()), jobs);
    let answer = hub.ask(request.clone());
    if request.dry_run {
        rotator.only_answer();
        return Ok(with_problems(answer.recv()?, &hub));
    }
    loop {
        let pause = rotator.pass_asked();
        if !rotator.is_busy() {
            break;
        }
        std::thread::sleep(pause.min(Duration::from_millis(100)));
        watcher.look_once();
    }
    compressor.run_dry();
    // Once more, now that archives are compressed and have their final sizes.
    rotator.pass_asked();
    compressor.run_dry();
    hub.volumes().iter().for_each(|volume| volume.checkpoint());
    Ok(with_problems(answer.recv()?, &hub))
}

/// Directories in which nothing can be rotated must not look like directories with nothing to rotate.
fn with_problems(mut outcome: RotateOutcome, hub: &Hub) -> RotateOutcome {
    let mut failed = |path: &Path, problem: String| {
        outcome.streams.push(StreamOutcome {
            path: path.display().to_string(),
            outcome: problem,
            failed: true,
        });
    };
    for (base, problem) in hub.problems() {
        let problem = problem.strip_prefix(&format!("{}: ", base.display())).unwrap_or(&problem);
        failed(&base, problem.to_owned());
    }
    for volume in hub.volumes().iter().filter(|volume| !volume.is_persistent()) {
        failed(&volume.base, "no place for state, so nothing is rotated".to_owned());
    }
    outcome
}

fn tell(outcome: &RotateOutcome) -> ExitCode {
    for stream in &outcome.streams {
        println!("{}: {}", stream.path, stream.outcome);
    }
    if outcome.streams.is_empty() {
        println!("no file to rotate");
    }
    if outcome.streams.iter().any(|stream| stream.failed) { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
