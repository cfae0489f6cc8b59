//! How a test runs: in, its name and what it does; out, a result, and an account of the namespace if it failed.

use std::panic::AssertUnwindSafe;

use anyhow::{Result, anyhow};
use futures::FutureExt;
use tokio::sync::Semaphore;

use crate::namespace::{Namespace, Security};
use crate::{install, kube, narrate};

/// How many tests use the cluster at once: waiting costs nothing, but each has a few pods.
static TURNS: Semaphore = Semaphore::const_new(4);

/// Runs a test in a fresh namespace of a cluster where Capstan is installed, and removes the namespace.
///
/// With `CAPSTAN_E2E_KEEP` set, the namespace of a test that failed stays.
///
/// # Errors
///
/// Those of the test, after everything worth knowing was printed.
pub async fn in_namespace(
    name: &str,
    security: Security,
    test: impl AsyncFnOnce(&Namespace) -> Result<()>,
) -> Result<()> {
    let _turn = TURNS.acquire().await?;
    let client = kube::client().await?;
    install::once(&client).await?;
    let namespace = Namespace::create(client, name, security).await?;
    let ended = AssertUnwindSafe(test(&namespace)).catch_unwind().await;
    let result = ended.unwrap_or_else(|_| Err(anyhow!("the test panicked; see above")));
    if let Err(error) = &result {
        eprintln!("{name}: {error:#}{}", narrate::failure(&namespace).await);
        if std::env::var_os("CAPSTAN_E2E_KEEP").is_some() {
            return result;
        }
    }
    namespace.delete().await?;
    result
}
