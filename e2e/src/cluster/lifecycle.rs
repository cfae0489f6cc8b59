//! Up and down. In: the cluster's folder and the version wanted; out: a cluster that is ready, or none.
//!
//! Always: `up` begins by taking down whatever is left of an earlier cluster of the same folder; `down` looks at the
//! world and at nothing that `up` wrote, so it works after a crash at any point; one of them runs at a time.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::fs::{FlockOperation, flock, statfs};

use super::layout::Layout;
use super::progress::{Progress, say};
use super::{certificates, cgroups, compile, components, image, inside, ready, recipe};

/// Programs of the machine that the node runs.
const NEEDED: [(&str, &str); 6] = [
    ("containerd", "containerd"),
    ("ctr", "containerd"),
    ("runc", "runc"),
    ("iptables", "iptables"),
    ("ip", "iproute2"),
    ("nsenter", "util-linux"),
];

/// Where programs of the machine are looked for.
const SEARCH_PATH: [&str; 6] =
    ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// Brings the cluster up and waits until pods can be created. One that is up stays as it is.
pub fn up(layout: &Layout, kubernetes: &str) -> Result<()> {
    let progress = Progress::new();
    let recipe = recipe::kubernetes(kubernetes)?;
    check_machine(layout)?;
    let _lock = lock(layout)?;
    if is_up(layout) {
        return keep(layout, kubernetes);
    }
    remove(layout)?;
    let programs = programs(&recipe)?;
    let archives = image::for_the_node()?;
    progress.reached("programs and images are there");

    let socket =
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot listen on the loopback address")?;
    let server = format!("https://{}", socket.local_addr()?);
    prepare(layout, kubernetes, &programs, &server)?;
    progress.reached("certificates and configuration written");
    let began = launch(layout, socket).and_then(|()| fill(layout, &archives, progress));
    began.with_context(|| tell_logs(layout))?;
    progress
        .reached(&format!("Kubernetes {kubernetes} is up; use it with: eval \"$({})\"", env_command(layout)));
    Ok(())
}

/// Takes the cluster down and removes all of it.
pub fn down(layout: &Layout) -> Result<()> {
    let progress = Progress::new();
    require_root()?;
    let _lock = lock(layout)?;
    remove(layout)?;
    progress.reached("nothing of the cluster is left");
    Ok(())
}

/// The shell commands after which kubectl and helm speak to the cluster.
pub fn env(layout: &Layout) -> String {
    let (kubeconfig, audit, bin) = (layout.kubeconfig(), layout.audit_log(), layout.bin());
    let kubeconfig = format!("export KUBECONFIG='{}'\n", kubeconfig.display());
    let audit = format!("export CAPSTAN_E2E_AUDIT_LOG='{}'\n", audit.display());
    format!("{kubeconfig}{audit}export PATH='{}':\"$PATH\"\n", bin.display())
}

fn env_command(layout: &Layout) -> String {
    format!("{} env", layout.bin().join("cluster").display())
}

/// A cluster is up when its PID 1 runs and its API server and node are ready.
fn is_up(layout: &Layout) -> bool {
    matches!(cgroups::init(&layout.cgroup()), Ok(Some(_)))
        && matches!(ready::now(&layout.kubeconfig()), Ok((true, true)))
}

fn keep(layout: &Layout, kubernetes: &str) -> Result<()> {
    let version = version(layout)?;
    if version != kubernetes {
        bail!(
            "Kubernetes {version} is up in {}; take it down first: make cluster-down",
            layout.root().display()
        );
    }
    say(&format!("Kubernetes {version} is up already; use it with: eval \"$({})\"", env_command(layout)));
    Ok(())
}

/// The version of Kubernetes that is up.
pub fn version(layout: &Layout) -> Result<String> {
    fs::read_to_string(layout.root().join("version")).context("the cluster does not tell its version")
}

/// What has to be so before anything is begun, each with what to do about it.
fn check_machine(layout: &Layout) -> Result<()> {
    require_root()?;
    let on_path = |program: &str| SEARCH_PATH.iter().any(|folder| Path::new(folder).join(program).exists());
    let mut missing: Vec<&str> =
        NEEDED.iter().filter(|(program, _)| !on_path(program)).map(|need| need.1).collect();
    if !Path::new("/usr/lib/cni/bridge").exists() {
        missing.push("containernetworking-plugins");
    }
    missing.dedup();
    if !missing.is_empty() {
        bail!("not installed: {}; `make cluster-setup` installs them from Debian", missing.join(", "));
    }
    let parent = layout.root().parent().context("the cluster's folder has no parent")?;
    let kind = statfs(parent).with_context(|| format!("there is no folder {}", parent.display()))?.f_type;
    // Overlay and temporary file systems: containerd cannot lay its own layers on the one, and the other is memory.
    if [0x794c_7630, 0x0102_1994].contains(&kind) {
        bail!(
            "{} is on no disk of its own; name a folder on one: CAPSTAN_CLUSTER_DIR=/path/to/cluster",
            parent.display()
        );
    }
    Ok(())
}

fn require_root() -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("the cluster needs root: namespaces, cgroups and containers");
    }
    Ok(())
}

