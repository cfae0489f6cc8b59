use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use capstan_e2e::namespace::{Namespace, Security, name_of};
use capstan_e2e::receiver::Receiver;
use capstan_e2e::test::in_namespace;
use capstan_e2e::workload::{self, LOGS, annotated, pod, writer};
use capstan_e2e::{images::Image, recount, sidecar, wait};
use capstan_peers::lines::Numbering;
use futures::AsyncReadExt;
use k8s_openapi::api::batch::v1::Job;
use kube::api::{DeleteParams, LogParams};
use serde_json::{Value, json};

const LINES: u32 = 500;

/// Bytes of a line of the stubborn app.
const LINE: u64 = "w00 000000000 x\n".len() as u64;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_completes_and_its_last_lines_arrive() -> Result<()> {
    in_namespace("job", Security::Restricted, async |namespace| {
        let receiver = with_receiver(namespace).await?;
        let job = workload::job(&annotated(
            writer("batch", LINES, "printf 'w00 %09d' $i >> /var/log/app/app.log"),
            "web",
        ));
        namespace.apply_object(&job).await?;
        wait::until("the Job to complete", wait::LIMIT, async || {
            let job = namespace.api::<Job>().get("batch").await?;
            let status = job.status.unwrap_or_default();
            ensure!(status.succeeded == Some(1), "its status: {status:?}");
            Ok(())
        })
        .await?;
        // The very last line has no line end.
        recount::at_receiver(&receiver, Numbering::Writer, "w00", u64::from(LINES) + 1).await?;
        Ok(())
    })
    .await
}

/// Writes numbers to its log and its output until it is killed, whatever it is told.
fn stubborn() -> Value {
    let script = format!(
        "trap '' TERM; i=0; while true; do l=$(printf 'w00 %09d x' $i); echo $l >> {LOGS}/app.log && echo $l; i=$((i+1)); sleep 0.02; done"
    );
    let mut app = annotated(pod("stubborn", &Image::Busybox.name(), &json!(["sh", "-c", script])), "web");
    app["spec"]["terminationGracePeriodSeconds"] = json!(6);
    app
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_app_writes_until_its_grace_period_is_over_arrives() -> Result<()> {
    in_namespace("grace", Security::Restricted, async |namespace| {
        let receiver = with_receiver(namespace).await?;
        namespace.apply_object(&stubborn()).await?;
        let pod = name_of(&namespace.ready_pod("app=stubborn").await?);
        receiver.message_with("w00 000000000").await?;
        let (written, message) = delete_and_watch(namespace, &pod).await?;
        // Whatever the last words say is not confirmed may be missing, and nothing else.
        let unconfirmed = message.map(|message| reported(&message)).transpose()?.unwrap_or_default();
        let lines = ("w00", written);
        recount::at_receiver_but(unconfirmed / LINE, &receiver, Numbering::Writer, lines).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_confirmed_when_a_pod_ends_is_in_its_termination_message_and_in_an_event() -> Result<()> {
    in_namespace("unconfirmed", Security::Restricted, async |namespace| {
        let receiver = with_receiver(namespace).await?;
        namespace.apply_object(&stubborn()).await?;
        let pod = name_of(&namespace.ready_pod("app=stubborn").await?);
        receiver.message_with("w00 000000000").await?;
        receiver.stop().await?;
        let (_, message) = delete_and_watch(namespace, &pod).await?;
        reported(&message.context("the sidecar left no termination message")?)?;
        wait::until("an event that tells it", wait::LIMIT, async || {
            let mut events = namespace.events(&pod).await?;
            events.append(&mut namespace.events("web").await?);
            let notes: Vec<String> = events.into_iter().filter_map(|event| event.note).collect();
            let told = notes.iter().any(|note| note.contains("receiver") && note.contains("not confirmed"));
            ensure!(told, "events: {notes:#?}");
            Ok(())
        })
        .await
    })
    .await
}

async fn with_receiver(namespace: &Namespace) -> Result<Receiver> {
    let receiver = Receiver::start(namespace, "receiver").await?;
    namespace.apply_object(&receiver.destination()).await?;
    let policy = workload::policy("web", "1Gi", &json!({ "none": {} }), Some("receiver"));
    namespace.apply_object(&policy).await?;
    Ok(receiver)
}

/// Deletes a pod; returns how many lines its app said it wrote, and its sidecar's last words, if there were any.
async fn delete_and_watch(namespace: &Namespace, pod: &str) -> Result<(u64, Option<String>)> {
    let pods = namespace.pods();
    let follow = LogParams { container: Some("app".to_owned()), follow: true, ..LogParams::default() };
    let mut output = pods.log_stream(pod, &follow).await?;
    let said = tokio::spawn(async move {
        let mut said = Vec::new();
        output.read_to_end(&mut said).await.map(|_| said)
    });
    pods.delete(pod, &DeleteParams::default()).await?;
    let mut last_words = None;
    loop {
        let Some(now) = pods.get_opt(pod).await? else { break };
        let statuses = now.status.and_then(|status| status.init_container_statuses).unwrap_or_default();
        let sidecar = statuses.into_iter().find(|status| status.name == sidecar::CONTAINER);
        let ended = sidecar.and_then(|status| status.state).and_then(|state| state.terminated);
        last_words = ended.and_then(|ended| ended.message).or(last_words);
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    let said = said.await??;
    let numbers = String::from_utf8_lossy(&said);
    Ok((numbers.lines().filter(|line| line.starts_with("w00 ")).count() as u64, last_words))
}

/// The bytes of a termination message as the sidecar writes it: which log, to where, how much.
fn reported(message: &str) -> Result<u64> {
    let report: Value = serde_json::from_str(message).with_context(|| format!("no JSON: {message}"))?;
    let Some(unconfirmed) = report["unconfirmed"].as_array() else {
        bail!("nothing unconfirmed in {report}")
    };
    ensure!(report["capstan"] == json!(1), "no version in {report}");
    let mut sum = 0;
    for entry in unconfirmed {
        ensure!(entry["log"] == json!("web/app") && entry["destination"] == json!("receiver"), "in {report}");
        let bytes = entry["bytes"].as_u64().filter(|bytes| *bytes > 0);
        sum += bytes.with_context(|| format!("no bytes in {report}"))?;
    }
    ensure!(sum > 0, "an empty report: {report}");
    Ok(sum)
}
