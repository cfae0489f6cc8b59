//! The life of the process in order: configure, connect, serve, stop.
//!
//! Order of the stop: not ready any more; requests are served on until nobody sends any, and the last ones end;
//! meanwhile the controller stops, and then the lease is given up: whoever leads next does not meet us at work.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Notify, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use crate::admin::{self, Readiness};
use crate::certificates::Certificates;
use crate::certificates::served::{ServeError, Served};
use crate::controller;
use crate::inject::SidecarSettings;
use crate::leader;
use crate::metrics::Metrics;
use crate::settings::{Component, RunSettings};
use crate::webhook::caches::Caches;
use crate::webhook::review::Settings;
use crate::webhook::server::{self, Bodies, Shared};

/// What readiness calls the process's own end.
const STOPPING: &str = "stopping";
/// How long the controller may take to stop.
const CONTROLLER_STOP: Duration = Duration::from_secs(8);

/// Why the process cannot run. Everything else is told and tried again.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// Metrics could not be set up: a bug.
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    /// There is no way to the API server.
    #[error("no cluster: {0}; run in a pod, or set KUBECONFIG")]
    Cluster(#[from] kube::config::InferConfigError),
    /// The client could not be made.
    #[error("cannot talk to the cluster: {0}")]
    Client(#[from] kube::Error),
    /// The port of the webhook.
    #[error("cannot listen on {address} for the webhook: {source}")]
    Listen {
        /// Where.
        address: std::net::SocketAddr,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// TLS could not be set up.
    #[error("TLS: {0}")]
    Tls(#[from] ServeError),
    /// The controller is gone, and said why.
    #[error("the controller ended, see the log; starting again")]
    Controller,
    /// The runtime or signals could not be had.
    #[error("cannot start: {0}")]
    Start(#[from] std::io::Error),
}

/// Runs until a signal to stop.
pub async fn run(settings: RunSettings, sidecar: SidecarSettings) -> Result<(), AppError> {
    let mut signals = Signals::new()?;
    let (metrics, readiness) = (Metrics::new()?, Readiness::default());
    // Another part of the process might ask for a default, and two providers would make that a panic.
    rustls::crypto::ring::default_provider().install_default().ok();
    let client = Client::try_from(kube::Config::infer().await?)?;
    let mut tasks = JoinSet::new();
    tasks.spawn(admin::serve(settings.admin_listen, metrics.clone(), readiness.clone()));
    let (stop, stopping) = watch::channel(false);
    let webhook = match settings.runs(Component::Webhook) {
        true => Some(
            start_webhook(&client, &settings, sidecar, &metrics, &readiness, &mut tasks, stopping).await?,
        ),
        false => None,
    };
    let failed = Arc::new(Notify::new());
    let election = settings
        .runs(Component::Controller)
        .then(|| start_controller(&client, &settings, &metrics, failed.clone()));
    tracing::info!(version = env!("CARGO_PKG_VERSION"), components = ?settings.components, "started");

    let result = tokio::select! {
        () = signals.recv() => Ok(()),
        () = failed.notified() => Err(AppError::Controller),
    };
    tracing::info!("stopping");
    readiness.wait_for(STOPPING, "the process has been asked to stop");
    // Nobody has to wait for the webhook's last requests to lead.
    tokio::join!(drain(webhook, stop, settings.shutdown_delay), resign(election));
    tracing::info!("stopped");
    result
}

/// Lets requests end, once nobody sends any.
async fn drain(webhook: Option<JoinHandle<()>>, stop: watch::Sender<bool>, delay: Duration) {
    let Some(webhook) = webhook else { return };
    // Whoever routes requests learns only after a while that they should go elsewhere.
    tokio::time::sleep(delay).await;
    stop.send_replace(true);
    finish("webhook", webhook).await;
}

async fn resign(leading: Option<Leading>) {
    if let Some(leading) = leading {
        leading.stop().await;
    }
}

async fn start_webhook(
    client: &Client,
    settings: &RunSettings,
    sidecar: SidecarSettings,
    metrics: &Metrics,
    readiness: &Readiness,
    tasks: &mut JoinSet<()>,
    stopping: watch::Receiver<bool>,
) -> Result<JoinHandle<()>, AppError> {
    let served = Served::default();
    let tls = TlsAcceptor::from(Arc::new(served.server_config()?));
    let address = settings.webhook.webhook_listen;
    let listener = TcpListener::bind(address).await.map_err(|source| AppError::Listen { address, source })?;
    let certificates = Certificates::new(
        client.clone(),
        &settings.namespace,
        settings.webhook.clone(),
        served,
        readiness.clone(),
        metrics.clone(),
    );
    tasks.spawn(certificates.run());
    let shared = Shared {
        knowledge: Caches::watch(client, &settings.namespaces, tasks, readiness),
        settings: Settings { sidecar, own_namespace: settings.namespace.clone() },
        metrics: metrics.clone(),
        bodies: Bodies::default(),
    };
    tracing::info!(%address, "serving admission requests");
    Ok(tokio::spawn(server::serve(listener, tls, Arc::new(shared), stopping)))
}

/// The election, and what is done by who wins it.
struct Leading {
    election: JoinHandle<()>,
    controller: JoinHandle<()>,
    stop_election: watch::Sender<bool>,
    stop_controller: watch::Sender<bool>,
}

fn start_controller(
    client: &Client,
    settings: &RunSettings,
    metrics: &Metrics,
    failed: Arc<Notify>,
) -> Leading {
    let (leads, leadership) = watch::channel(false);
    let (stop_election, mut election_stops) = watch::channel(false);
    let (stop_controller, controller_stops) = watch::channel(false);
    let leases: Api<Lease> = Api::namespaced(client.clone(), &settings.namespace);
    let stop = async move { drop(election_stops.wait_for(|stop| *stop).await) };
    let election =
        leader::run(leases, settings.controller.lease_name.clone(), settings.pod_name.clone(), leads, stop);
    let reconciling = controller_settings(settings);
    let controller =
        run_controller(client.clone(), reconciling, metrics.clone(), leadership, controller_stops, failed);
    Leading {
        election: tokio::spawn(election),
        controller: tokio::spawn(controller),
        stop_election,
        stop_controller,
    }
}

/// Reconciles while this process leads. An end of its own is one of the whole process: something is broken.
async fn run_controller(
    client: Client,
    settings: controller::Settings,
    metrics: Metrics,
    leadership: watch::Receiver<bool>,
    mut stop: watch::Receiver<bool>,
    failed: Arc<Notify>,
) {
    let stopped = async move { drop(stop.wait_for(|stop| *stop).await) };
    let ended = controller::run(client, &settings, &metrics.registry, leadership.clone(), stopped);
    tokio::select! {
        result = ended => if let Err(error) = result {
            tracing::error!(%error, "the controller ended");
            failed.notify_one();
        },
        () = show_leadership(&metrics, leadership) => {}
    }
}

async fn show_leadership(metrics: &Metrics, mut leadership: watch::Receiver<bool>) {
    loop {
        metrics.leader.set(i64::from(*leadership.borrow_and_update()));
        if leadership.changed().await.is_err() {
            // Nobody decides any more; the controller sees that too, and ends in its own time.
            return std::future::pending().await;
        }
    }
}

fn controller_settings(settings: &RunSettings) -> controller::Settings {
    let flags = &settings.controller;
    let always = [settings.namespace.clone(), crate::names::SYSTEM_NAMESPACE.to_owned()];
    let excluded = settings.excluded_namespaces.iter().chain(&always);
    controller::Settings {
        namespaces: settings.namespaces.clone(),
        excluded: excluded.cloned().collect(),
        instance: settings.pod_name.clone(),
        pushes_per_second: Some(f64::from(flags.config_push_rate)).filter(|rate| *rate > 0.0),
        sweep_interval: flags.sweep_interval,
        feedback_interval: flags.feedback_interval,
        repair: flags.repair,
        concurrency: flags.concurrency,
    }
}

impl Leading {
    /// The controller first: the lease is ours until it has ended.
    async fn stop(self) {
        self.stop_controller.send_replace(true);
        if tokio::time::timeout(CONTROLLER_STOP, self.controller).await.is_err() {
            tracing::warn!("the controller did not stop in time; its lease runs out by itself");
            return;
        }
        self.stop_election.send_replace(true);
        finish("election", self.election).await;
    }
}

async fn finish(what: &str, task: JoinHandle<()>) {
    if let Err(error) = task.await {
        tracing::error!(%error, "the {what} ended badly");
    }
}

/// SIGTERM and SIGINT.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn recv(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
