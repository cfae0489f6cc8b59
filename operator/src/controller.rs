//! Carries policies into sidecars, as long as this replica leads.
//!
//! In: a client, settings, whether we lead. Out: ConfigMaps, annotations, status, Events. What always holds: nothing is
//! written before everything was read once; nothing is written any more as soon as somebody else may lead; what is known
//! is forgotten then, and read again by whoever leads next.

pub mod wanted; // E
pub mod metrics; // P
pub mod rates; // E
pub mod state; // E
pub mod context; // E
pub mod watches; // E
pub mod scope; // E

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use prometheus::Registry;
use tokio::sync::watch;
use tokio::task::JoinSet;

use metrics::Metrics;

/// How long reconciliations that are under way may take when the process is to end.
const GRACE: Duration = Duration::from_secs(5);

/// What the controller is told.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The only namespaces to look at; empty is all.
    pub namespaces: Vec<String>,
    /// Namespaces whose pods are not meant to have a sidecar.
    pub excluded: BTreeSet<String>,
    /// Who tells, in Events: the name of the operator's pod.
    pub instance: String,
    /// How many pods are told their new configuration in a second; `None` leaves it to kubelet, which takes a minute.
    pub pushes_per_second: Option<f64>,
    /// How often pods without a sidecar are looked for.
    pub sweep_interval: Duration,
    /// How often a sidecar is asked that has nothing new.
    pub feedback_interval: Duration,
    /// Whether pods without a sidecar are evicted.
    pub repair: bool,
    /// Reconciliations at once, for each kind.
    pub concurrency: u16,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            namespaces: Vec::new(),
            excluded: BTreeSet::new(),
            instance: "capstan-operator".to_owned(),
            pushes_per_second: Some(50.0),
            sweep_interval: Duration::from_secs(300),
            feedback_interval: Duration::from_secs(30),
            repair: false,
            concurrency: 4,
        }
    }
}

/// Why the controller ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum ControllerError {
    /// The registry has metrics of these names.
    #[error("registering metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    /// A part of it ended, which none should.
    #[error("the controller of {0} ended unexpectedly")]
    Ended(String),
}

/// Reconciles while `leadership` is true, until `stop`.
///
/// # Errors
/// If it cannot go on.
pub async fn run(
    client: Client,
    settings: &Settings,
    registry: &Registry,
    mut leadership: watch::Receiver<bool>,
    stop: impl Future<Output = ()>,
) -> Result<(), ControllerError> {
    let metrics = Arc::new(Metrics::register(registry)?);
    let mut stop = std::pin::pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => return Ok(()),
            leads = leadership.wait_for(|leads| *leads) => {
                // Whoever decided about leading is gone.
                if leads.is_err() {
                    return Ok(());
                }
            }
        }
        tracing::info!("leading: reconciling begins");
        let (ending, ended) = watch::channel(false);
        let mut scopes = start(&client, settings, &metrics, &ended);
        let outcome = tokio::select! {
            outcome = first_end(&mut scopes) => outcome,
            () = async { drop(leadership.wait_for(|leads| !leads).await) } => {
                // Dropping the tasks ends them at their next wait, in the middle of whatever they do.
                tracing::info!("not leading any more: reconciling ends");
                drop(scopes);
                metrics.forget_all();
                continue;
            }
            () = &mut stop => {
                ending.send_replace(true);
                if tokio::time::timeout(GRACE, all_ends(&mut scopes)).await.is_err() {
                    tracing::warn!("reconciliations under way were broken off");
                }
                Ok(())
            }
        };
        return outcome;
    }
}

/// One scope for the cluster, or one for each namespace.
fn start(
    client: &Client,
    settings: &Settings,
    metrics: &Arc<Metrics>,
    ending: &watch::Receiver<bool>,
) -> JoinSet<String> {
    let namespaces = settings.namespaces.iter().cloned().map(Some);
    let all = settings.namespaces.is_empty().then_some(None);
    let rates = rates::Rates::new(settings);
    let mut scopes = JoinSet::new();
    for namespace in namespaces.chain(all) {
        let scope = scope::Scope {
            client: client.clone(),
            namespace,
            settings: settings.clone(),
            metrics: metrics.clone(),
            rates: rates.clone(),
        };
        scopes.spawn(scope.run(ending.clone()));
    }
    scopes
}

async fn first_end(scopes: &mut JoinSet<String>) -> Result<(), ControllerError> {
    let name = match scopes.join_next().await {
        Some(Ok(name)) => name,
        Some(Err(error)) => error.to_string(),
        None => "nothing".to_owned(),
    };
    Err(ControllerError::Ended(name))
}

async fn all_ends(scopes: &mut JoinSet<String>) {
    while scopes.join_next().await.is_some() {}
}
