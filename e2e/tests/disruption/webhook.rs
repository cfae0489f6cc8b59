use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use capstan_e2e::images::Image;
use capstan_e2e::namespace::{Mode, Namespace, Security};
use capstan_e2e::workload::{self, annotated, pod};
use capstan_e2e::{install, policy, scrape, sidecar, wait};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::ResourceExt;
use kube::api::{Api, ListParams, Patch};
use serde_json::{Value, json};

use crate::alone;

const WEBHOOK: &str = "capstan-webhook";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_start_while_no_webhook_answers_and_are_found_missing_within_a_sweep() -> Result<()> {
    alone("down", Security::Restricted, async |namespace| {
        namespace.apply_object(&workload::policy("web", "1Gi", &json!({ "none": {} }), None)).await?;
        policy::pods(namespace, "web", "matched", 0).await?;
        scale(namespace, 0).await?;
        let ended = without_webhook(namespace).await;
        scale(namespace, 2).await?;
        install::ready(&namespace.client).await?;
        ended?;

        // The next pod has it again.
        next_pod_is_injected(namespace).await
    })
    .await
}

async fn without_webhook(namespace: &Namespace) -> Result<()> {
    namespace.create_pod(&app("lonely"), Mode::ForReal).await?;
    let started = namespace.ready_pod("app=lonely").await?;
    ensure!(!has_sidecar(&started), "it has the sidecar");
    policy::pods(namespace, "web", "missing", 1).await?;
    policy::pods(namespace, "web", "injected", 0).await?;
    let mut events = namespace.events("lonely").await?;
    events.append(&mut namespace.events("web").await?);
    wait::until("an event that says so", wait::LIMIT, async || {
        let mut events = namespace.events("lonely").await?;
        events.append(&mut namespace.events("web").await?);
        let notes: Vec<String> = events.into_iter().filter_map(|event| event.note).collect();
        ensure!(notes.iter().any(|note| note.contains("sidecar")), "events: {notes:?}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_without_the_annotation_costs_no_call() -> Result<()> {
    alone("calls", Security::Restricted, async |namespace| {
        let before = calls(namespace).await?;
        let mut plain = app("plain");
        plain["metadata"]["annotations"] = json!({ "example.com/other": "annotation" });
        for _ in 0..5 {
            let (made, _) = namespace.create_pod(&plain, Mode::DryRun).await?;
            ensure!(!has_sidecar(&made), "it has the sidecar");
        }
        ensure!(calls(namespace).await? == before, "the webhook was called");
        // The count can grow: one annotated pod is one call, or two if the API server asks again.
        namespace.create_pod(&app("counted"), Mode::DryRun).await?;
        wait::until("an annotated pod to be counted", wait::LIMIT, async || {
            let after = calls(namespace).await?;
            ensure!(after > before, "{after} calls, before {before}");
            Ok(())
        })
        .await
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_overwritten_authority_of_the_webhook_is_put_right() -> Result<()> {
    alone("bundle", Security::Restricted, async |namespace| {
        let api: Api<k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration> =
            Api::all(namespace.client.clone());
        let bundle = json!([
            { "op": "remove", "path": "/webhooks/0/clientConfig/caBundle" },
        ]);
        let patch: Patch<()> = Patch::Json(serde_json::from_value(bundle)?);
        api.patch(install::RELEASE, &Default::default(), &patch).await?;
        wait::until("the authority to be there again", wait::LIMIT, async || {
            let found = api.get(install::RELEASE).await?;
            let first = found.webhooks.unwrap_or_default().into_iter().next().context("no webhook")?;
            ensure!(first.client_config.ca_bundle.is_some(), "there is none");
            Ok(())
        })
        .await?;
        next_pod_is_injected(namespace).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_somebody_spoilt_is_made_anew() -> Result<()> {
    alone("spoilt", Security::Restricted, async |namespace| {
        let secrets: Api<Secret> = Api::namespaced(namespace.client.clone(), install::NAMESPACE);
        let certificate = async || -> Result<Vec<u8>> {
            let data = secrets.get("capstan-webhook-certificate").await?.data.unwrap_or_default();
            Ok(data.get("tls.crt").context("no tls.crt")?.0.clone())
        };
        let former = certificate().await?;
        let spoilt = json!({ "stringData": { "tls.crt": "spoilt" } });
        secrets.patch("capstan-webhook-certificate", &Default::default(), &Patch::Merge(spoilt)).await?;
        wait::until("another certificate", wait::LIMIT, async || {
            let now = certificate().await?;
            ensure!(now.starts_with(b"-----BEGIN CERTIFICATE-----") && now != former, "it is still spoilt");
            Ok(())
        })
        .await?;
        next_pod_is_injected(namespace).await
    })
    .await
}

/// The webhook is trusted, and answers.
pub async fn next_pod_is_injected(namespace: &Namespace) -> Result<()> {
    wait::until("the sidecar in a new pod", wait::LIMIT, async || {
        let (made, _) = namespace.create_pod(&app("next"), Mode::DryRun).await?;
        ensure!(has_sidecar(&made), "it has none");
        Ok(())
    })
    .await
}

/// Admissions of all replicas together.
async fn calls(namespace: &Namespace) -> Result<f64> {
    let pods: Api<Pod> = Api::namespaced(namespace.client.clone(), install::NAMESPACE);
    let pods = pods.list(&ListParams::default().labels("app.kubernetes.io/component=webhook")).await?.items;
    let mut sum = 0.0;
    for pod in &pods {
        let text =
            scrape::get(&namespace.client, install::NAMESPACE, &pod.name_any(), 8080, "/metrics").await?;
        sum += scrape::sum(&scrape::parse(&text), "capstan_operator_admission_duration_seconds_count", &[]);
    }
    Ok(sum)
}

pub async fn scale(namespace: &Namespace, replicas: i32) -> Result<()> {
    let deployments: Api<Deployment> = Api::namespaced(namespace.client.clone(), install::NAMESPACE);
    let patch = json!({ "spec": { "replicas": replicas } });
    deployments.patch(WEBHOOK, &Default::default(), &Patch::Merge(patch)).await?;
    wait::until(&format!("{replicas} replicas of the webhook"), Duration::from_secs(180), async || {
        let pods: Api<Pod> = Api::namespaced(namespace.client.clone(), install::NAMESPACE);
        let labels = ListParams::default().labels("app.kubernetes.io/component=webhook");
        let count = pods.list(&labels).await?.items.len();
        if i32::try_from(count) != Ok(replicas) {
            bail!("there are {count}");
        }
        Ok(())
    })
    .await
}

fn app(name: &str) -> Value {
    annotated(pod(name, &Image::Busybox.name(), &json!(["sleep", "100000"])), "web")
}

pub fn has_sidecar(pod: &Pod) -> bool {
    let all = pod.spec.as_ref().and_then(|spec| spec.init_containers.as_ref());
    all.is_some_and(|all| all.iter().any(|container| container.name == sidecar::CONTAINER))
}
