//! Everything that goes on for the cluster, or for one namespace of those that we are limited to.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use capstan_crds::{LogDestination, LogRotationPolicy};
use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::PartialObjectMeta;
use kube::core::NamespaceResourceScope;
use kube::runtime::applier;
use kube::runtime::controller::{Action, Config};
use kube::runtime::reflector::{self, ObjectRef};
use kube::{Api, Client, Resource};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::context::Context;
use super::metrics::Metrics;
use super::rates::{Rate, Rates};
use super::state::State;
use super::watches::{self, Guarded};
use super::{Settings, wanted::Wanted};
use crate::events::{self, Level, Telling};
use crate::feedback;
use crate::pods::missing::Bare;
use crate::pods::{Key, missing, push, repair};
use crate::reconcile::{self, ReconcileError};

const POLICY: &str = "LogRotationPolicy";
const DESTINATION: &str = "LogDestination";

/// What no watch tells is found within this time.
const AGAIN: Duration = Duration::from_secs(600);
/// Events that wait to be written: more than one busy moment has, and no memory to speak of.
const MOST_TELLINGS: usize = 1000;

/// What a scope is made of.
#[derive(Clone)]
pub struct Scope {
    /// Speaks to the API server.
    pub client: Client,
    /// The only namespace; `None` is the cluster.
    pub namespace: Option<String>,
    /// What the controller is told.
    pub settings: Settings,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// What is limited for all scopes together.
    pub rates: Rates,
}

impl Scope {
    /// Works until `ending`, then ends what is under way; returns its own name.
    pub async fn run(self, ending: watch::Receiver<bool>) -> String {
        let state = Arc::new(State::new(self.rates.pushes.is_some()));
        let (policies, policy_writer) = reflector::store();
        let (destinations, destination_writer) = reflector::store();
        let (tellings, told) = mpsc::channel(MOST_TELLINGS);
        let context = Arc::new(Context::new(
            self.client.clone(),
            state,
            self.metrics.clone(),
            policies,
            destinations,
            tellings,
        ));
        let (complete, mut pods_complete) = watch::channel(false);
        let mut tasks = JoinSet::new();
        tasks.spawn(watches::policies(self.api(), policy_writer, context.clone()));
        tasks.spawn(watches::destinations(self.api(), destination_writer, context.clone()));
        tasks.spawn(watches::config_maps(self.api::<PartialObjectMeta<ConfigMap>>(), context.clone()));
        tasks.spawn(write_events(
            self.client.clone(),
            self.settings.instance.clone(),
            self.rates.events.clone(),
            told,
        ));
        let ready = async {
            // An error means that the watch has ended, and then so do we. Nobody else may wait for the stores: of several
            // that wait, only the last is woken.
            let _stores =
                (context.policies.wait_until_ready().await, context.destinations.wait_until_ready().await);
            // What a sidecar left behind is counted for its policies, so these come first.
            tasks.spawn(watches::pods(self.api(), context.clone(), complete));
            drop(pods_complete.wait_for(|complete| *complete).await);
        };
        let stopped = || {
            let mut ending = ending.clone();
            async move { drop(ending.wait_for(|ending| *ending).await) }
        };
        tokio::select! {
            () = ready => {}
            () = stopped() => return self.name(),
        }
        tracing::info!(scope = %self.name(), "everything was read once");
        self.start_rounds(&mut tasks, &context);
        tokio::select! {
            _ = futures::future::join(
                self.reconcile_policies(&context, stopped()),
                self.reconcile_destinations(&context, stopped()),
            ) => {}
            _ = tasks.join_next() => {}
        }
        self.name()
    }

    fn name(&self) -> String {
        self.namespace.clone().unwrap_or_else(|| "the cluster".to_owned())
    }

