//! The one thing of the node that is outside of its namespaces: a cgroup at the top of every hierarchy, in which all
//! its processes are. In: the cgroup's name; out: processes, and in the end no cgroup.
//!
//! Always: only processes in that cgroup are ever ended. Hierarchies are those of cgroup v1, as far as they are
//! mounted, else the single one of v2.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// The leaf that the components are in; kubelet makes others for the pods.
const COMPONENTS: &str = "node";

/// Makes the cgroup in every hierarchy, and a leaf in it for the components.
pub fn create(name: &str) -> Result<()> {
    for hierarchy in hierarchies()? {
        let group = hierarchy.path.join(name);
        let made = fs::create_dir_all(group.join(COMPONENTS));
        made.with_context(|| format!("cannot make the cgroup {}", group.display()))?;
        if hierarchy.unified {
            delegate(&hierarchy.path)?;
            delegate(&group)?;
        }
        // A cpuset is born empty, and nothing can run in it.
        for file in ["cpuset.cpus", "cpuset.mems"] {
            let Ok(value) = fs::read_to_string(hierarchy.path.join(file)) else { continue };
            fs::write(group.join(file), &value)?;
            fs::write(group.join(COMPONENTS).join(file), &value)?;
        }
    }
    Ok(())
}

/// Moves this process into the components' leaf, and with it all that it will start.
pub fn enter(name: &str) -> Result<()> {
    for hierarchy in hierarchies()? {
        let file = hierarchy.path.join(name).join(COMPONENTS).join("cgroup.procs");
        let moved = fs::write(&file, std::process::id().to_string());
        moved.with_context(|| format!("cannot move into {}", file.display()))?;
    }
    Ok(())
}

/// All processes in the cgroup, pods included, by their ids outside of the node.
pub fn processes(name: &str) -> Result<Vec<i32>> {
    let mut all = Vec::new();
    for group in groups(name)? {
        all.extend(numbers(&group.join("cgroup.procs")));
    }
    all.sort_unstable();
    all.dedup();
    Ok(all)
}

/// PID 1 of the node, by its id outside of it; none if the node does not run.
pub fn init(name: &str) -> Result<Option<i32>> {
    let first_inside = |pid: &i32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let ids = status.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap_or_default();
        ids.split_whitespace().count() == 2 && ids.split_whitespace().last() == Some("1")
    };
    let mut members = Vec::new();
    for hierarchy in hierarchies()? {
        members.extend(numbers(&hierarchy.path.join(name).join(COMPONENTS).join("cgroup.procs")));
    }
    Ok(members.into_iter().find(first_inside))
}

/// Ends every process in the cgroup and removes it from every hierarchy. Nothing happens if there is none.
pub fn remove(name: &str) -> Result<()> {
    // The kernel takes a while to end large processes and to forget cgroups.
    for _ in 0..600 {
        for pid in processes(name)? {
            // It may have ended by itself meanwhile.
            let _ended = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        let mut groups = groups(name)?;
        if groups.is_empty() {
            return Ok(());
        }
        // Innermost first; one that still has a process is tried again.
        groups.sort_by_key(|group| std::cmp::Reverse(group.as_os_str().len()));
        for group in groups {
            let _removed = fs::remove_dir(group);
        }
        sleep(Duration::from_millis(50));
    }
    bail!("processes of the cluster do not end: {:?}; their cgroups: {:?}", processes(name)?, groups(name)?)
}

/// Names of all clusters' cgroups on this machine.
pub fn clusters() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for hierarchy in hierarchies()? {
        let entries = fs::read_dir(&hierarchy.path)?.filter_map(Result::ok);
        let found = entries.filter_map(|entry| entry.file_name().into_string().ok());
        names.extend(found.filter(|name| name.starts_with(super::layout::CGROUP_PREFIX)));
    }
    names.sort();
    names.dedup();
    Ok(names)
}

/// The cgroup and all inside of it, in every hierarchy.
pub fn groups(name: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for hierarchy in hierarchies()? {
        collect(&hierarchy.path.join(name), &mut found);
    }
    Ok(found)
}

fn collect(group: &Path, found: &mut Vec<PathBuf>) {
    // A cgroup can vanish while it is read: then there is nothing to collect.
    let Ok(entries) = fs::read_dir(group) else { return };
    found.push(group.to_path_buf());
    for entry in entries.filter_map(Result::ok) {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect(&entry.path(), found);
        }
    }
}

fn numbers(file: &Path) -> Vec<i32> {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).filter(|pid| *pid > 0).collect()
}

/// On cgroup v2 a group's children have only the controllers that it hands down.
fn delegate(group: &Path) -> io::Result<()> {
    let controllers = fs::read_to_string(group.join("cgroup.controllers"))?;
    let wanted: Vec<String> = controllers.split_whitespace().map(|name| format!("+{name}")).collect();
    fs::write(group.join("cgroup.subtree_control"), wanted.join(" "))
}

#[derive(Debug, PartialEq, Eq)]
struct Hierarchy {
    path: PathBuf,
    unified: bool,
}

fn hierarchies() -> Result<Vec<Hierarchy>> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").context("cannot read the mounts")?;
    let found = parse_hierarchies(&mounts);
    if found.is_empty() {
        bail!("no cgroup file system is mounted; mount one at /sys/fs/cgroup");
    }
    Ok(found)
}

fn parse_hierarchies(mounts: &str) -> Vec<Hierarchy> {
    let of_type = |wanted: &str| -> Vec<PathBuf> {
        let with_type = mounts.lines().filter_map(|line| {
            let (before, after) = line.split_once(" - ")?;
            let path = before.split(' ').nth(4)?;
            (after.split(' ').next()? == wanted).then(|| PathBuf::from(path))
        });
        with_type.collect()
    };
    let classic = of_type("cgroup");
    if !classic.is_empty() {
        return classic.into_iter().map(|path| Hierarchy { path, unified: false }).collect();
    }
    of_type("cgroup2").into_iter().take(1).map(|path| Hierarchy { path, unified: true }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLASSIC: &str = "31 1 0:26 / /sys/fs/cgroup/cpu rw shared:9 - cgroup cgroup rw,cpu\n\
         32 1 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n\
         33 1 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";

    #[test]
    fn the_unified_hierarchy_counts_only_if_it_is_the_only_one() {
        let paths: Vec<PathBuf> = parse_hierarchies(CLASSIC).into_iter().map(|found| found.path).collect();
        assert_eq!(paths, [Path::new("/sys/fs/cgroup/cpu"), Path::new("/sys/fs/cgroup/memory")]);

        let modern =
            parse_hierarchies("30 23 0:26 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw,nsdelegate\n");
        assert_eq!(modern, [Hierarchy { path: "/sys/fs/cgroup".into(), unified: true }]);
    }
}
