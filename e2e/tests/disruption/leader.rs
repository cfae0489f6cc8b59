use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use capstan_e2e::audit::{self, Write};
use capstan_e2e::images::Image;
use capstan_e2e::namespace::{Namespace, Security};
use capstan_e2e::workload;
use capstan_e2e::{install, policy, wait};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams};
use serde_json::json;
use tokio::time::sleep;

use crate::alone;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_replica_leads_when_the_leader_is_killed() -> Result<()> {
    alone("killed", Security::Privileged, async |namespace| {
        let leader = leader(namespace).await?;
        let pods: Api<Pod> = Api::namespaced(namespace.client.clone(), install::NAMESPACE);
        let start = Instant::now();
        pods.delete(&leader, &DeleteParams::default().grace_period(0)).await?;
        another_leads(namespace, &leader).await?;
        println!("another leads after {:.1} s", start.elapsed().as_secs_f64());
        reconciles(namespace, "1Mi").await?;
        install::ready(&namespace.client).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_stood_still_writes_nothing_once_another_leads() -> Result<()> {
    alone("frozen", Security::Privileged, async |namespace| {
        let first = leader(namespace).await?;
        reconciles(namespace, "1Mi").await?;
        let begin = audit::now();
        signal(namespace, &first, "STOP").await?;
        let start = Instant::now();
        let led = another_leads(namespace, &first).await;
        println!("another leads after {:.1} s", start.elapsed().as_secs_f64());
        let ended = match led {
            Ok(()) => reconciles(namespace, "2Mi").await,
            Err(error) => Err(error),
        };
        signal(namespace, &first, "CONT").await?;
        ended?;
        for size in ["3Mi", "4Mi", "5Mi"] {
            reconciles(namespace, size).await?;
        }
        match audit::writes_since(&begin, &controller())? {
            Some(writes) => one_after_the_other(&writes, &first),
            None => {
                println!("{}", audit::ABSENT);
                Ok(())
            }
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_written_while_nothing_changes() -> Result<()> {
    alone("quiet", Security::Restricted, async |namespace| {
        namespace.apply_object(&workload::policy("web", "1Gi", &json!({ "none": {} }), None)).await?;
        let pod = workload::pod("app", &Image::Busybox.name(), &json!(["sleep", "100000"]));
        namespace.apply_object(&workload::annotated(pod, "web")).await?;
        namespace.ready_pod("app=app").await?;
        policy::pods(namespace, "web", "upToDate", 1).await?;
        // The last of what the start has to say; then several rounds of asking sidecars and of looking for pods.
        sleep(Duration::from_secs(5)).await;
        let begin = audit::now();
        sleep(Duration::from_secs(20)).await;
        let Some(mut writes) = audit::writes_since(&begin, &controller())? else {
            println!("{}", audit::ABSENT);
            return Ok(());
        };
        writes.retain(|write| write.what.contains(&namespace.name));
        ensure!(writes.is_empty(), "{writes:#?}");
        Ok(())
    })
    .await
}

fn controller() -> String {
    format!("system:serviceaccount:{}:capstan-controller", install::NAMESPACE)
}

/// After the first write of another replica, the former leader must not have written any more.
fn one_after_the_other(writes: &[Write], former: &str) -> Result<()> {
    let others = writes.iter().position(|write| write.pod != former).context("nobody else has written")?;
    let late: Vec<&Write> = writes[others..].iter().filter(|write| write.pod == former).collect();
    ensure!(late.is_empty(), "{former} has written after {:?}: {late:#?}", writes[others]);
    Ok(())
}

/// The pod that holds the Lease.
async fn leader(namespace: &Namespace) -> Result<String> {
    let leases: Api<Lease> = Api::namespaced(namespace.client.clone(), install::NAMESPACE);
    wait::until("a leader", wait::LIMIT, async || {
        let lease = leases.get("capstan-operator").await?;
        let holder = lease.spec.and_then(|spec| spec.holder_identity).unwrap_or_default();
        let pods: Api<Pod> = Api::namespaced(namespace.client.clone(), install::NAMESPACE);
        let pods = pods.list(&Default::default()).await?.items;
        let names: Vec<String> = pods.iter().map(|pod| pod.name_any()).collect();
        let found = names.iter().find(|name| !holder.is_empty() && holder.starts_with(name.as_str()));
        found.cloned().with_context(|| format!("held by {holder:?}, which is none of {names:?}"))
    })
    .await
}

async fn another_leads(namespace: &Namespace, former: &str) -> Result<()> {
    wait::until("another leader", wait::LIMIT, async || {
        let leader = leader(namespace).await?;
        ensure!(leader != former, "still {leader}");
        Ok(())
    })
    .await
}

/// Edits a policy and waits until somebody has acted on it.
async fn reconciles(namespace: &Namespace, size: &str) -> Result<()> {
    namespace.apply_object(&workload::policy("web", size, &json!({ "none": {} }), None)).await?;
    policy::condition(namespace, "LogRotationPolicy", "web", "ConfigDelivered", "True").await.map(drop)
}

/// Sends a signal to the processes of one of the operator's pods, from a pod that sees all of its node.
async fn signal(namespace: &Namespace, pod: &str, signal: &str) -> Result<()> {
    let pods: Api<Pod> = Api::namespaced(namespace.client.clone(), install::NAMESPACE);
    let target = pods.get(pod).await?;
    let uid = target.metadata.uid.clone().context("a pod without uid")?;
    let node = target.spec.and_then(|spec| spec.node_name).context("a pod without node")?;
    let name = format!("signal-{}", signal.to_lowercase());
    let sender = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name, "labels": { "app": name } },
        "spec": { "hostPID": true, "nodeName": node, "containers": [{
            "name": "app", "image": Image::Busybox.name(), "command": ["sleep", "100000"],
            "securityContext": { "privileged": true, "runAsUser": 0 },
        }] },
    });
    namespace.apply_object(&sender).await?;
    namespace.ready_pod(&format!("app={name}")).await?;
    // systemd's cgroup driver writes the uid with underscores.
    let script = format!(
        "for p in /proc/[0-9]*; do if grep -qE '{uid}|{}' $p/cgroup 2>/dev/null && \
         grep -q capstan-operator $p/cmdline; then kill -{signal} ${{p#/proc/}} && echo sent; fi; done",
        uid.replace('-', "_")
    );
    let said = namespace.shell(&name, "app", &script).await?;
    ensure!(said.contains("sent"), "no process of {pod} was found");
    Ok(())
}
