use anyhow::{Context, Result, ensure};
use capstan_e2e::namespace::{Namespace, Security, name_of, restarts};
use capstan_e2e::receiver::Receiver;
use capstan_e2e::requests::Client;
use capstan_e2e::test::in_namespace;
use capstan_e2e::{policy, recount, sidecar, wait, workload};
use capstan_peers::lines::Numbering;
use serde_json::json;

const REQUESTS: u64 = 4000;
const PER_SECOND: u64 = 200;
const ROTATIONS: u64 = 5;
const NUMBERING: Numbering = Numbering::After("/req/");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_is_missing_after_rotations_a_deleted_receiver_pod_and_a_killed_sidecar() -> Result<()> {
    in_namespace("main", Security::Restricted, async |namespace| {
        let receiver = Receiver::start(namespace, "receiver").await?;
        namespace.apply_object(&receiver.destination()).await?;
        let reopen = json!({ "preset": "Gunicorn" });
        namespace.apply_object(&workload::policy("web", "32Ki", &reopen, Some("receiver"))).await?;
        for object in workload::gunicorn("web", "web") {
            namespace.apply_object(&object).await?;
        }
        let pod = name_of(&namespace.ready_pod("app=web").await?);
        let client = Client::start(namespace).await?;

        let load = tokio::spawn(async move { client.send("web", 0, REQUESTS, PER_SECOND).await });
        rotated(namespace, &pod, 1).await?;
        receiver.delete_pod().await?;
        rotated(namespace, &pod, 2).await?;
        sidecar::kill(namespace, &pod).await?;
        load.await??;

        rotated(namespace, &pod, ROTATIONS).await?;
        let sent = recount::at_receiver(&receiver, NUMBERING, "", REQUESTS).await?;
        sidecar::drained(namespace, &pod).await?;
        let kept = wait::until("the files to hold each request once", wait::LIMIT, async || {
            let files = recount::in_files(namespace, &pod, "app", workload::LOGS, NUMBERING).await?;
            let kept = files.compare([("", REQUESTS)]);
            ensure!(kept.is_exact(), "{kept}");
            Ok(kept)
        })
        .await?;
        println!("in files: {kept}\nat the receiver: {sent}");

        let metrics = sidecar::metrics(namespace, &pod).await?;
        let seen = capstan_e2e::scrape::sum(&metrics, "capstan_sidecar_reopen_seconds_count", &[]);
        ensure!(seen >= 1.0, "gunicorn was not seen to reopen its files");
        let after = namespace.pods().get(&pod).await?;
        ensure!(restarts(&after, "app") == Some(0), "gunicorn was restarted");
        ensure!(restarts(&after, sidecar::CONTAINER) == Some(1), "the sidecar was not killed once");
        policy::ready(namespace, "web").await.map(drop)
    })
    .await
}

/// Waits until there are so many archives of the access log.
async fn rotated(namespace: &Namespace, pod: &str, count: u64) -> Result<()> {
    wait::until(&format!("{count} rotations"), wait::LIMIT, async || {
        let script = format!("find {} -type f -name 'access*' | wc -l", workload::LOGS);
        let files: u64 = namespace.shell(pod, "app", &script).await?.trim().parse().context("no number")?;
        ensure!(files > count, "{files} files with the live one");
        Ok(())
    })
    .await
}
