//! What there is of the cluster, for people. In: the cluster's folder; out: lines on standard output.

use std::collections::BTreeMap;
use std::fs;

use anyhow::Result;

use super::layout::Layout;
use super::supervise::Running;
use super::{cgroups, lifecycle, ready};

/// Says what there is of the cluster, and what other clusters the machine has.
pub fn tell(layout: &Layout) -> Result<()> {
    let root = layout.root().display();
    match cgroups::init(&layout.cgroup())? {
        None if layout.root().exists() => {
            println!("down, with remains in {root}: `make cluster-down` removes them")
        }
        None => println!("down: there is no cluster in {root}"),
        Some(init) => {
            println!(
                "up: Kubernetes {} in {root}, PID 1 is {init}",
                lifecycle::version(layout).unwrap_or_default()
            );
            let (api, node) = ready::now(&layout.kubeconfig()).unwrap_or((false, false));
            println!("API server {}, node {}", word(api), word(node));
            println!("components: {}", components(layout));
            println!("kubeconfig: {}", layout.kubeconfig().display());
            println!("logs: {}", layout.log().display());
        }
    }
    for other in cgroups::clusters()?.iter().filter(|name| **name != layout.cgroup()) {
        println!("another cluster on this machine: {}", owner(other)?);
    }
    Ok(())
}

fn word(is: bool) -> &'static str {
    if is { "ready" } else { "not ready" }
}

fn components(layout: &Layout) -> String {
    let text = fs::read(layout.running()).unwrap_or_default();
    let running: BTreeMap<String, Running> = serde_json::from_slice(&text).unwrap_or_default();
    let told: Vec<String> = running.iter().map(|(name, running)| component(name, running)).collect();
    if told.is_empty() { "none yet".to_owned() } else { told.join(", ") }
}

fn component(name: &str, running: &Running) -> String {
    match (running.pid, running.ends) {
        (Some(_), 0) => name.to_owned(),
        (Some(_), ends) => format!("{name} (ended {ends} times and was started again)"),
        (None, ends) => format!("{name} (down, ended {ends} times)"),
    }
}

/// Where another cluster is, as its PID 1 was told on its command line.
fn owner(cgroup: &str) -> Result<String> {
    let Some(init) = cgroups::init(cgroup)? else { return Ok(format!("{cgroup}, whose PID 1 is gone")) };
    let words = fs::read_to_string(format!("/proc/{init}/cmdline")).unwrap_or_default();
    Ok(words.split('\0').nth(2).unwrap_or(cgroup).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_component_that_keeps_ending_is_not_told_as_running() {
        assert_eq!(component("etcd", &Running { pid: Some(3), ends: 0 }), "etcd");
        assert!(component("etcd", &Running { pid: None, ends: 4 }).contains("down, ended 4 times"));
    }
}