    fn api<K: Resource<DynamicType = (), Scope = NamespaceResourceScope>>(&self) -> Api<K> {
        match &self.namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        }
    }

    /// What goes on beside reconciling.
    fn start_rounds(&self, tasks: &mut JoinSet<()>, context: &Arc<Context>) {
        let (state, metrics) = (context.state.clone(), self.metrics.clone());
        let (rate, interval) = (self.rates.questions.clone(), self.settings.feedback_interval);
        tasks.spawn(feedback::read::run(state.clone(), metrics.clone(), rate, interval));
        let (found, bare) = watch::channel(Vec::new());
        tasks.spawn(look_for_bare_pods(self.api(), context.clone(), self.settings.clone(), found));
        if self.settings.repair {
            tasks.spawn(repair::run(bare));
        }
        if let Some(rate) = &self.rates.pushes {
            tasks.spawn(push::run(self.client.clone(), state, metrics, rate.clone()));
        }
    }

    /// Without a debounce: it begins anew with every request, so an object that is wanted all the time would never be
    /// looked at. `Wanted` gathers what comes together.
    fn config(&self) -> Config {
        Config::default().concurrency(self.settings.concurrency.max(1))
    }

    async fn reconcile_policies(&self, context: &Arc<Context>, stopped: impl Future<Output = ()>) {
        let queue = queue::<Guarded<LogRotationPolicy>>(&context.state.policies, stopped);
        let one = |object: Arc<Guarded<LogRotationPolicy>>, context: Arc<Context>| {
            Box::pin(async move {
                let Ok(policy) = &object.0 else { return Ok(Action::await_change()) };
                let started = Instant::now();
                let outcome = reconcile::policy(policy, &context).await;
                let key = Key::of(policy);
                // Deleted meanwhile: what was learned of it came after it was forgotten.
                if !context.has_policy(&key) {
                    context.forget(&key);
                }
                finish(POLICY, outcome, started, &context)
            })
        };
        let store = context.policies.clone();
        let work = applier(one, again(POLICY), context.clone(), store, queue, self.config());
        drive(work, POLICY, context).await;
    }

    async fn reconcile_destinations(&self, context: &Arc<Context>, stopped: impl Future<Output = ()>) {
        let queue = queue::<Guarded<LogDestination>>(&context.state.destinations, stopped);
        let one = |object: Arc<Guarded<LogDestination>>, context: Arc<Context>| {
            Box::pin(async move {
                let Ok(destination) = &object.0 else { return Ok(Action::await_change()) };
                let started = Instant::now();
                let outcome = reconcile::destination::reconcile(destination, &context).await;
                finish(DESTINATION, outcome, started, &context)
            })
        };
        let store = context.destinations.clone();
        let work = applier(one, again(DESTINATION), context.clone(), store, queue, self.config());
        drive(work, DESTINATION, context).await;
    }
}

/// What is wanted, as the applier takes it.
fn queue<K: Resource<DynamicType = ()>>(
    wanted: &Wanted,
    stopped: impl Future<Output = ()>,
) -> impl Stream<Item = Result<ObjectRef<K>, Infallible>> {
    let keys = wanted.stream().map(|key| Ok(ObjectRef::new(&key.name).within(&key.namespace)));
    keys.take_until(stopped)
}

/// Counts what became of a reconciliation, and says when the object is looked at again.
fn finish(
    kind: &str,
    outcome: Result<(), ReconcileError>,
    started: Instant,
    context: &Context,
) -> Result<Action, ReconcileError> {
    let seconds = started.elapsed().as_secs_f64();
    match outcome {
        Ok(()) => context.metrics.reconciled(kind, "ok", seconds),
        // Deleted while we looked at it; the watch says so in a moment.
        Err(error) if error.is_gone() => context.metrics.reconciled(kind, "gone", seconds),
        Err(error) => {
            context.metrics.reconciled(kind, error.step(), seconds);
            tracing::warn!(kind, error = %events::causes(&error), "reconciling failed; it is tried again");
            return Err(error);
        }
    }
    Ok(Action::requeue(AGAIN))
}

/// When an object is looked at again that could not be reconciled.
fn again<K: Resource<DynamicType = ()>>(
    kind: &'static str,
) -> impl Fn(Arc<K>, &ReconcileError, Arc<Context>) -> Action {
    move |object, _, context| Action::requeue(context.failed(kind, Key::of(object.as_ref())))
}

/// Reconciles whatever is wanted.
async fn drive<K: Resource<DynamicType = ()>, E>(
    work: impl Stream<Item = Result<(ObjectRef<K>, Action), E>>,
    kind: &'static str,
    context: &Context,
) {
    let done = work.filter_map(|outcome| async { outcome.ok() });
    done.for_each(|(object, _)| async move {
        context.succeeded(kind, Key::new(object.namespace.unwrap_or_default(), object.name));
    })
    .await;
}

/// Writes what is told, at a bounded rate.
async fn write_events(client: Client, instance: String, rate: Arc<Rate>, mut told: mpsc::Receiver<Telling>) {
    while let Some(telling) = told.recv().await {
        rate.turn().await;
        events::tell(&client, &instance, &telling).await;
    }
}

/// Looks for pods without a sidecar, again and again, and leaves them in `found` for whoever may repair them.
async fn look_for_bare_pods(
    api: Api<Pod>,
    context: Arc<Context>,
    settings: Settings,
    found: watch::Sender<Vec<Bare>>,
) {
    let mut failures = 0;
    loop {
        match missing::sweep(&api).await {
            Ok(bare) => {
                failures = 0;
                let bare = missing::of_served(&context.client, bare, &settings.excluded).await;
                context.metrics.swept("ok");
                for pod in context.state.swept(bare.clone()) {
                    context.tell(Telling {
                        about: events::pod(&pod.key, &pod.uid),
                        level: Level::Warning,
                        reason: pod.reason,
                        action: "Inject",
                        note: pod.message,
                        occurrence: String::new(),
                    });
                }
                found.send_replace(bare);
            }
            Err(error) => {
                failures += 1;
                context.metrics.swept("error");
                tracing::warn!(error = %events::causes(&error), "the search for pods without a sidecar broke off");
            }
        }
        tokio::time::sleep(missing::pause(failures, settings.sweep_interval)).await;
    }
}
