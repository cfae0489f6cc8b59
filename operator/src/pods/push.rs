//! Tells pods which configuration they should have, by an annotation: kubelet then brings the ConfigMap at once instead of
//! within a minute or so, and the sidecar sees what to expect.
//!
//! What always holds: a pod that has the annotation already is not written; the rate is limited; a refusal is not
//! answered by trying harder; who waits to be tried again keeps nobody else from being told.

use std::sync::Arc;
use std::time::{Duration, Instant};

use capstan_config::names::CONFIG_HASH_ANNOTATION;
use futures::StreamExt;
use kube::Client;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;

use super::Key;
use super::record::PodPart;
use crate::controller::metrics::Metrics;
use crate::controller::rates::Rate;
use crate::controller::state::State;

/// Patches on their way at once: enough for the rate at 80 ms each, few enough to be polite.
const CONCURRENCY: usize = 4;

/// How long a patch may take: an admission webhook that hangs would keep everybody waiting.
const PATIENCE: Duration = Duration::from_secs(5);

/// Writes annotations until dropped.
pub async fn run(client: Client, state: Arc<State>, metrics: Arc<Metrics>, rate: Arc<Rate>) {
    let pods = state.pushes.stream();
    let (client, state, metrics, rate) = (&client, &state, &metrics, &rate);
    pods.for_each_concurrent(CONCURRENCY, |key| async move {
        let Some(hashes) = state.new_hashes(&key, Instant::now()) else { return };
        rate.turn().await;
        let outcome = match tokio::time::timeout(PATIENCE, write(client, &key, &hashes)).await {
            Ok(outcome) => outcome.map_or_else(Outcome::of, |()| Outcome::Told),
            Err(_) => Outcome::Failed(format!("no answer within {} s", PATIENCE.as_secs())),
        };
        match outcome {
            Outcome::Told => {
                state.push_done(&key);
                metrics.pushed("ok");
            }
            Outcome::Gone => state.push_done(&key),
            Outcome::Refused(error) => {
                tracing::warn!(pod = %key, error, "a pod may not be told its configuration");
                state.push_refused(&key, hashes, Instant::now());
                metrics.pushed("forbidden");
            }
            Outcome::Failed(error) => {
                tracing::warn!(pod = %key, error, "a pod was not told its configuration");
                state.push_failed(&key, hashes, Instant::now());
                metrics.pushed("error");
            }
        }
    })
    .await;
}

/// What became of a patch.
#[derive(Clone, Debug, PartialEq)]
enum Outcome {
    Told,
    /// There is no such pod any more.
    Gone,
    /// Somebody does not want it, and will not want it in a moment either.
    Refused(String),
    /// It may work next time.
    Failed(String),
}

impl Outcome {
    /// An admission webhook that denies may choose the code, and takes 400 if it does not. 401 and 408 are about us, 409
    /// and 429 about the moment.
    fn of(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => match status.code {
                404 => Self::Gone,
                401 | 408 | 409 | 429 => Self::Failed(status.message.clone()),
                400..=499 => Self::Refused(status.message.clone()),
                _ => Self::Failed(status.message.clone()),
            },
            error => Self::Failed(error.to_string()),
        }
    }
}

async fn write(client: &Client, key: &Key, hashes: &str) -> Result<(), kube::Error> {
    let api: Api<PodPart> = Api::namespaced(client.clone(), &key.namespace);
    let patch = json!({ "metadata": { "annotations": { CONFIG_HASH_ANNOTATION: hashes } } });
    api.patch_metadata(&key.name, &PatchParams::default(), &Patch::Merge(patch)).await.map(drop)
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    #[test]
    fn who_refuses_is_not_asked_again_and_who_fails_is() {
        let of =
            |code| Outcome::of(kube::Error::Api(Box::new(Status::failure("why", "Why").with_code(code))));
        let (refused, failed) = (Outcome::Refused("why".into()), Outcome::Failed("why".into()));
        assert_eq!([of(400), of(403), of(422)], [refused.clone(), refused.clone(), refused]);
        assert_eq!([of(409), of(429), of(500)], [failed.clone(), failed.clone(), failed]);
        assert_eq!(of(404), Outcome::Gone);
    }
}