/// Keeps a second `up` or `down` of the same folder waiting until this one is through.
fn lock(layout: &Layout) -> Result<File> {
    let parent = layout.root().parent().context("the cluster's folder has no parent")?;
    // Down has to work as well when the checkout is gone.
    let existing = parent.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/"));
    let folder = File::open(existing).with_context(|| format!("cannot open {}", existing.display()))?;
    if flock(&folder, FlockOperation::NonBlockingLockExclusive).is_err() {
        say("waiting for another `cluster up` or `cluster down` to end");
        flock(&folder, FlockOperation::LockExclusive)?;
    }
    Ok(folder)
}

/// What goes into the cluster's `bin`: the names, and the file they are names of.
type Programs = Vec<(&'static [&'static str], PathBuf)>;

fn programs(kubernetes: &recipe::Recipe) -> Result<Programs> {
    const KUBERNETES: &[&str] = &[
        "kubernetes",
        "etcd",
        "kube-apiserver",
        "kube-controller-manager",
        "kube-scheduler",
        "kubelet",
        "kube-proxy",
        "kubectl",
    ];
    let compiled = |name: &str| compile::program(&recipe::named(name, recipe::DEFAULT_KUBERNETES)?);
    Ok(vec![
        (KUBERNETES, compile::program(kubernetes)?),
        (&["coredns"], compiled("coredns")?),
        (&["helm"], compiled("helm")?),
        (&["cluster"], std::env::current_exe()?),
    ])
}

/// Writes the folder: everything that the node reads.
fn prepare(layout: &Layout, kubernetes: &str, programs: &Programs, server: &str) -> Result<()> {
    for folder in [layout.bin(), layout.etc().join("cni"), layout.pki(), layout.log(), layout.lib()] {
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    for (names, program) in programs {
        let copy = layout.bin().join(names[0]);
        // A copy, not a link: the cluster must not change when the program is compiled anew or the cache is emptied.
        fs::copy(program, &copy).with_context(|| format!("cannot copy {}", program.display()))?;
        for name in &names[1..] {
            std::os::unix::fs::symlink(names[0], layout.bin().join(name))?;
        }
    }
    for (name, text) in components::files(&layout.cgroup()) {
        fs::write(layout.etc().join(name), text)?;
    }
    certificates::create(&layout.pki(), &layout.kubeconfig(), server)?;
    fs::write(layout.root().join("version"), kubernetes)?;
    Ok(fs::write(layout.plan(), serde_json::to_vec_pretty(&components::plan())?)?)
}

fn launch(layout: &Layout, socket: TcpListener) -> Result<()> {
    cgroups::create(&layout.cgroup())?;
    let log = File::create(layout.log().join("init.log"))?;
    let mut launcher = Command::new(layout.bin().join("cluster"));
    launcher.arg("--dir").arg(layout.root()).arg("launch").current_dir("/");
    let launched = launcher.stdin(OwnedFd::from(socket)).stdout(log.try_clone()?).stderr(log).status()?;
    if !launched.success() {
        bail!("the node did not start");
    }
    Ok(())
}

/// Fills containerd with the images while the API server starts, then waits for the rest.
fn fill(layout: &Layout, archives: &[PathBuf], progress: Progress) -> Result<()> {
    wait_for_containerd(layout)?;
    let import = || -> Result<()> {
        inside::import(layout, archives)?;
        progress.reached(&format!("{} images imported", archives.len()));
        Ok(())
    };
    std::thread::scope(|scope| {
        let importing = scope.spawn(import);
        let ready = ready::wait(&layout.kubeconfig(), progress);
        let imported = importing.join().unwrap_or_else(|_| bail!("the import of images panicked"));
        ready.and(imported)
    })
}

fn wait_for_containerd(layout: &Layout) -> Result<()> {
    let begin = Instant::now();
    loop {
        if begin.elapsed() > Duration::from_secs(60) {
            bail!("containerd does not answer");
        }
        std::thread::sleep(Duration::from_millis(50));
        let Ok(mut ctr) = inside::command(layout, "ctr") else { continue };
        if ctr.arg("version").stdout(Stdio::null()).stderr(Stdio::null()).status()?.success() {
            return Ok(());
        }
    }
}

fn tell_logs(layout: &Layout) -> String {
    let init = fs::read_to_string(layout.log().join("init.log")).unwrap_or_default();
    let last: Vec<&str> = init.lines().rev().take(5).collect();
    let last: Vec<&str> = last.into_iter().rev().collect();
    format!(
        "the cluster did not come up; what it wrote is in {} until `make cluster-down`\n{}",
        layout.log().display(),
        last.join("\n")
    )
}

/// The end of all that is left, whatever it is.
fn remove(layout: &Layout) -> Result<()> {
    cgroups::remove(&layout.cgroup())?;
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let root = layout.root().to_string_lossy();
    // Nothing of ours is mounted here. What somebody else mounted there is not ours to delete.
    if let Some(mount) =
        mounts.lines().filter_map(|line| line.split(' ').nth(4)).find(|path| path.starts_with(&*root))
    {
        bail!("{mount} is mounted in the cluster's folder; unmount it, then try again");
    }
    match fs::remove_dir_all(layout.root()) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {root}"))
        }
        _ => Ok(()),
    }
}
