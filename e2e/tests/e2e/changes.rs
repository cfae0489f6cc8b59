use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use capstan_e2e::namespace::{Namespace, Security, name_of, restarts};
use capstan_e2e::receiver::Receiver;
use capstan_e2e::test::in_namespace;
use capstan_e2e::workload::{self, annotated, pod};
use capstan_e2e::{images::Image, policy, sidecar, wait};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::DeleteParams;
use serde_json::{Value, json};

/// A ConfigMap that nobody hurries along takes a minute or more to reach a pod. It should take a second or two; this is
/// for machines that do much else.
const PUSHED: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edited_policy_is_in_the_running_sidecar_within_seconds() -> Result<()> {
    in_namespace("edit", Security::Restricted, async |namespace| {
        let before = app(namespace).await?;
        let name = name_of(&before);
        namespace.apply_object(&policy_of_size("1Gi", None)).await?;
        up_to_date(namespace, &name).await?;
        say(namespace, &name, "before").await?;

        // Smaller than what is there already, so that the new setting shows at once.
        let start = Instant::now();
        namespace.apply_object(&policy_of_size("1", None)).await?;
        up_to_date_within(namespace, &name, PUSHED).await?;
        println!("in the sidecar {:.1} s after the edit", start.elapsed().as_secs_f64());

        wait::until("a rotation by the new size", wait::LIMIT, async || {
            let files = namespace.shell(&name, "app", &format!("ls {}", workload::LOGS)).await?;
            ensure!(files.lines().count() > 1, "files: {files}");
            Ok(())
        })
        .await?;
        is_undisturbed(namespace, &before).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edited_destination_takes_the_lines_elsewhere_and_none_is_lost_between() -> Result<()> {
    in_namespace("elsewhere", Security::Restricted, async |namespace| {
        let (one, other) =
            tokio::try_join!(Receiver::start(namespace, "one"), Receiver::start(namespace, "other"))?;
        let mut destination = one.destination();
        destination["metadata"]["name"] = json!("central");
        namespace.apply_object(&destination).await?;
        namespace.apply_object(&policy_of_size("1Gi", Some("central"))).await?;
        let before = app(namespace).await?;
        let name = name_of(&before);
        say(namespace, &name, "first").await?;
        one.message_with("first").await?;

        let mut destination = other.destination();
        destination["metadata"]["name"] = json!("central");
        let former = sidecar::hash(namespace, &name, "web").await?;
        namespace.apply_object(&destination).await?;
        // The policy itself has not changed, so its generation does not tell.
        wait::until("another configuration", wait::LIMIT, async || {
            let now = sidecar::hash(namespace, &name, "web").await?;
            ensure!(now != former, "still {former}");
            Ok(())
        })
        .await?;
        say(namespace, &name, "second").await?;
        other.message_with("second").await?;
        ensure!(!one.text().await?.contains("second"), "the former receiver still gets lines");
        is_undisturbed(namespace, &before).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_that_cannot_work_keeps_the_last_good_one_running_and_says_why() -> Result<()> {
    in_namespace("broken", Security::Restricted, async |namespace| {
        let receiver = Receiver::start(namespace, "receiver").await?;
        namespace.apply_object(&receiver.destination()).await?;
        namespace.apply_object(&policy_of_size("1Gi", Some("receiver"))).await?;
        let before = app(namespace).await?;
        let name = name_of(&before);
        up_to_date(namespace, &name).await?;
        let good = sidecar::hash(namespace, &name, "web").await?;

        // Well-formed, so the API server takes it; but no such process can be told to reopen.
        let mut broken = policy_of_size("1Gi", Some("receiver"));
        broken["spec"]["logs"][0]["rotate"]["reopen"] =
            json!({ "signal": { "name": "SIGUSR1", "process": { "commandPattern": "gunicorn (" } } });
        namespace.apply_object(&broken).await?;
        let condition = policy::condition(namespace, "LogRotationPolicy", "web", "Accepted", "False").await?;
        let field = "logs[0].rotate.reopen.signal.process.commandPattern";
        ensure!(condition.message.contains(field), "it should name {field}: {condition:?}");
        let note = namespace.event("web", &condition.reason).await?;
        ensure!(note.contains(field), "the event should name {field}: {note}");

        ensure!(
            sidecar::hash(namespace, &name, "web").await? == good,
            "the sidecar has another configuration"
        );
        say(namespace, &name, "still").await?;
        receiver.message_with("still").await?;

        // The same with a reference that leads nowhere.
        namespace.apply_object(&policy_of_size("1Gi", Some("nowhere"))).await?;
        let condition =
            policy::condition(namespace, "LogRotationPolicy", "web", "DestinationsResolved", "False").await?;
        ensure!(condition.message.contains("nowhere"), "it should name the destination: {condition:?}");
        ensure!(
            sidecar::hash(namespace, &name, "web").await? == good,
            "the sidecar has another configuration"
        );

        // And back again.
        namespace.apply_object(&policy_of_size("1Gi", Some("receiver"))).await?;
        policy::ready(namespace, "web").await?;
        is_undisturbed(namespace, &before).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_policy_is_followed_until_the_sidecar_restarts() -> Result<()> {
    in_namespace("deleted", Security::Restricted, async |namespace| {
        let receiver = Receiver::start(namespace, "receiver").await?;
        namespace.apply_object(&receiver.destination()).await?;
        namespace.apply_object(&policy_of_size("1Gi", Some("receiver"))).await?;
        let before = app(namespace).await?;
        let name = name_of(&before);
        up_to_date(namespace, &name).await?;

        namespace.custom("LogRotationPolicy").delete("web", &DeleteParams::default()).await?;
        wait::until("the ConfigMap to be collected", wait::LIMIT, async || {
            let config_maps = namespace.api::<ConfigMap>();
            ensure!(config_maps.get_opt("capstan-web").await?.is_none(), "capstan-web is still there");
            Ok(())
        })
        .await?;
        // Its file is gone from the running sidecar, too.
        wait::until("the sidecar to miss its file", wait::LIMIT, async || {
            namespace.nudge_kubelet(&name).await?;
            let status = sidecar::status(namespace, &name).await?;
            let error = status["policies"]["web"]["error"].as_str().unwrap_or_default();
            ensure!(error.ends_with(": gone"), "its status: {status}");
            Ok(())
        })
        .await?;
        say(namespace, &name, "afterwards").await?;
        receiver.message_with("afterwards").await?;
        is_undisturbed(namespace, &before).await?;

        // Whoever starts without a policy has nothing to do.
        sidecar::kill(namespace, &name).await?;
        wait::until("the next sidecar to be idle", wait::LIMIT, async || {
            ensure!(
                restarts(&namespace.pods().get(&name).await?, sidecar::CONTAINER) == Some(1),
                "not restarted"
            );
            let status = sidecar::status(namespace, &name).await?;
            ensure!(status["streams"] == json!([]), "its status: {status}");
            Ok(())
        })
        .await?;
        say(namespace, &name, "nobody").await?;
        wait::holds("that nobody reads on", Duration::from_secs(3), async || {
            ensure!(!receiver.text().await?.contains("nobody"), "a line was forwarded");
            Ok(())
        })
        .await
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_config_map_of_that_name_that_somebody_else_made_is_left_alone() -> Result<()> {
    in_namespace("taken", Security::Restricted, async |namespace| {
        let taken = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "capstan-web" },
                            "data": { "mine": "yes" } });
        namespace.apply_object(&taken).await?;
        namespace.apply_object(&policy_of_size("1Gi", None)).await?;
        let condition =
            policy::condition(namespace, "LogRotationPolicy", "web", "ConfigDelivered", "False").await?;
        ensure!(condition.reason == "NameTaken", "{condition:?}");
        let found = namespace.api::<ConfigMap>().get("capstan-web").await?;
        ensure!(found.data.context("no data")?.len() == 1, "somebody else's ConfigMap was changed");
        Ok(())
    })
    .await
}

/// An app that writes a line whenever a test asks for one.
async fn app(namespace: &Namespace) -> Result<Pod> {
    let mut app = annotated(pod("app", &Image::Busybox.name(), &json!(["sleep", "100000"])), "web");
    app["spec"]["shareProcessNamespace"] = json!(true);
    namespace.apply_object(&app).await?;
    namespace.ready_pod("app=app").await
}

async fn say(namespace: &Namespace, pod: &str, line: &str) -> Result<()> {
    let script = format!("echo {line} >> {}/app.log", workload::LOGS);
    namespace.shell(pod, "app", &script).await.map(drop)
}

fn policy_of_size(size: &str, destination: Option<&str>) -> Value {
    workload::policy("web", size, &json!({ "none": {} }), destination)
}

/// Waits until the sidecar runs with the configuration that the newest spec of the policy stands for.
async fn up_to_date(namespace: &Namespace, pod: &str) -> Result<()> {
    up_to_date_within(namespace, pod, wait::LIMIT).await
}

async fn up_to_date_within(namespace: &Namespace, pod: &str, limit: Duration) -> Result<()> {
    wait::until("the sidecar to have the newest configuration", limit, async || {
        let policy = namespace.custom("LogRotationPolicy").get("web").await?;
        let status = policy.data.get("status").cloned().unwrap_or_default();
        ensure!(status["observedGeneration"].as_i64() == policy.metadata.generation, "status: {status}");
        let hash = sidecar::hash(namespace, pod, "web").await?;
        ensure!(status["configHash"] == json!(hash), "the sidecar has {hash}; status: {status}");
        Ok(())
    })
    .await
}

async fn is_undisturbed(namespace: &Namespace, before: &Pod) -> Result<()> {
    let after = namespace.pods().get(&name_of(before)).await?;
    ensure!(after.metadata.uid == before.metadata.uid, "another pod has taken its place");
    for container in ["app", sidecar::CONTAINER] {
        ensure!(restarts(&after, container) == Some(0), "container {container} was restarted");
    }
    Ok(())
}
