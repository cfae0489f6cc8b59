//! Annotated pods at a steady rate, as dry runs, so that nothing but admission is measured.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::bench::quantile;
use crate::images::Image;
use crate::namespace::{Mode, Namespace};
use crate::{install, scrape, workload};

const FAMILY: &str = "capstan_operator_admission_duration_seconds_bucket";

/// Cumulated counts by upper bound, as Prometheus has them.
type Buckets = BTreeMap<String, f64>;

/// Creates pods for so long at this rate; prints quantiles of what the webhook measured, and of what the client did.
///
/// # Errors
///
/// A pod is refused, or the webhook's metrics cannot be read.
pub async fn run(namespace: &Namespace, per_second: u32, seconds: u32) -> Result<()> {
    let pod = workload::pod("bench", &Image::Busybox.name(), &json!(["sleep", "100000"]));
    let pod = workload::annotated(pod, "bench");
    let before = buckets(namespace).await?;
    let start = Instant::now();
    let mut requests = JoinSet::new();
    for index in 0..per_second * seconds {
        let due = Duration::from_secs_f64(f64::from(index) / f64::from(per_second));
        sleep(due.saturating_sub(start.elapsed())).await;
        let (namespace, pod) = (namespace.clone(), pod.clone());
        requests.spawn(async move {
            let start = Instant::now();
            namespace.create_pod(&pod, Mode::DryRun).await.map(|_| start.elapsed().as_secs_f64() * 1000.0)
        });
    }
    let mut whole = Vec::new();
    while let Some(ended) = requests.join_next().await {
        whole.push(ended??);
    }
    let rate = whole.len() as f64 / start.elapsed().as_secs_f64();
    whole.sort_by(f64::total_cmp);
    let during = difference(&buckets(namespace).await?, &before);
    let in_webhook = |share| upper_bound(&during, share).unwrap_or_else(|| "unknown".to_owned());
    println!(
        "admission at {rate:.0} pods/s: in the webhook p50 ≤ {} s, p99 ≤ {} s",
        in_webhook(0.5),
        in_webhook(0.99)
    );
    println!("  whole request p50 {:.1} ms, p99 {:.1} ms", quantile(&whole, 0.5), quantile(&whole, 0.99));
    Ok(())
}

/// The buckets of all replicas together.
async fn buckets(namespace: &Namespace) -> Result<Buckets> {
    let pods: Api<Pod> = Api::namespaced(namespace.client.clone(), install::NAMESPACE);
    let labels = ListParams::default().labels("app.kubernetes.io/component=webhook");
    let mut buckets = Buckets::new();
    for pod in pods.list(&labels).await?.items {
        let page =
            scrape::get(&namespace.client, install::NAMESPACE, &pod.name_any(), 8080, "/metrics").await?;
        for sample in scrape::parse(&page).into_iter().filter(|sample| sample.family == FAMILY) {
            let bound = sample.labels.get("le").context("a bucket without a bound")?.clone();
            *buckets.entry(bound).or_default() += sample.value;
        }
    }
    Ok(buckets)
}

fn difference(after: &Buckets, before: &Buckets) -> Buckets {
    after.iter().map(|(le, count)| (le.clone(), count - before.get(le).unwrap_or(&0.0))).collect()
}

/// The bound of the first bucket that holds this share.
fn upper_bound(buckets: &Buckets, share: f64) -> Option<String> {
    let all = *buckets.get("+Inf")?;
    let mut bounds: Vec<(f64, &String, f64)> =
        buckets.iter().filter_map(|(le, count)| Some((le.parse().ok()?, le, *count))).collect();
    bounds.sort_by(|one, other| one.0.total_cmp(&other.0));
    bounds.into_iter().find(|(_, _, count)| *count >= share * all).map(|(_, le, _)| le.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_told_by_the_bound_of_its_bucket() {
        let buckets: Buckets = [("0.0005", 10.0), ("0.005", 98.0), ("0.05", 100.0), ("+Inf", 100.0)]
            .map(|(le, n)| (le.to_owned(), n))
            .into();
        assert_eq!(upper_bound(&buckets, 0.5).as_deref(), Some("0.005"));
        assert_eq!(upper_bound(&buckets, 0.99).as_deref(), Some("0.05"));
        assert_eq!(upper_bound(&Buckets::new(), 0.5), None);
    }
}
