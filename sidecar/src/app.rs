//! The life of the process, told in order: configure without touching the network, build, run, stop, leave.
//!
//! Order of the stop: no more rotations, one last look at every file, drain every destination and close for
//! proof, store the cursors, leave. Each step has its share of the time that is given, and says so if it was
//! missed. What stays unconfirmed stays in the files, and is sent at the next start.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::admin;
use crate::config_source::{ConfigError, load};
use crate::forward::start::{Shared, start};
use crate::forward::status::SharedStatus;
use crate::hub::Hub;
use crate::metrics::Metrics;
use crate::rotate::compressor::Compressor;
use crate::rotate::rotator::Rotator;
use crate::settings::Settings;
use crate::status::View;
use crate::watch::watcher::Watcher;

/// Time kept back from the grace period, for the way out after the last deadline.
const RESERVE: Duration = Duration::from_secs(2);
/// How often a configuration that could not be used is tried again.
const RETRY_CONFIG: Duration = Duration::from_secs(5);

/// What `run` is asked to do.
#[derive(Clone, Debug)]
pub struct Options {
    /// The configuration file or directory.
    pub config: PathBuf,
    /// Where metrics, health and status are served; None: not over TCP.
    pub listen: Option<SocketAddr>,
    /// How long a stop may take.
    pub grace: Duration,
    /// HOSTNAME of logs that name none.
    pub hostname: String,
}

/// Why the process cannot run. Everything else is told and tried again.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// Metrics could not be set up: a bug.
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    /// The runtime or a thread could not be had.
    #[error("cannot start: {0}")]
    Start(#[from] std::io::Error),
}

/// The threads of a running sidecar.
struct Running {
    watcher: JoinHandle<()>,
    rotator: JoinHandle<()>,
    compressor: JoinHandle<()>,
    forwarders: Vec<JoinHandle<()>>,
    stop_watching: Arc<AtomicBool>,
    stop_rotating: Arc<AtomicBool>,
    stop_forwarding: watch::Sender<Option<Instant>>,
    hub: Arc<Hub>,
}

