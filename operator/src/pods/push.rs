//! Tells pods which configuration they should have, by an annotation: kubelet then brings the ConfigMap at once instead of
//! within a minute or so, and the sidecar sees what to expect.
//!
//! What always holds: a pod that has the annotation already is not written; the rate is limited; a refusal is not
//! answered by trying harder.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use capstan_config::names::CONFIG_HASH_ANNOTATION;
use futures::StreamExt;
use kube::Client;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;

use super::Key;
use super::limiter::Limiter;
use super::record::PodPart;
use crate::controller::metrics::Metrics;
use crate::controller::state::State;

/// Patches on their way at once: enough for the rate at 80 ms each, few enough to be polite.
const CONCURRENCY: usize = 4;

/// Pauses before a failed patch is tried again; then the next reconciliation finds the pod.
const PAUSES: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(30)];

/// Writes annotations until dropped.
pub async fn run(client: Client, state: Arc<State>, metrics: Arc<Metrics>, per_second: f64) {
    let limiter = Mutex::new(Limiter::new(per_second, Instant::now()));
    let wait = &|| limiter.lock().unwrap_or_else(PoisonError::into_inner).take(Instant::now());
    let pods = state.pushes.stream();
    let (client, state, metrics) = (&client, &state, &metrics);
    pods.for_each_concurrent(CONCURRENCY, |key| async move {
        for pause in PAUSES {
            let Some(hashes) = state.new_hashes(&key) else { return };
            tokio::time::sleep(wait()).await;
            match write(client, &key, &hashes).await {
                Ok(()) => return metrics.pushed("ok"),
                Err(kube::Error::Api(status)) if status.is_not_found() => return,
                Err(kube::Error::Api(status)) if status.is_forbidden() || status.is_invalid() => {
                    tracing::warn!(pod = %key, error = %status.message, "a pod may not be told its configuration");
                    state.push_refused(&key, hashes, Instant::now());
                    return metrics.pushed("forbidden");
                }
                Err(error) => {
                    tracing::warn!(pod = %key, %error, "a pod was not told its configuration");
                    metrics.pushed("error");
                    tokio::time::sleep(pause).await;
                }
            }
        }
    })
    .await;
}

async fn write(client: &Client, key: &Key, hashes: &str) -> Result<(), kube::Error> {
    let api: Api<PodPart> = Api::namespaced(client.clone(), &key.namespace);
    let patch = json!({ "metadata": { "annotations": { CONFIG_HASH_ANNOTATION: hashes } } });
    api.patch_metadata(&key.name, &PatchParams::default(), &Patch::Merge(patch)).await.map(drop)
}
