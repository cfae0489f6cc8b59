//! What an injected sidecar says of itself, read through the API server's way to the pod.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::namespace::Namespace;
use crate::scrape::{self, Sample};
use crate::wait;

/// The sidecar's container.
pub const CONTAINER: &str = "capstan";

/// Its port.
pub const PORT: u16 = 26514;

/// Its `/status` as it came.
///
/// # Errors
///
/// It does not answer.
pub async fn status_text(namespace: &Namespace, pod: &str) -> Result<String> {
    scrape::get(&namespace.client, &namespace.name, pod, PORT, "/status").await
}

/// Its `/status`.
///
/// # Errors
///
/// It does not answer, or not in JSON.
pub async fn status(namespace: &Namespace, pod: &str) -> Result<Value> {
    let text = status_text(namespace, pod).await?;
    serde_json::from_str(&text).with_context(|| format!("its status is no JSON: {text}"))
}

/// Kills it with SIGKILL from the app's container: the pod has to share its processes, and the app its user.
///
/// # Errors
///
/// It is not among the pod's processes.
pub async fn kill(namespace: &Namespace, pod: &str) -> Result<()> {
    let script = "for p in /proc/[0-9]*; do \
                  if [ \"$(cat $p/comm)\" = capstan-sidecar ]; then kill -9 ${p#/proc/}; echo killed; fi; done";
    let said = namespace.shell(pod, "app", script).await?;
    ensure!(said.contains("killed"), "no sidecar among the pod's processes");
    Ok(())
}

/// Its metrics.
///
/// # Errors
///
/// It does not answer.
pub async fn metrics(namespace: &Namespace, pod: &str) -> Result<Vec<Sample>> {
    Ok(scrape::parse(&scrape::get(&namespace.client, &namespace.name, pod, PORT, "/metrics").await?))
}

/// The hash of the configuration it runs with.
///
/// # Errors
///
/// It does not know the policy.
pub async fn hash(namespace: &Namespace, pod: &str, policy: &str) -> Result<String> {
    let status = status(namespace, pod).await?;
    let hash = status.pointer(&format!("/policies/{policy}/hash")).and_then(Value::as_str);
    hash.map(str::to_owned).with_context(|| format!("no hash of {policy} in {status}"))
}

/// The sum of a counter over all series whose labels hold these.
///
/// # Errors
///
/// It does not answer.
pub async fn total(namespace: &Namespace, pod: &str, family: &str, labels: &[(&str, &str)]) -> Result<f64> {
    Ok(scrape::sum(&metrics(namespace, pod).await?, family, labels))
}

/// Waits until everything that was written is confirmed: every lag is 0 bytes, and a destination has been used.
///
/// # Errors
///
/// It is not, in time; the error shows what lags.
pub async fn drained(namespace: &Namespace, pod: &str) -> Result<()> {
    wait::until(&format!("{pod} to have everything confirmed"), wait::LIMIT, async || {
        let metrics = metrics(namespace, pod).await?;
        let lags: Vec<&Sample> =
            metrics.iter().filter(|sample| sample.family == "capstan_sidecar_lag_bytes").collect();
        ensure!(!lags.is_empty(), "nothing is forwarded yet");
        let behind: Vec<&&Sample> = lags.iter().filter(|sample| sample.value > 0.0).collect();
        ensure!(behind.is_empty(), "not confirmed: {behind:?}");
        Ok(())
    })
    .await
}

/// Rotations with this result so far.
///
/// # Errors
///
/// It does not answer.
pub async fn rotations(namespace: &Namespace, pod: &str, result: &str) -> Result<f64> {
    total(namespace, pod, "capstan_sidecar_rotations_total", &[("result", result)]).await
}
