//! The way to the cluster: in, the environment's KUBECONFIG; out, a client that any test may use.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kube::Client;
use kube::config::{Config, KubeConfigOptions};

/// Long enough for an exec that copies a file, short enough to notice an API server that hangs.
const READ_LIMIT: Duration = Duration::from_secs(120);

/// A client with the rights of the KUBECONFIG's user, who has to be an administrator of the cluster.
///
/// # Errors
///
/// There is no KUBECONFIG, or it cannot be used. The suite never falls back to `~/.kube/config`: it creates and
/// deletes namespaces, and that must not happen to a cluster nobody named.
pub async fn client() -> Result<Client> {
    ensure!(
        std::env::var_os("KUBECONFIG").is_some_and(|path| !path.is_empty()),
        "KUBECONFIG is not set; `make e2e` brings a cluster up and sets it, e2e/README.md says how to use another"
    );
    let mut config =
        Config::from_kubeconfig(&KubeConfigOptions::default()).await.context("KUBECONFIG cannot be used")?;
    config.read_timeout = Some(READ_LIMIT);
    Ok(Client::try_from(config)?)
}

/// A client that acts as a service account, with no more rights than it has.
pub async fn client_as(namespace: &str, service_account: &str) -> Result<Client> {
    let mut config = Config::from_kubeconfig(&KubeConfigOptions::default()).await?;
    config.auth_info.impersonate = Some(format!("system:serviceaccount:{namespace}:{service_account}"));
    config.auth_info.impersonate_groups = Some(vec![
        "system:serviceaccounts".to_owned(),
        format!("system:serviceaccounts:{namespace}"),
        "system:authenticated".to_owned(),
    ]);
    Ok(Client::try_from(config)?)
}
