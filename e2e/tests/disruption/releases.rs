use anyhow::{Result, ensure};
use capstan_e2e::images::Image;
use capstan_e2e::namespace::{Mode, Namespace, Security, is_ready, name_of, restarts};
use capstan_e2e::receiver::Receiver;
use capstan_e2e::workload::{self, annotated, pod};
use capstan_e2e::{install, policy, sidecar, wait};
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use kube::Resource;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::alone;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgrade_disturbs_no_pod_and_everything_goes_on() -> Result<()> {
    alone("upgrade", Security::Restricted, async |namespace| {
        let (receiver, before) = running(namespace).await?;
        install::chart(&["logLevel=debug", "controller.configPushRate=20"]).await?;
        install::ready(&namespace.client).await?;
        goes_on(namespace, &receiver, &before, "during the upgrade").await?;
        namespace.apply_object(&policy("2Gi")).await?;
        policy::pods(namespace, "web", "upToDate", 1).await?;
        install::chart(&[]).await?;
        install::ready(&namespace.client).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_uninstallation_leaves_pods_running_and_nothing_stuck() -> Result<()> {
    alone("uninstall", Security::Restricted, async |namespace| {
        let (receiver, before) = running(namespace).await?;
        install::uninstall().await?;
        let ended = uninstalled(namespace, &receiver, &before).await;
        install::chart(&[]).await?;
        install::ready(&namespace.client).await?;
        ended?;
        // What was written meanwhile is acted on.
        policy::ready(namespace, "web").await.map(drop)
    })
    .await
}

async fn uninstalled(namespace: &Namespace, receiver: &Receiver, before: &Pod) -> Result<()> {
    let client = &namespace.client;
    let mut left = names::<MutatingWebhookConfiguration>(client).await?;
    left.append(&mut names::<ValidatingAdmissionPolicy>(client).await?);
    left.append(&mut names::<ValidatingAdmissionPolicyBinding>(client).await?);
    left.append(&mut names::<ClusterRole>(client).await?);
    left.append(&mut names::<ClusterRoleBinding>(client).await?);
    ensure!(left.is_empty(), "left behind: {left:?}");

    goes_on(namespace, receiver, before, "without an operator").await?;
    // Annotated pods start as they are, and custom resources can be written and deleted.
    let (made, _) = namespace.create_pod(&app("later"), Mode::DryRun).await?;
    ensure!(
        made.spec.unwrap_or_default().init_containers.is_none_or(|all| all.is_empty()),
        "it has a sidecar"
    );
    let mut other = policy("1Gi");
    other["metadata"]["name"] = json!("other");
    namespace.apply_object(&other).await?;
    let policies = namespace.custom("LogRotationPolicy");
    policies.delete("other", &DeleteParams::default()).await?;
    wait::until("the policy to go", wait::LIMIT, async || {
        ensure!(policies.get_opt("other").await?.is_none(), "it is still there");
        Ok(())
    })
    .await
}

/// Names of objects of the release that need no namespace.
async fn names<K>(client: &kube::Client) -> Result<Vec<String>>
where
    K: Resource<Scope = k8s_openapi::ClusterResourceScope, DynamicType = ()>
        + Clone
        + DeserializeOwned
        + std::fmt::Debug,
{
    let labels = format!("app.kubernetes.io/instance={}", install::RELEASE);
    let all = Api::<K>::all(client.clone()).list(&ListParams::default().labels(&labels)).await?;
    Ok(all.items.iter().map(ResourceExt::name_any).collect())
}

/// A pod that forwards, and where to.
async fn running(namespace: &Namespace) -> Result<(Receiver, Pod)> {
    let receiver = Receiver::start(namespace, "receiver").await?;
    namespace.apply_object(&receiver.destination()).await?;
    namespace.apply_object(&policy("1Gi")).await?;
    namespace.apply_object(&app("app")).await?;
    let pod = namespace.ready_pod("app=app").await?;
    goes_on(namespace, &receiver, &pod, "before").await?;
    Ok((receiver, pod))
}

/// A line that is written now arrives, and the pod is the one it was.
async fn goes_on(namespace: &Namespace, receiver: &Receiver, before: &Pod, line: &str) -> Result<()> {
    let name = name_of(before);
    let script = format!("echo {line} >> {}/app.log", workload::LOGS);
    namespace.shell(&name, "app", &script).await?;
    receiver.message_with(line).await?;
    let after = namespace.pods().get(&name).await?;
    ensure!(after.metadata.uid == before.metadata.uid && is_ready(&after), "the pod was disturbed");
    ensure!(restarts(&after, sidecar::CONTAINER) == Some(0), "the sidecar was restarted");
    Ok(())
}

fn policy(size: &str) -> Value {
    workload::policy("web", size, &json!({ "none": {} }), Some("receiver"))
}

fn app(name: &str) -> Value {
    annotated(pod(name, &Image::Busybox.name(), &json!(["sleep", "100000"])), "web")
}
