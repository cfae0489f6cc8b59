use anyhow::{Result, ensure};
use capstan_e2e::namespace::{Security, name_of, restarts};
use capstan_e2e::receiver::Receiver;
use capstan_e2e::test::in_namespace;
use capstan_e2e::workload::{self, annotated, writer};
use capstan_e2e::{policy, recount, sidecar};
use capstan_peers::lines::Numbering;
use serde_json::json;

const LINES: u32 = 300;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_applied_in_the_wrong_order_comes_to_work_without_a_restart() -> Result<()> {
    in_namespace("order", Security::Restricted, async |namespace| {
        // The app first, as Helm applies custom resources last; then the policy, whose destination is not there yet.
        namespace.apply_object(&annotated(writer("app", LINES, "sleep 100000"), "web")).await?;
        let before = namespace.ready_pod("app=app").await?;
        let none = json!({ "none": {} });
        namespace.apply_object(&workload::policy("web", "4Ki", &none, Some("receiver"))).await?;
        let condition =
            policy::condition(namespace, "LogRotationPolicy", "web", "DestinationsResolved", "False").await?;
        ensure!(condition.message.contains("receiver"), "it should name the destination: {condition:?}");

        let receiver = Receiver::apply(namespace, "receiver").await?;
        namespace.apply_object(&receiver.destination()).await?;
        recount::at_receiver(&receiver, Numbering::Writer, "w00", LINES.into()).await?;

        policy::ready(namespace, "web").await?;
        policy::pods(namespace, "web", "upToDate", 1).await?;
        let after = namespace.ready_pod("app=app").await?;
        ensure!(after.metadata.uid == before.metadata.uid, "another pod has taken its place");
        ensure!(restarts(&after, sidecar::CONTAINER) == Some(0), "the sidecar was restarted");
        sidecar::drained(namespace, &name_of(&after)).await
    })
    .await
}
