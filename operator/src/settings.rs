//! The command line: what the operator is told. Every flag can be given as an environment variable instead.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::inject::SidecarSettings;
use crate::inject::resources::{Fixed, SidecarResources, Wanted};

/// Puts the Capstan sidecar into annotated pods, and carries policies and destinations into the sidecars.
///
/// Logs go to standard output as JSON lines; CAPSTAN_LOG sets their level (error, warn, info, debug).
#[derive(Debug, Parser)]
#[command(name = "capstan-operator", version, max_term_width = 100)]
pub struct Cli {
    /// Without a command: run until SIGTERM.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// What to run, and where.
    #[command(flatten)]
    pub run: RunSettings,
    /// What sidecars look like.
    #[command(flatten)]
    pub sidecar: SidecarFlags,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Print what an annotated pod becomes; pods in workloads are found, everything else is printed as it is
    ///
    /// Nothing is asked of a cluster. Warnings go to standard error.
    Inject {
        /// A file with Kubernetes objects in YAML or JSON; "-" for standard input
        #[arg(short, long, value_name = "FILE")]
        filename: PathBuf,
        /// The namespace of objects that name none
        #[arg(long, value_name = "NAME", default_value = "default")]
        r#in: String,
    },
    /// Ask the cluster for an annotated pod, in a dry run, and say whether it gets a sidecar
    ///
    /// Nothing is made. This is what `helm test` runs.
    TestInjection {
        /// The namespace to ask in
        #[arg(long, value_name = "NAME", default_value = "default")]
        r#in: String,
        /// The image of the pod; it is never pulled
        #[arg(long, value_name = "IMAGE", default_value = "capstan-injection-test")]
        image: String,
    },
}

/// The parts of the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Component {
    /// Injects sidecars; every replica does
    Webhook,
    /// Reconciles policies and destinations; only the leader does
    Controller,
}

/// Where certificates come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CertificateSource {
    /// Made and renewed by the operator
    Builtin,
    /// Put into the Secret by somebody else, such as cert-manager
    Secret,
}

/// What to run, and where.
#[derive(Clone, Debug, Args)]
pub struct RunSettings {
    /// What this process does
    #[arg(
        long,
        env = "CAPSTAN_COMPONENTS",
        value_enum,
        value_delimiter = ',',
        default_value = "webhook,controller"
    )]
    pub components: Vec<Component>,
    /// The operator's own namespace
    #[arg(long, env = "POD_NAMESPACE", value_name = "NAME", default_value = "capstan-system")]
    pub namespace: String,
    /// What this process is called where several of them compete
    #[arg(long, env = "POD_NAME", value_name = "NAME", default_value = "capstan-operator")]
    pub pod_name: String,
    /// The only namespaces that are looked at, separated by commas [default: all]
    #[arg(long, env = "CAPSTAN_NAMESPACES", value_name = "NAMES", value_delimiter = ',')]
    pub namespaces: Vec<String>,
    /// Namespaces that are left alone, separated by commas, beside the operator's own and kube-system
    #[arg(long, env = "CAPSTAN_EXCLUDED_NAMESPACES", value_name = "NAMES", value_delimiter = ',')]
    pub excluded_namespaces: Vec<String>,
    /// Serve /metrics, /healthz and /readyz here
    #[arg(long, env = "CAPSTAN_ADMIN_LISTEN", value_name = "ADDR", default_value = "0.0.0.0:8080")]
    pub admin_listen: SocketAddr,
    /// How long requests are still served after SIGTERM, until nobody sends any
    #[arg(long, env = "CAPSTAN_SHUTDOWN_DELAY", value_name = "DURATION", default_value = "5s", value_parser = capstan_config::parse_duration)]
    pub shutdown_delay: Duration,
    /// The webhook.
    #[command(flatten)]
    pub webhook: WebhookSettings,
    /// The controller.
    #[command(flatten)]
    pub controller: ControllerFlags,
}

impl RunSettings {
    /// Whether this process has that part.
    pub fn runs(&self, component: Component) -> bool {
        self.components.contains(&component)
    }
}

/// A pause between two rounds: without one, there would be nothing but rounds.
fn interval(text: &str) -> Result<Duration, String> {
    let interval = capstan_config::parse_duration(text).map_err(|error| error.to_string())?;
    if interval < Duration::from_secs(1) {
        return Err(format!("{text:?} is too little; write at least 1s"));
    }
    Ok(interval)
}

/// The webhook.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Webhook")]
pub struct WebhookSettings {
    /// Serve admission requests here
    #[arg(long, env = "CAPSTAN_WEBHOOK_LISTEN", value_name = "ADDR", default_value = "0.0.0.0:9443")]
    pub webhook_listen: SocketAddr,
    /// The Service in front of it; its name is in the certificate
    #[arg(long, env = "CAPSTAN_WEBHOOK_SERVICE", value_name = "NAME", default_value = "capstan-webhook")]
    pub webhook_service: String,
    /// The MutatingWebhookConfiguration whose caBundle the operator writes
    #[arg(long, env = "CAPSTAN_WEBHOOK_CONFIGURATION", value_name = "NAME", default_value = "capstan")]
    pub webhook_configuration: String,
    /// Where the certificate comes from
    #[arg(long, env = "CAPSTAN_CERTIFICATE_SOURCE", value_enum, default_value = "builtin")]
    pub certificate_source: CertificateSource,
    /// The Secret with tls.crt, tls.key and ca.crt, in the operator's namespace
    #[arg(
        long,
        env = "CAPSTAN_CERTIFICATE_SECRET",
        value_name = "NAME",
        default_value = "capstan-webhook-certificate"
    )]
    pub certificate_secret: String,
}

