//! Waits until the cluster is what it should be. In: the administrator's kubeconfig; out: the time at which each
//! milestone was reached, or which one was not.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::{Node, ServiceAccount};
use kube::api::GetParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::Request;
use kube::{Api, Client, Config};
use tokio::time::sleep;

use super::layout::NODE_NAME;
use super::progress::Progress;

/// Generous, because a wait ends as soon as it may.
const LIMIT: Duration = Duration::from_secs(180);

/// Waits for the API server, the node, and the first thing that a pod needs from the controllers.
pub fn wait(kubeconfig: &Path, progress: Progress) -> Result<()> {
    run(async {
        let client = client(kubeconfig).await?;
        until("the API server to be ready", || async { api_ready(&client).await }).await?;
        progress.reached("API server ready");
        until("the node to be Ready", || async { node_ready(&client).await }).await?;
        progress.reached("node Ready");
        let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), "default");
        until("the default service account", || async { accounts.get("default").await.is_ok() }).await?;
        progress.reached("pods can be created");
        Ok(())
    })
}

/// Whether the API server and the node are ready now.
pub fn now(kubeconfig: &Path) -> Result<(bool, bool)> {
    run(async {
        let client = client(kubeconfig).await?;
        Ok((api_ready(&client).await, node_ready(&client).await))
    })
}

/// A client for that kubeconfig, whatever the environment says.
async fn client(kubeconfig: &Path) -> Result<Client> {
    let read = Kubeconfig::read_from(kubeconfig).context("the cluster has no kubeconfig")?;
    let config = Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await?;
    Ok(Client::try_from(config)?)
}

/// Runs to the end what waits for the network.
fn run<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

async fn api_ready(client: &Client) -> bool {
    let Ok(request) = Request::new("").get("readyz", &GetParams::default()) else { return false };
    client.request_text(request).await.is_ok()
}

async fn node_ready(client: &Client) -> bool {
    let Ok(node) = Api::<Node>::all(client.clone()).get(NODE_NAME).await else { return false };
    let mut conditions = node.status.into_iter().flat_map(|status| status.conditions.unwrap_or_default());
    conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

async fn until<F: Future<Output = bool>>(what: &str, holds: impl Fn() -> F) -> Result<()> {
    let begin = Instant::now();
    while !holds().await {
        if begin.elapsed() > LIMIT {
            bail!("waited {} s for {what}", LIMIT.as_secs());
        }
        sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}
