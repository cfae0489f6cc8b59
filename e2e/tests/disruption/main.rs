//! What happens when parts of the operator go away. These tests break what all others use, so they run one after the
//! other, in a program of their own; each leaves an installation that works.

/// The leader is killed, or stands still for a while.
mod leader;
/// Ways to install it that other tests don't use.
mod modes;
/// `helm upgrade` and `helm uninstall`.
mod releases;
/// No webhook answers; and what calls to it cost whom.
mod webhook;

use anyhow::Result;
use capstan_e2e::install;
use capstan_e2e::namespace::{Namespace, Security};
use capstan_e2e::test::in_namespace;
use tokio::sync::Mutex;

static ALONE: Mutex<()> = Mutex::const_new(());

/// As [`in_namespace`], when no other test is under way.
async fn alone(
    name: &str,
    security: Security,
    test: impl AsyncFnOnce(&Namespace) -> Result<()>,
) -> Result<()> {
    let _turn = ALONE.lock().await;
    in_namespace(name, security, async |namespace| {
        install::ready(&namespace.client).await?;
        test(namespace).await
    })
    .await
}