/// Runs until a signal to stop.
pub fn run(options: &Options) -> Result<(), AppError> {
    prepare_process();
    let metrics = Arc::new(Metrics::new()?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(async {
        let mut signals = Signals::new()?;
        let hub = Arc::new(Hub::default());
        let started = Instant::now();
        let view = |settings: &Arc<Settings>, statuses: &[Arc<SharedStatus>]| {
            let (settings, statuses) = (settings.clone(), statuses.to_vec());
            Arc::new(View { settings, hub: hub.clone(), metrics: metrics.clone(), statuses, started })
        };
        // Served from the start: that the configuration cannot be used has to be seen somewhere.
        let (show, views) = watch::channel(view(&Arc::default(), &[]));
        let admin = tokio::spawn(admin::serve(views, options.listen));
        let Some(settings) = settings_or_stop(&options.config, &hub, &metrics, &mut signals).await else {
            return Ok(());
        };
        let statuses: Vec<Arc<SharedStatus>> = settings.destinations.iter().map(|_| Arc::default()).collect();
        let running = build(options, &settings, &hub, &metrics, &statuses)?;
        show.send_replace(view(&settings, &statuses));
        tracing::info!(
            logs = settings.logs.len(),
            destinations = settings.destinations.len(),
            version = env!("CARGO_PKG_VERSION"),
            "started"
        );
        signals.recv().await;
        let deadline = Instant::now() + options.grace.saturating_sub(RESERVE).max(Duration::from_secs(1));
        tracing::info!("stopping: reading to the end and closing for proof");
        tokio::task::spawn_blocking(move || shut_down(running, deadline)).await.ok();
        admin.abort();
        Ok(())
    });
    // Somebody may still wait for a rotation that will not come.
    runtime.shutdown_background();
    result
}

/// What concerns the whole process: a lease broken by an app must not kill us, thousands of files may be open,
/// and nobody else may read our memory.
fn prepare_process() {
    if let Err(error) = crate::sys::ignore_sigio() {
        tracing::error!(%error, "cannot ignore SIGIO");
    }
    if let Err(error) = crate::sys::forbid_dumps() {
        tracing::warn!(%error, "the process stays dumpable");
    }
    if let Err(error) = crate::sys::raise_open_files() {
        tracing::warn!(%error, "the number of open files stays limited");
    }
}

/// Loads the configuration, however long it takes to become usable: the process never exits for it.
async fn settings_or_stop(
    config: &Path,
    hub: &Hub,
    metrics: &Metrics,
    signals: &mut Signals,
) -> Option<Arc<Settings>> {
    let mut told = String::new();
    loop {
        match load(config) {
            Ok(loaded) => {
                hub.clear_problem(config);
                for (path, error) in &loaded.failed {
                    tracing::error!(%error, "this policy cannot be used; the others are");
                    hub.set_problem(path, format!("this policy cannot be used: {error}"));
                }
                metrics.families.config_valid.set(i64::from(loaded.failed.is_empty()));
                metrics.families.config_loaded.set(jiff::Timestamp::now().as_millisecond() as f64 / 1000.0);
                return Some(Arc::new(Settings::from_configs(loaded.configs)));
            }
            Err(error) => {
                metrics.families.config_valid.set(0);
                hub.set_problem(config, format!("the configuration cannot be used: {error}"));
                tell_once(&mut told, &error);
            }
        }
        tokio::select! {
            () = signals.recv() => return None,
            () = tokio::time::sleep(RETRY_CONFIG) => {}
        }
    }
}

fn tell_once(told: &mut String, error: &ConfigError) {
    let text = error.to_string();
    if text != *told {
        tracing::error!(
            error = text,
            "the configuration cannot be used; trying again every {} s",
            RETRY_CONFIG.as_secs()
        );
        *told = text;
    }
}

fn build(
    options: &Options,
    settings: &Arc<Settings>,
    hub: &Arc<Hub>,
    metrics: &Arc<Metrics>,
    statuses: &[Arc<SharedStatus>],
) -> Result<Running, AppError> {
    let (stop_forwarding, stop) = watch::channel(None);
    let shared =
        Shared { hub: hub.clone(), metrics: metrics.clone(), hostname: options.hostname.clone(), stop };
    let mut forwarders = Vec::new();
    for (destination, status) in settings.destinations.iter().zip(statuses) {
        forwarders.push(start(destination.clone(), &shared, status.clone()).map_err(std::io::Error::other)?);
    }
    let (stop_watching, stop_rotating) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
    let (jobs, compressor) = Compressor::new(hub.clone(), metrics.clone(), stop_rotating.clone());
    let compressor = spawn("compress", move || compressor.run())?;
    let rotator = Rotator::new(settings.clone(), hub.clone(), metrics.clone(), jobs);
    let stop = stop_rotating.clone();
    let rotator = spawn("rotate", move || rotator.run(&stop))?;
    let watcher = Watcher::new(settings.clone(), hub.clone(), metrics.clone());
    let stop = stop_watching.clone();
    let watcher = spawn("watch", move || watcher.run(&stop))?;
    Ok(Running {
        watcher,
        rotator,
        compressor,
        forwarders,
        stop_watching,
        stop_rotating,
        stop_forwarding,
        hub: hub.clone(),
    })
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(body)
}

/// The stop, in its order.
fn shut_down(running: Running, deadline: Instant) {
    running.stop_rotating.store(true, Ordering::Release);
    running.hub.rotator.wake();
    join("rotate", running.rotator);
    join("compress", running.compressor);
    // Only now: what the app wrote until here is seen by the last look.
    running.stop_watching.store(true, Ordering::Release);
    join("watch", running.watcher);
    seal_abandoned(&running.hub);
    running.stop_forwarding.send_replace(Some(deadline));
    running.hub.wake_forwarders();
    for forwarder in running.forwarders {
        join("forward", forwarder);
    }
    for volume in running.hub.volumes() {
        volume.checkpoint();
    }
    tracing::info!("stopped");
}

/// A last line without its newline is only sent when nobody can complete it any more. If the app is gone, that
/// is now; a file that it wrote to the end may never be looked at again.
fn seal_abandoned(hub: &Hub) {
    for volume in hub.volumes() {
        crate::rotate::rotator::finish_unheld(&volume);
    }
}

fn join(name: &str, thread: JoinHandle<()>) {
    if thread.join().is_err() {
        tracing::error!(thread = name, "a thread has panicked");
    }
}

/// SIGTERM and SIGINT, and SIGHUP.
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> std::io::Result<Signals> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for the wish to stop. SIGHUP, which ends a process that does not expect it, is only told.
    async fn recv(&mut self) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hangup.recv() => tracing::info!("SIGHUP ignored: a changed configuration takes effect at the next start"),
            }
        }
    }
}
