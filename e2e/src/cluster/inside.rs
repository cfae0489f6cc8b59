//! A command inside the node. In: a program with arguments; out: the command, prepared to run in the node's
//! namespaces, where it sees its processes, mounts and addresses.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::cgroups;
use super::layout::Layout;

/// Prepares a command that runs inside the node.
pub fn command(layout: &Layout, program: &str) -> Result<Command> {
    let init = cgroups::init(&layout.cgroup())?;
    let init = init.context("the cluster does not run; bring it up with `make cluster-up`")?;
    let mut command = Command::new("nsenter");
    command.args([format!("--target={init}").as_str(), "--mount", "--net", "--pid", "--uts", "--", program]);
    command.env("PATH", "/run/capstan/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    Ok(command)
}

/// Imports docker archives into containerd, all in the order given.
pub fn import(layout: &Layout, archives: &[impl AsRef<Path>]) -> Result<()> {
    for archive in archives.iter().map(AsRef::as_ref) {
        // The file is read through standard input: its path may mean nothing inside the node.
        let file =
            std::fs::File::open(archive).with_context(|| format!("cannot open {}", archive.display()))?;
        let mut ctr = command(layout, "ctr")?;
        ctr.args(["--namespace=k8s.io", "images", "import", "-"]).stdin(file).stdout(Stdio::null());
        let result = ctr.stderr(Stdio::piped()).output().context("cannot run nsenter")?;
        if !result.status.success() {
            let message = String::from_utf8_lossy(&result.stderr);
            bail!("{} was not imported: {}", archive.display(), message.trim());
        }
    }
    Ok(())
}
