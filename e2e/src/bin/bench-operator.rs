//! Measures the operator on the cluster that KUBECONFIG names, in a namespace of its own.

use anyhow::Result;
use capstan_e2e::bench::{admission, edit, memory};
use capstan_e2e::namespace::{Namespace, Security};
use capstan_e2e::{install, kube};
use clap::Parser;

/// Measures admission, edits and memory.
#[derive(Parser)]
struct Arguments {
    /// Pods per second to admit
    #[arg(long, default_value_t = 200)]
    rate: u32,
    /// Seconds to admit pods for
    #[arg(long, default_value_t = 20)]
    seconds: u32,
    /// How often a policy is edited
    #[arg(long, default_value_t = 30)]
    edits: u32,
    /// Pods on simulated nodes, labelled type=kwok; 0: none
    #[arg(long, default_value_t = 0)]
    pods: u32,
    /// Policies that those pods name
    #[arg(long, default_value_t = 500)]
    policies: u32,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let client = kube::client().await?;
    install::once(&client).await?;
    let namespace = Namespace::create(client, "bench", Security::Restricted).await?;
    let measured = measure(&namespace, &arguments).await;
    namespace.delete().await?;
    measured
}

async fn measure(namespace: &Namespace, arguments: &Arguments) -> Result<()> {
    edit::run(namespace, arguments.edits).await?;
    admission::run(namespace, arguments.rate, arguments.seconds).await?;
    if arguments.pods > 0 {
        memory::run(namespace, arguments.pods, arguments.policies.max(1)).await?;
    }
    Ok(())
}
