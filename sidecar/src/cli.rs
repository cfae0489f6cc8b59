//! The command line: what the user typed, and what is done about it.

pub mod check;
pub mod rotate;
pub mod status;
pub mod table;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use capstan_config::names::{ADMIN_PORT, ANNOTATIONS_FILE, POLICIES_DIRECTORY, TERMINATION_LOG};
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::app;
use crate::pod::Pod;
use crate::reload::kept;

/// How long a stop may take if nobody says: the default of pods.
const GRACE: Duration = Duration::from_secs(30);

/// Rotates log files without losing a line, proves that the app reopened them, and forwards every line over
/// syslog-TLS at least once.
#[derive(Debug, Parser)]
#[command(name = "capstan-sidecar", version, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Rotate and forward until SIGTERM or SIGINT: the main job
    ///
    /// Logs go to standard output as JSON lines; CAPSTAN_LOG sets their level (error, warn, info, debug).
    /// The configuration may change, come later, and go: a change takes effect within a second (SIGHUP: now), and what
    /// cannot be used is reported, while the last good configuration goes on. It never ends the process.
    Run {
        /// Where the configuration is.
        #[command(flatten)]
        config: Config,
        /// Serve /metrics, /healthz and /status here; "none" for the control sockets beside the logs only
        #[arg(long, value_name = "ADDR", default_value_t = Listen::default())]
        listen: Listen,
        /// How long a stop may take: a service's stop timeout [default: the pod's grace period, else 30s]
        #[arg(long, value_name = "DURATION", value_parser = capstan_config::parse_duration)]
        grace: Option<Duration>,
        /// HOSTNAME of logs that name none [default: the host's name]
        #[arg(long, value_name = "NAME", env = "CAPSTAN_HOSTNAME")]
        hostname: Option<String>,
        /// The file of the pod's annotations
        #[arg(long, value_name = "FILE", env = "CAPSTAN_ANNOTATIONS", default_value = ANNOTATIONS_FILE, hide = true)]
        annotations: PathBuf,
        /// The file for a termination message
        #[arg(long, value_name = "FILE", env = "CAPSTAN_TERMINATION_LOG", default_value = TERMINATION_LOG, hide = true)]
        termination_log: PathBuf,
    },
    /// Read the configuration, and print the settings that are in effect
    ///
    /// Exit status 1, with the path of every field that is wrong, if the configuration cannot be used.
    Check {
        /// Where the configuration is.
        #[command(flatten)]
        config: Config,
    },
    /// Rotate what is due, once, and exit: what a cron run of logrotate does
    ///
    /// If a sidecar is running for these logs, it is asked to do it. Exit status 1 if a rotation failed or nobody
    /// was seen to reopen.
    Rotate {
        /// Where the configuration is.
        #[command(flatten)]
        config: Config,
        /// Only this log, as LOG or POLICY/LOG
        #[arg(long, value_name = "NAME")]
        log: Option<String>,
        /// Also what is not due
        #[arg(long)]
        force: bool,
        /// Only say what would be done
        #[arg(long)]
        dry_run: bool,
    },
    /// Show what is live, archived, forwarded and lagging
    ///
    /// Asks the running sidecar; without one, shows what its state says. Exit status 1 if there is a problem.
    Status {
        /// Where the configuration is.
        #[command(flatten)]
        config: Config,
        /// How to show it
        #[arg(long, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
}

/// Where the configuration is.
#[derive(Debug, Args)]
pub struct Config {
    /// A configuration file, or a directory with one directory per policy
    #[arg(long = "config", value_name = "FILE|DIR", default_value = POLICIES_DIRECTORY)]
    pub path: PathBuf,
}

/// How the status is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people
    Table,
    /// For programs
    Json,
}

/// An address to listen on, or none.
#[derive(Clone, Copy, Debug)]
pub struct Listen(Option<SocketAddr>);

impl Default for Listen {
    fn default() -> Self {
        Listen(Some(SocketAddr::from(([0, 0, 0, 0], ADMIN_PORT))))
    }
}

impl std::fmt::Display for Listen {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(address) => address.fmt(out),
            None => out.write_str("none"),
        }
    }
}

impl std::str::FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(Listen(None));
        }
        // ":9000" as in other tools.
        let full = if text.starts_with(':') { format!("0.0.0.0{text}") } else { text.to_owned() };
        full.parse().map(|address| Listen(Some(address))).map_err(|_| format!("'{text}' is no address; write 127.0.0.1:{ADMIN_PORT}, [::]:{ADMIN_PORT}, :{ADMIN_PORT} or none"))
    }
}

impl Command {
    /// Carries it out.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Command::Run { config, listen, grace, hostname, annotations, termination_log } => {
                let hostname = hostname.unwrap_or_else(host_name);
                let pod = Arc::new(Pod::of_environment());
                let (config, listen) = (config.path, listen.0);
                let grace = grace.or(pod.grace).unwrap_or(GRACE);
                app::run(&app::Options {
                    config,
                    annotations,
                    termination_log,
                    listen,
                    grace,
                    hostname,
                    pod,
                })?;
                Ok(ExitCode::SUCCESS)
            }
            Command::Check { config } => Ok(check::run(&config.path)),
            Command::Rotate { config, log, force, dry_run } => {
                let request = crate::control::RotateRequest { log, force, dry_run };
                rotate::run(&config.path, &request)
            }
            Command::Status { config, output } => status::run(&config.path, output),
        }
    }
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Where a running sidecar may be asked: in the directories of the configuration, or, while that cannot be used and the
/// sidecar goes on with its last good one, in all on the pod's volumes that have state.
fn places(settings: &Result<crate::settings::Settings, crate::config_source::ConfigError>) -> Vec<PathBuf> {
    match settings {
        Ok(settings) => bases(settings),
        Err(_) => kept::bases(Pod::of_environment().mounts()),
    }
}

/// The directories that a configuration keeps state for.
fn bases(settings: &crate::settings::Settings) -> Vec<PathBuf> {
    let patterns = settings.logs.iter().flat_map(|log| &log.log.files.include);
    let mut bases: Vec<PathBuf> = patterns.map(|pattern| pattern.base().to_owned()).collect();
    bases.sort();
    bases.dedup();
    bases
}

/// Loads the configuration for a command that does not wait for it to become usable.
fn settings(path: &Path) -> Result<crate::settings::Settings, crate::config_source::ConfigError> {
    Ok(crate::settings::Settings::from_configs(crate::config_source::load(path)?.configs))
}
