//! Thousands of injected pods on nodes that kwok simulates: what the operator's processes need meanwhile, and how long a
//! change takes to reach all of them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::images::Image;
use crate::namespace::Namespace;
use crate::{install, policy, wait, workload};

/// Pods are created so many at once.
const AT_ONCE: usize = 16;

/// Makes so many pods with so many policies; prints what memory each of the operator's processes has, then edits all
/// policies, and prints how long it takes until every pod is told.
///
/// # Errors
///
/// There are no simulated nodes, or the operator never counts all pods.
pub async fn run(namespace: &Namespace, pods: u32, policies: u32) -> Result<()> {
    report(namespace, "before").await?;
    apply(namespace, policies, "1Mi").await?;
    let made = futures::stream::iter(0..pods).map(|index| create(namespace, index, policies));
    let failures: Vec<anyhow::Error> =
        made.buffer_unordered(AT_ONCE).filter_map(|made| async { made.err() }).collect().await;
    ensure!(failures.is_empty(), "{} pods were refused, the first: {:#}", failures.len(), failures[0]);
    let each = u64::from(pods / policies);
    policy::pods_within(namespace, "p0", "matched", each, Duration::from_secs(300)).await?;
    settle(namespace, pods, &BTreeMap::new()).await?;
    report(namespace, &format!("with {pods} pods and {policies} policies")).await?;
    let before = hashes(namespace).await?;
    let start = Instant::now();
    apply(namespace, policies, "2Mi").await?;
    let applied = start.elapsed().as_secs_f64();
    settle(namespace, pods, &before).await?;
    println!(
        "all policies edited (which took {applied:.0} s): every pod was told after {:.0} s",
        start.elapsed().as_secs_f64()
    );
    report(namespace, "after that").await
}

async fn apply(namespace: &Namespace, policies: u32, size: &str) -> Result<()> {
    let made = futures::stream::iter(0..policies).map(|index| async move {
        let object = workload::policy(&format!("p{index}"), size, &json!({ "none": {} }), None);
        namespace.apply_object(&object).await
    });
    made.buffer_unordered(AT_ONCE).try_collect().await
}

/// Waits until so many pods have been told a configuration that is not the one of `before`.
async fn settle(namespace: &Namespace, pods: u32, before: &BTreeMap<String, String>) -> Result<()> {
    wait::until("every pod to be told", Duration::from_secs(900), async || {
        // A list of thousands is work for the API server, too.
        sleep(Duration::from_secs(2)).await;
        let now = hashes(namespace).await?;
        let told = now.iter().filter(|(name, hash)| before.get(*name) != Some(hash)).count();
        ensure!(told == pods as usize, "{told} of {pods} are");
        Ok(())
    })
    .await
}

/// What each pod of the benchmark was told.
async fn hashes(namespace: &Namespace) -> Result<BTreeMap<String, String>> {
    let pods = namespace.pods().list_metadata(&ListParams::default()).await?.items.into_iter();
    let told = pods.filter(|pod| pod.name_any().starts_with("bench-")).filter_map(|pod| {
        let hash = pod.annotations().get("capstan.dev/config-hash").cloned()?;
        Some((pod.name_any(), hash))
    });
    Ok(told.collect())
}

async fn create(namespace: &Namespace, index: u32, policies: u32) -> Result<()> {
    let name = format!("bench-{index}");
    let pod = workload::pod(&name, &Image::Busybox.name(), &json!(["sleep", "100000"]));
    let mut pod = workload::annotated(pod, &format!("p{}", index % policies));
    pod["spec"]["nodeSelector"] = json!({ "type": "kwok" });
    pod["spec"]["tolerations"] = json!([{ "operator": "Exists" }]);
    namespace.apply_object(&pod).await
}

/// Resident bytes of each container of the operator, as its kubelet sees them: without the pages of the program, which
/// its replicas on a node share, about 12 MiB.
async fn report(namespace: &Namespace, when: &str) -> Result<()> {
    wait::until("the kubelet's figures", wait::LIMIT, async || {
        for (pod, bytes) in resident(namespace).await? {
            println!("{when}: {pod} {:.1} MiB of its own", bytes as f64 / f64::from(1 << 20));
        }
        Ok(())
    })
    .await
}

async fn resident(namespace: &Namespace) -> Result<Vec<(String, u64)>> {
    let pods: Api<Pod> = Api::namespaced(namespace.client.clone(), install::NAMESPACE);
    let mut found = Vec::new();
    for pod in pods.list(&ListParams::default()).await?.items {
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).context("a pod without node")?;
        let path = format!("/api/v1/nodes/{node}/proxy/stats/summary");
        let summary: Value = namespace.client.request(http::Request::get(path).body(Vec::new())?).await?;
        let stats = summary["pods"].as_array().context("no pods in the kubelet's figures")?;
        let name = pod.name_any();
        let own =
            stats.iter().find(|stat| stat["podRef"]["name"] == json!(name)).context("not measured yet")?;
        let bytes = own.pointer("/containers/0/memory/rssBytes").and_then(Value::as_u64);
        found.push((name, bytes.context("no resident bytes yet")?));
    }
    Ok(found)
}
