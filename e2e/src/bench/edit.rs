//! A policy is edited again and again, and its sidecar asked which configuration it runs with.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::json;
use tokio::time::sleep;

use crate::bench::quantile;
use crate::images::Image;
use crate::namespace::{Namespace, name_of};
use crate::{sidecar, wait, workload};

/// Edits so many times; prints quantiles of the seconds from the edit to the sidecar.
///
/// # Errors
///
/// The sidecar never gets a configuration.
pub async fn run(namespace: &Namespace, edits: u32) -> Result<()> {
    let pod = workload::pod("edited", &Image::Busybox.name(), &json!(["sleep", "100000"]));
    namespace.apply_object(&workload::annotated(pod, "edited")).await?;
    let pod = name_of(&namespace.ready_pod("app=edited").await?);
    let mut seconds = Vec::new();
    apply(namespace, 0).await?;
    let mut hash = wait::until("a first configuration", wait::LIMIT, async || {
        sidecar::hash(namespace, &pod, "edited").await
    })
    .await?;
    for edit in 1..=edits {
        let start = Instant::now();
        apply(namespace, edit).await?;
        loop {
            let now = sidecar::hash(namespace, &pod, "edited").await?;
            if now != hash {
                hash = now;
                break;
            }
            ensure!(start.elapsed() < wait::LIMIT, "edit {edit} has not arrived");
            sleep(Duration::from_millis(10)).await;
        }
        seconds.push(start.elapsed().as_secs_f64());
    }
    seconds.sort_by(f64::total_cmp);
    println!(
        "policy edit to sidecar, {edits} edits: p50 {:.2} s, worst {:.2} s",
        quantile(&seconds, 0.5),
        quantile(&seconds, 1.0)
    );
    Ok(())
}

async fn apply(namespace: &Namespace, edit: u32) -> Result<()> {
    let size = format!("{}Mi", edit + 1);
    namespace.apply_object(&workload::policy("edited", &size, &json!({ "none": {} }), None)).await
}