/// The controller.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Controller")]
pub struct ControllerFlags {
    /// The Lease that decides who leads, in the operator's namespace
    #[arg(long, env = "CAPSTAN_LEASE_NAME", value_name = "NAME", default_value = "capstan-operator")]
    pub lease_name: String,
    /// How many pods per second are told of a new configuration; 0: none, they learn it within 2 minutes
    #[arg(long, env = "CAPSTAN_CONFIG_PUSH_RATE", value_name = "PODS", default_value_t = 50)]
    pub config_push_rate: u32,
    /// How often pods without the sidecar are looked for
    #[arg(long, env = "CAPSTAN_SWEEP_INTERVAL", value_name = "DURATION", default_value = "5m", value_parser = interval)]
    pub sweep_interval: Duration,
    /// How often every sidecar is asked for its status
    #[arg(long, env = "CAPSTAN_FEEDBACK_INTERVAL", value_name = "DURATION", default_value = "30s", value_parser = interval)]
    pub feedback_interval: Duration,
    /// Evict pods that have no sidecar, one at a time per owner, when injection works again
    #[arg(long, env = "CAPSTAN_REPAIR")]
    pub repair: bool,
    /// How many objects are reconciled at once
    #[arg(long, env = "CAPSTAN_CONCURRENCY", value_name = "N", default_value_t = 4)]
    pub concurrency: u16,
}

/// What sidecars look like.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Sidecars")]
pub struct SidecarFlags {
    /// Their image
    #[arg(long, env = "CAPSTAN_SIDECAR_IMAGE", value_name = "IMAGE", default_value = concat!("capstan-sidecar:", env!("CARGO_PKG_VERSION")), global = true)]
    pub sidecar_image: String,
    /// When it is pulled: Always, IfNotPresent or Never
    #[arg(long, env = "CAPSTAN_SIDECAR_IMAGE_PULL_POLICY", value_name = "POLICY", default_value = "IfNotPresent", value_parser = ["Always", "IfNotPresent", "Never"], global = true)]
    pub sidecar_image_pull_policy: String,
    /// Requests and limits
    #[arg(
        long,
        env = "CAPSTAN_SIDECAR_RESOURCES",
        value_name = "JSON",
        default_value = r#"{"requests":{"cpu":"10m","memory":"32Mi"},"limits":{"cpu":"1","memory":"64Mi"}}"#,
        global = true
    )]
    pub sidecar_resources: Wanted,
    /// Requests and limits, which are equal, in pods of class Guaranteed
    #[arg(
        long,
        env = "CAPSTAN_SIDECAR_GUARANTEED_RESOURCES",
        value_name = "JSON",
        default_value = r#"{"cpu":"100m","memory":"64Mi"}"#,
        global = true
    )]
    pub sidecar_guaranteed_resources: Fixed,
    /// Mount the app's hostPath volumes too
    #[arg(long, env = "CAPSTAN_ALLOW_HOST_PATH", global = true)]
    pub allow_host_path: bool,
}

impl SidecarFlags {
    /// As injection takes them.
    pub fn resolve(self) -> SidecarSettings {
        SidecarSettings {
            image: self.sidecar_image,
            image_pull_policy: self.sidecar_image_pull_policy,
            resources: SidecarResources {
                usual: self.sidecar_resources,
                guaranteed: self.sidecar_guaranteed_resources,
            },
            allow_host_path: self.allow_host_path,
        }
    }
}

#[cfg(test)]
impl Cli {
    /// The defaults of sidecars, for tests.
    pub fn parse_from_nothing() -> SidecarSettings {
        Self::parse_from(["capstan-operator"]).sidecar.resolve()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
        let cli = Cli::parse_from(["capstan-operator"]);
        assert!(cli.run.runs(Component::Webhook) && cli.run.runs(Component::Controller));
        assert_eq!(cli.run.webhook.certificate_source, CertificateSource::Builtin);
    }

    #[test]
    fn one_component_can_be_left_out() {
        let cli = Cli::parse_from(["capstan-operator", "--components", "webhook"]);
        assert!(cli.run.runs(Component::Webhook) && !cli.run.runs(Component::Controller));
    }

    #[test]
    fn a_round_without_a_pause_is_refused() {
        let parsed = |interval: &str| Cli::try_parse_from(["capstan-operator", "--sweep-interval", interval]);
        let refusal = parsed("0s").unwrap_err().to_string();
        assert!(refusal.contains("\"0s\" is too little; write at least 1s"), "{refusal}");
        assert_eq!(parsed("90s").unwrap().run.controller.sweep_interval, Duration::from_secs(90));
    }

    #[test]
    fn resources_that_cannot_be_read_are_refused_at_the_start() {
        let error =
            Cli::try_parse_from(["capstan-operator", "--sidecar-resources", "{\"limits\":{\"cpu\":\"x\"}}"]);
        assert!(error.unwrap_err().to_string().contains("limits.cpu: 'x' is no amount"));
    }
}
