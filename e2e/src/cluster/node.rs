//! From a plain process to PID 1 of a node. In: the cluster's folder with its plan, and on standard input a socket
//! that listens on the machine's loopback; out: a node, until PID 1 is killed.
//!
//! Three processes hand over to each other: `up` starts `launch`, which moves into the cgroup and into new
//! namespaces and starts `init`; being the first child after that, it is PID 1 there.
//!
//! Always: nothing is mounted, no address set and no kernel setting written outside of the new namespaces.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{sethostname, setsid};

use super::layout::{INSIDE, Layout, NODE_NAME};
use super::{cgroups, supervise};

/// Settings of the whole machine that kubelet writes, whoever else uses the machine. It gets files of the same
/// content to write to.
const MACHINE_SETTINGS: [&str; 6] = [
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
];

/// The node's address is on the loopback interface. Services have a route over a pair of interfaces that leads
/// nowhere: every packet to a Service is redirected before it would be sent, but it must have a route first. Over
/// the loopback interface a Service without end points would time out instead of refusing.
const NETWORK: &str = "link set lo up
addr add 10.99.0.1/32 dev lo
link add services type veth peer name nowhere
link set services up
link set nowhere up
route add 10.96.0.0/16 dev services src 10.99.0.1
";

/// Leaves the machine's namespaces, starts PID 1 of the node, and ends.
pub fn launch(layout: &Layout) -> Result<()> {
    setsid().context("cannot begin a session of its own")?;
    cgroups::enter(&layout.cgroup())?;
    let flags = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWUTS;
    unshare(flags).context("cannot make namespaces; the cluster has to be started as root")?;
    let program = layout.bin().join("cluster");
    // Standard input goes on to it: the listening socket.
    Command::new(program)
        .arg("--dir")
        .arg(layout.root())
        .arg("init")
        .spawn()
        .context("cannot start PID 1")?;
    Ok(())
}

/// PID 1 of the node: makes it a place of its own, then keeps the components running. Never returns without error.
pub fn init(layout: &Layout) -> Result<()> {
    if std::process::id() != 1 {
        bail!("this is what the first process of a node does; use `cluster up`");
    }
    mounts(layout)?;
    sethostname(NODE_NAME).context("cannot set the host's name")?;
    network()?;
    supervise::run(Path::new(INSIDE))
}

fn mounts(layout: &Layout) -> Result<()> {
    // First of all: what is mounted from here on is no longer seen outside.
    change("/", MsFlags::MS_REC | MsFlags::MS_PRIVATE)?;
    filesystem("proc", "/proc")?;
    let logs = File::open(layout.log())?;
    let state = File::open(layout.lib())?;
    // The cluster's folder may be below any of the directories that are hidden now; a descriptor still finds it.
    let root = File::open(layout.root())?;
    filesystem("tmpfs", "/run")?;
    fs::create_dir(INSIDE)?;
    bind(&descriptor(&root), INSIDE)?;
    bind(&descriptor(&logs), "/var/log")?;
    bind(&descriptor(&state), "/var/lib")?;
    shield_machine_settings()?;
    // Kubelet wants mounts to be passed on to containers: among ourselves, that is.
    change("/", MsFlags::MS_REC | MsFlags::MS_SHARED)
}

fn shield_machine_settings() -> Result<()> {
    for setting in MACHINE_SETTINGS {
        let real = format!("/proc/sys/{setting}");
        let Ok(value) = fs::read(&real) else { continue };
        let copy = format!("/run/{}", setting.replace('/', "."));
        fs::write(&copy, value)?;
        bind(&copy, &real)?;
    }
    Ok(())
}

fn descriptor(file: &File) -> String {
    use std::os::fd::AsRawFd;
    format!("/proc/self/fd/{}", file.as_raw_fd())
}

fn change(path: &str, flags: MsFlags) -> Result<()> {
    mount(None::<&str>, path, None::<&str>, flags, None::<&str>)
        .with_context(|| format!("cannot change mounts at {path}"))
}

fn filesystem(kind: &str, path: &str) -> Result<()> {
    let none = None::<&str>;
    mount(Some(kind), path, Some(kind), MsFlags::empty(), none)
        .with_context(|| format!("cannot mount {kind} at {path}"))
}

fn bind(from: &str, to: &str) -> Result<()> {
    let none = None::<&str>;
    mount(Some(from), to, none, MsFlags::MS_BIND, none)
        .with_context(|| format!("cannot mount {from} at {to}"))
}

fn network() -> Result<()> {
    let mut ip =
        Command::new("ip").args(["-batch", "-"]).stdin(Stdio::piped()).spawn().context("cannot run ip")?;
    ip.stdin.take().context("ip has no standard input")?.write_all(NETWORK.as_bytes())?;
    if !ip.wait()?.success() {
        bail!("ip could not set up the node's network");
    }
    fs::write("/proc/sys/net/ipv4/ip_forward", "1").context("cannot switch forwarding on")
}
