//! The life of the process, told in order: build, look for what is to be done again and again, stop, leave.
//!
//! Order of the stop: no more rotations, one last look at every file, drain every destination and close for
//! proof, store the cursors, leave. Each step has its share of the time that is given, and says so if it was
//! missed. What stays unconfirmed stays in the files, and is sent at the next start.

mod forwarders;
mod last_words;
mod presence;
mod signals;
mod threads;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::admin;
use crate::forward::start::Shared;
use crate::forward::status::SharedStatus;
use crate::hub::Hub;
use crate::metrics::Metrics;
use crate::pod::Pod;
use crate::reload::Reloader;
use crate::settings::Settings;
use crate::status::View;
use last_words::LastWords;
use presence::Presence;
use signals::{Asked, Signals};
use threads::Threads;

/// Time kept back from the grace period, for the way out after the last deadline.
const RESERVE: Duration = Duration::from_secs(2);
/// How often the configuration is looked at. With the watcher's pause, a change takes effect within a second.
const LOOK: Duration = Duration::from_millis(250);

/// What `run` is asked to do.
#[derive(Clone, Debug)]
pub struct Options {
    /// The configuration file or directory.
    pub config: PathBuf,
    /// The file of the pod's annotations; it may be missing.
    pub annotations: PathBuf,
    /// The file for a termination message; without it there is none.
    pub termination_log: PathBuf,
    /// Where metrics, health and status are served; None: not over TCP.
    pub listen: Option<SocketAddr>,
    /// How long a stop may take.
    pub grace: Duration,
    /// HOSTNAME of logs that name none.
    pub hostname: String,
    /// What is known of the pod.
    pub pod: Arc<Pod>,
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

/// Runs until a signal to stop.
///
/// # Errors
///
/// See [`AppError`]; none of them has to do with what is configured.
pub fn run(options: &Options) -> Result<(), AppError> {
    prepare_process();
    let metrics = Arc::new(Metrics::new()?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(serve(options, metrics));
    // Somebody may still wait for a rotation that will not come.
    runtime.shutdown_background();
    result
}

async fn serve(options: &Options, metrics: Arc<Metrics>) -> Result<(), AppError> {
    let mut signals = Signals::new()?;
    let hub = Arc::new(Hub::default());
    let started = Instant::now();
    let view = |settings: &Arc<Settings>, statuses: Vec<Arc<SharedStatus>>| {
        let settings = settings.clone();
        Arc::new(View { settings, hub: hub.clone(), metrics: metrics.clone(), statuses, started })
    };
    // Served from the start: that the configuration cannot be used has to be seen somewhere.
    let (show, views) = watch::channel(view(&Arc::default(), Vec::new()));
    let admin = tokio::spawn(admin::serve(views, options.listen));
    let (hostname, pod) = (options.hostname.clone(), options.pod.clone());
    let shared = Shared { hub: hub.clone(), metrics: metrics.clone(), hostname, pod: pod.clone() };
    let (config, annotations) = (options.config.clone(), options.annotations.clone());
    let mut reloader = Reloader::new(config, annotations, pod, (hub.clone(), metrics.clone()));
    // What is there at the start is known before the first look at the logs.
    let mut changed = reloader.look();
    let mut threads = Threads::start(shared, changed.clone().unwrap_or_default())?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "started");
    let mut presence = Presence::default();
    loop {
        if let Some(settings) = changed {
            let statuses = threads.take_up(&settings);
            show.send_replace(view(&settings, statuses));
        }
        threads.forwarders.tend();
        if presence.has_left(&options.pod, threads.forwarders.is_waiting()) {
            tracing::info!("the app's processes are gone; what was sent is proved now");
            hub.hurry_forwarders();
        }
        changed = match tokio::time::timeout(LOOK, signals.recv()).await {
            Ok(Asked::Stop) => break,
            Ok(Asked::Look) => reloader.look_anew(),
            Err(_elapsed) => reloader.look(),
        };
    }
    let deadline = Instant::now() + options.grace.saturating_sub(RESERVE).max(Duration::from_secs(1));
    tracing::info!("stopping: reading to the end and closing for proof");
    let last = show.borrow().clone();
    let mut last_words = LastWords::new(options.termination_log.clone());
    let mut ending = tokio::task::spawn_blocking(move || threads.shut_down(deadline));
    loop {
        last_words.write(&last.status());
        if tokio::time::timeout(LOOK, &mut ending).await.is_ok() {
            break;
        }
    }
    last_words.write(&last.status());
    admin.abort();
    Ok(())
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
