//! Capstan on the cluster: in, the chart and the images; out, an installation that all tests of a program share.
//!
//! It is done as a user would do it: `kubectl apply -f crds/`, then `helm upgrade --install`.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::{Api, DynamicObject, ListParams};
use kube::core::{ApiResource, GroupVersionKind};
use tokio::process::Command;
use tokio::sync::OnceCell;

use crate::images::Image;
use crate::{documents, namespace, wait};

/// Where the operator is installed.
pub const NAMESPACE: &str = "capstan-system";

/// The release's name.
pub const RELEASE: &str = "capstan";

/// Installs or upgrades Capstan, the first time a test of this program asks.
///
/// With `CAPSTAN_E2E_INSTALLED` set, it is taken as it is.
///
/// # Errors
///
/// What kubectl's or helm's counterpart said, or the operator does not become ready.
pub async fn once(client: &Client) -> Result<()> {
    static DONE: OnceCell<()> = OnceCell::const_new();
    DONE.get_or_try_init(async || {
        if std::env::var_os("CAPSTAN_E2E_INSTALLED").is_some() {
            return Ok(());
        }
        custom_resources(client).await?;
        chart(&[]).await?;
        ready(client).await
    })
    .await
    .copied()
}

/// The folder of the checkout.
pub fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new(".")).to_path_buf()
}

/// Applies the CRDs and waits until the API server serves them.
///
/// # Errors
///
/// It refuses one, or does not serve it in time.
pub async fn custom_resources(client: &Client) -> Result<()> {
    for object in documents::in_directory(&checkout().join("crds"))? {
        documents::apply(client, "default", &object).await?;
    }
    wait::until("the custom resources to be served", wait::LIMIT, async || {
        for kind in ["LogRotationPolicy", "LogDestination"] {
            let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("capstan.dev", "v1alpha1", kind));
            let all: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
            all.list_metadata(&ListParams::default().limit(1)).await?;
        }
        Ok(())
    })
    .await
}

/// `helm upgrade --install`, with further values (`key=value`) behind those that name the images.
///
/// # Errors
///
/// What helm said.
pub async fn chart(values: &[&str]) -> Result<()> {
    let path = checkout().join("charts/capstan").display().to_string();
    let mut arguments = vec![
        "upgrade",
        "--install",
        RELEASE,
        &path,
        "--namespace",
        NAMESPACE,
        "--create-namespace",
        "--wait",
    ];
    arguments.extend(["--timeout", "180s"]);
    let images = image_values();
    for value in images.iter().map(String::as_str).chain(values.iter().copied()) {
        arguments.extend(["--set", value]);
    }
    helm(&arguments).await.map(drop)
}

/// `helm uninstall`.
///
/// # Errors
///
/// What helm said.
pub async fn uninstall() -> Result<()> {
    helm(&["uninstall", RELEASE, "--namespace", NAMESPACE, "--wait", "--timeout", "120s"]).await.map(drop)
}

fn image_values() -> Vec<String> {
    let mut values = Vec::new();
    for (key, image) in [("image", Image::Operator), ("sidecar.image", Image::Sidecar)] {
        let (repository, tag) = image.repository_and_tag();
        values.push(format!("{key}.repository={repository}"));
        values.push(format!("{key}.tag={tag}"));
    }
    // Tests wait for what the operator does now and then.
    values.extend(["controller.sweepInterval=5s", "controller.feedbackInterval=2s"].map(str::to_owned));
    values
}

/// Runs helm, found through `HELM` or `PATH`; returns what it printed.
///
/// # Errors
///
/// It is not there, or failed.
pub async fn helm(arguments: &[&str]) -> Result<String> {
    let program = std::env::var_os("HELM").unwrap_or_else(|| "helm".into());
    let mut command = Command::new(&program);
    command.args(arguments).stdin(Stdio::null());
    let started = command.output().await;
    let output = started.with_context(|| {
        format!("cannot run {}; `make cluster-up` builds it, HELM names another", program.display())
    })?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "helm {}: {}", arguments.join(" "), said.trim_end());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Waits until every pod of the operator is ready and the webhook answers with the current certificate.
///
/// # Errors
///
/// It does not, in time.
pub async fn ready(client: &Client) -> Result<()> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    wait::until("the operator to be ready", wait::LIMIT, async || {
        let pods = pods.list(&ListParams::default().labels("app.kubernetes.io/name=capstan")).await?.items;
        let waiting = pods.iter().filter(|pod| !namespace::is_ready(pod)).map(crate::narrate::describe);
        let waiting: String = waiting.collect();
        ensure!(!pods.is_empty(), "the chart made no pods");
        ensure!(waiting.is_empty(), "{waiting}");
        Ok(())
    })
    .await
}
