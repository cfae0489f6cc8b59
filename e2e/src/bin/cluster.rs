//! A real Kubernetes on this machine, from nothing and back to nothing: `cluster up`, `cluster down`.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};

use capstan_e2e::cluster::layout::{self, Layout};
use capstan_e2e::cluster::{clean, compile, image, inside, kwok, lifecycle, node, recipe, relay, status};

/// A real Kubernetes on this machine, as root, without a registry or a daemon.
#[derive(Debug, Parser)]
#[command(disable_help_subcommand = true)]
struct Arguments {
    /// The cluster's folder; by default `.cluster` in the checkout.
    #[arg(long, env = "CAPSTAN_CLUSTER_DIR", global = true)]
    dir: Option<PathBuf>,
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Bring the cluster up, or say that it is.
    Up {
        /// The version of Kubernetes.
        #[arg(long, env = "KUBERNETES", default_value = recipe::DEFAULT_KUBERNETES)]
        kubernetes: String,
    },
    /// Take the cluster down and remove all of it.
    Down,
    /// Say what is up.
    Status,
    /// Print what a shell has to evaluate to use the cluster.
    Env,
    /// Import docker archives.
    Load {
        /// The archives.
        #[arg(required = true)]
        archives: Vec<PathBuf>,
    },
    /// Run a command inside the node: it sees pods and Services, and all processes.
    Exec {
        /// The command.
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    /// Compile programs, and print where they are.
    Build {
        /// The version of Kubernetes.
        #[arg(long, env = "KUBERNETES", default_value = recipe::DEFAULT_KUBERNETES)]
        kubernetes: String,
        /// Their names.
        #[arg(default_values = ["kubernetes", "coredns", "pause", "helm"])]
        programs: Vec<String>,
    },
    /// Add nodes whose pods are only simulated, for measuring with thousands.
    Kwok {
        /// How many.
        nodes: u32,
    },
    /// Make the images of test apps from Debian packages, as far as they are missing, and print where they are.
    Images {
        /// Their names; all by default.
        names: Vec<String>,
    },
    /// Make this project's images, into `target/images`.
    ProjectImages {
        /// The profile of cargo: `dist` as published, or `release`, which is compiled already.
        #[arg(long, default_value = "dist")]
        profile: String,
        /// Their names.
        #[arg(default_values = ["capstan-sidecar", "capstan-operator"])]
        names: Vec<String>,
    },
    /// Take a picture of the machine, for `check-clean`.
    Picture {
        /// The file to write.
        file: PathBuf,
    },
    /// Fail if anything of the cluster is left.
    CheckClean {
        /// A picture from before the cluster: whatever is different is told.
        #[arg(long)]
        since: Option<PathBuf>,
    },
    /// A step of `up`.
    #[command(hide = true)]
    Launch,
    /// The first process of a node.
    #[command(hide = true)]
    Init,
    /// A component of a node.
    #[command(hide = true)]
    Relay,
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<ExitCode> {
    let folder = arguments.dir.unwrap_or_else(|| layout::checkout().join(".cluster"));
    let layout = Layout::new(std::path::absolute(folder)?);
    match arguments.task {
        Task::Up { kubernetes } => lifecycle::up(&layout, &kubernetes)?,
        Task::Down => lifecycle::down(&layout)?,
        Task::Status => status::tell(&layout)?,
        Task::Env => print!("{}", lifecycle::env(&layout)),
        Task::Load { archives } => inside::import(&layout, &archives)?,
        Task::Exec { command } => return exec(&layout, &command),
        Task::Build { kubernetes, programs } => build(&kubernetes, &programs)?,
        Task::Kwok { nodes } => kwok::up(&layout, nodes)?,
        Task::Images { names } => images(names)?,
        Task::ProjectImages { profile, names } => {
            names.iter().try_for_each(|name| image::project::build(name, &profile).map(|_| ()))?;
        }
        Task::Picture { file } => fs::write(file, serde_json::to_vec_pretty(&clean::picture()?)?)?,
        Task::CheckClean { since } => check_clean(&layout, since)?,
        Task::Launch => node::launch(&layout)?,
        Task::Init => node::init(&layout)?,
        Task::Relay => relay::run()?,
    }
    Ok(ExitCode::SUCCESS)
}

fn exec(layout: &Layout, command: &[String]) -> Result<ExitCode> {
    let (program, arguments) = command.split_first().context("no command")?;
    let status = inside::command(layout, program)?.args(arguments).status().context("cannot run nsenter")?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}

fn build(kubernetes: &str, programs: &[String]) -> Result<()> {
    for name in programs {
        println!("{}", compile::program(&recipe::named(name, kubernetes)?)?.display());
    }
    Ok(())
}

fn images(names: Vec<String>) -> Result<()> {
    let names = if names.is_empty() { image::apps::names()? } else { names };
    for name in names {
        println!("{}", image::apps::build(&name)?.display());
    }
    Ok(())
}

fn check_clean(layout: &Layout, since: Option<PathBuf>) -> Result<()> {
    let before = match since {
        Some(file) => Some(serde_json::from_slice(&fs::read(&file).context("cannot read the picture")?)?),
        None => None,
    };
    let remains = clean::remains(layout, before.as_ref())?;
    if !remains.is_empty() {
        bail!("left behind:\n{}", remains.join("\n"));
    }
    println!("nothing is left");
    Ok(())
}
