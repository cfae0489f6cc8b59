//! Thousands of pods that need no node. In: a cluster that is up, and how many nodes; out: kwok among the node's
//! processes, which says of pods on those nodes that they run.

use std::fs::File;
use std::io::Write;
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::layout::Layout;
use super::{cgroups, compile, inside, recipe};

/// What a node has to carry to be simulated.
const ANNOTATION: (&str, &str) = ("kwok.x-k8s.io/node", "fake");

/// Without leases, nodes are taken for dead after a minute, and with them their pods.
const ARGUMENTS: [&str; 4] = [
    "--kubeconfig=/run/capstan/pki/admin.kubeconfig",
    "--manage-all-nodes=false",
    "--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake",
    "--node-lease-duration-seconds=40",
];

/// Starts kwok, which ends with the cluster, and makes the nodes `kwok-0` and on.
pub fn up(layout: &Layout, nodes: u32) -> Result<()> {
    if cgroups::init(&layout.cgroup())?.is_none() {
        bail!("the cluster does not run; bring it up with `make cluster-up`");
    }
    let program = compile::program(&recipe::named("kwok", recipe::DEFAULT_KUBERNETES)?)?;
    let copy = layout.bin().join("kwok");
    if !copy.exists() {
        std::fs::copy(program, copy)?;
        start(layout)?;
    }
    let mut kubectl = inside::command(layout, "kubectl")?;
    kubectl.args([
        "--kubeconfig=/run/capstan/pki/admin.kubeconfig",
        "apply",
        "--server-side",
        "--filename=-",
    ]);
    let mut applied =
        kubectl.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().context("cannot run kubectl")?;
    let list =
        json!({ "apiVersion": "v1", "kind": "List", "items": (0..nodes).map(node).collect::<Vec<_>>() });
    applied.stdin.take().context("kubectl has no standard input")?.write_all(list.to_string().as_bytes())?;
    if !applied.wait()?.success() {
        bail!("the nodes could not be made");
    }
    Ok(())
}

fn start(layout: &Layout) -> Result<()> {
    let log = File::create(layout.log().join("kwok.log"))?;
    // In the cluster's cgroup, so that taking the cluster down finds it even if PID 1 is gone.
    cgroups::enter(&layout.cgroup())?;
    let mut kwok = inside::command(layout, "kwok")?;
    kwok.args(ARGUMENTS).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    // PID 1 of the node takes it in: nobody waits for it here.
    drop(kwok.spawn().context("cannot start kwok")?);
    Ok(())
}

fn node(number: u32) -> Value {
    let name = format!("kwok-{number}");
    let room = json!({ "cpu": "1000", "memory": "1Ti", "pods": "10000" });
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "annotations": { ANNOTATION.0: ANNOTATION.1 },
            "labels": { "type": "kwok", "kubernetes.io/hostname": name, "kubernetes.io/os": "linux" },
        },
        // Only pods that ask for it get onto a node where nothing really runs.
        "spec": { "taints": [{ "key": ANNOTATION.0, "value": ANNOTATION.1, "effect": "NoSchedule" }] },
        "status": { "allocatable": room, "capacity": room },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_carries_what_kwok_selects_and_keeps_other_pods_away() {
        let node = node(7);
        assert_eq!(node["metadata"]["name"], "kwok-7");
        assert_eq!(node["metadata"]["annotations"][ANNOTATION.0], ANNOTATION.1);
        assert!(ARGUMENTS[2].ends_with(&format!("{}={}", ANNOTATION.0, ANNOTATION.1)));
        assert_eq!(node["spec"]["taints"][0]["effect"], "NoSchedule");
    }
}
