use anyhow::{Result, ensure};
use capstan_e2e::images::Image;
use capstan_e2e::namespace::{Namespace, Security};
use capstan_e2e::test::in_namespace;
use capstan_e2e::workload::{self, annotated, deployment, pod};
use capstan_e2e::{install, policy, receiver, wait};
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use serde_json::{Value, json};

use crate::alone;
use crate::webhook::{has_sidecar, next_pod_is_injected, scale};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_the_rights_of_two_namespaces_alone_everything_works_in_these() -> Result<()> {
    alone("first", Security::Restricted, async |first| {
        // The two that are served, and one that is not.
        in_namespace("second", Security::Restricted, async |second| {
            in_namespace("outside", Security::Restricted, async |outside| {
                let served = format!("watchNamespaces={{{},{}}}", first.name, second.name);
                install::chart(&[&served]).await?;
                let ended = restricted(first, second, outside).await;
                install::chart(&[]).await?;
                install::ready(&first.client).await?;
                ended
            })
            .await
        })
        .await
    })
    .await
}

async fn restricted(first: &Namespace, second: &Namespace, outside: &Namespace) -> Result<()> {
    install::ready(&first.client).await?;
    let labels = format!("app.kubernetes.io/instance={}", install::RELEASE);
    let bindings = Api::<ClusterRoleBinding>::all(first.client.clone());
    let bindings = bindings.list(&ListParams::default().labels(&labels)).await?;
    let wide: Vec<String> = bindings.iter().map(ResourceExt::name_any).collect();
    ensure!(wide == ["capstan-webhook-configuration"], "rights on the whole cluster: {wide:?}");
    for namespace in [first, second] {
        namespace.apply_object(&workload::policy("web", "1Gi", &json!({ "none": {} }), None)).await?;
        next_pod_is_injected(namespace).await?;
        namespace.apply_object(&app("app")).await?;
        namespace.ready_pod("app=app").await?;
        policy::pods(namespace, "web", "upToDate", 1).await?;
    }
    outside.apply_object(&app("app")).await?;
    ensure!(!has_sidecar(&outside.ready_pod("app=app").await?), "a pod elsewhere has the sidecar");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_test_of_the_release_says_that_pods_get_the_sidecar() -> Result<()> {
    alone("test", Security::Restricted, async |_| {
        let release = [install::RELEASE, "--namespace", install::NAMESPACE];
        let said = install::helm(&[&["test", "--logs"], release.as_slice()].concat()).await?;
        ensure!(said.contains("gets the sidecar"), "{said}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_that_came_while_no_webhook_answered_are_replaced_where_that_is_wanted() -> Result<()> {
    alone("repair", Security::Restricted, async |namespace| {
        namespace.apply_object(&workload::policy("web", "1Gi", &json!({ "none": {} }), None)).await?;
        scale(namespace, 0).await?;
        let bare = without_webhook(namespace).await;
        scale(namespace, 2).await?;
        install::ready(&namespace.client).await?;
        bare?;
        install::chart(&["controller.repair.enabled=true"]).await?;
        let repaired = repaired(namespace).await;
        install::chart(&[]).await?;
        install::ready(&namespace.client).await?;
        repaired
    })
    .await
}

/// Two pods that a controller would make again, and one that nobody would.
async fn without_webhook(namespace: &Namespace) -> Result<()> {
    namespace.apply_object(&deployment(&app("many"), 2)).await?;
    namespace.apply_object(&app("single")).await?;
    let made = namespace.ready_pods("app=many", 2).await?;
    ensure!(!made.iter().any(has_sidecar), "they have the sidecar");
    namespace.ready_pod("app=single").await?;
    policy::pods(namespace, "web", "missing", 3).await
}

async fn repaired(namespace: &Namespace) -> Result<()> {
    wait::until("both pods with the sidecar", wait::LIMIT * 2, async || {
        let made = namespace.ready_pods("app=many", 2).await?;
        ensure!(made.iter().all(has_sidecar), "not yet");
        Ok(())
    })
    .await?;
    let single = namespace.ready_pod("app=single").await?;
    ensure!(!has_sidecar(&single), "a pod that nobody makes again was evicted");
    policy::pods(namespace, "web", "missing", 1).await?;
    policy::pods(namespace, "web", "upToDate", 2).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_of_ones_own_is_served_and_its_authority_published() -> Result<()> {
    alone("own", Security::Restricted, async |namespace| {
        install::chart(&["webhook.certificate.source=Secret"]).await?;
        let authority = own_certificate(namespace).await?;
        let ended = own(namespace, &authority).await;
        install::chart(&[]).await?;
        install::ready(&namespace.client).await?;
        ended?;
        next_pod_is_injected(namespace).await
    })
    .await
}

async fn own(namespace: &Namespace, authority: &str) -> Result<()> {
    install::ready(&namespace.client).await?;
    published(namespace, authority).await?;
    next_pod_is_injected(namespace).await?;
    // Replaced by its owner while the webhook runs.
    let next = own_certificate(namespace).await?;
    published(namespace, &next).await?;
    next_pod_is_injected(namespace).await
}

async fn published(namespace: &Namespace, authority: &str) -> Result<()> {
    let api: Api<MutatingWebhookConfiguration> = Api::all(namespace.client.clone());
    wait::until("its authority in the webhook object", wait::LIMIT, async || {
        let webhooks = api.get(install::RELEASE).await?.webhooks.unwrap_or_default();
        for webhook in &webhooks {
            let bundle = webhook.client_config.ca_bundle.clone().unwrap_or_default().0;
            ensure!(
                String::from_utf8_lossy(&bundle).contains(authority.trim()),
                "{} has another",
                webhook.name
            );
        }
        ensure!(!webhooks.is_empty(), "no webhook");
        Ok(())
    })
    .await
}

/// Writes a certificate for the webhook's Service into its Secret, by an authority made for it, which is returned. As
/// cert-manager does, it leaves the Secret's other fields as they are: those of the operator's own authority.
async fn own_certificate(namespace: &Namespace) -> Result<String> {
    let host = format!("capstan-webhook.{}.svc", install::NAMESPACE);
    let (authority, certificate, key) = receiver::certificate(&[host])?;
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
        "metadata": { "name": "capstan-webhook-certificate" },
        "stringData": { "ca.crt": authority, "tls.crt": certificate, "tls.key": key },
    });
    let operators = Namespace { name: install::NAMESPACE.to_owned(), ..namespace.clone() };
    operators.apply_object(&secret).await?;
    Ok(authority)
}

fn app(name: &str) -> Value {
    annotated(pod(name, &Image::Busybox.name(), &json!(["sleep", "100000"])), "web")
}
