//! What of a cluster is left on the machine. In: the cluster's folder and, if there is one, a picture of the machine
//! from before; out: a list of what should not be there, empty if `down` kept its word.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::cgroups;
use super::layout::{INSIDE, Layout};

/// Settings of the machine that some component of a cluster writes.
const SETTINGS: [&str; 12] = [
    "kernel/hostname",
    "kernel/keys/root_maxbytes",
    "kernel/keys/root_maxkeys",
    "kernel/panic",
    "kernel/panic_on_oops",
    "net/bridge/bridge-nf-call-iptables",
    "net/ipv4/conf/all/route_localnet",
    "net/ipv4/ip_forward",
    "net/ipv4/ip_local_reserved_ports",
    "net/netfilter/nf_conntrack_max",
    "vm/overcommit_memory",
    "vm/panic_on_oom",
];

/// What a cluster could change on a machine, and nothing that changes by itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Picture {
    /// Mount points, with what is mounted there.
    pub mounts: Vec<String>,
    /// Network interfaces.
    pub interfaces: Vec<String>,
    /// Addresses and routes, as the kernel lists them.
    pub routes: Vec<String>,
    /// Kernel settings with their values.
    pub settings: Vec<String>,
}

/// The machine as it is now.
pub fn picture() -> Result<Picture> {
    let lines = |path: &str, columns: fn(&str) -> String| -> Vec<String> {
        let text = fs::read_to_string(path).unwrap_or_default();
        let mut lines: Vec<String> = text.lines().map(columns).collect();
        lines.sort();
        lines
    };
    let mut interfaces: Vec<String> = Vec::new();
    for entry in fs::read_dir("/sys/class/net").context("cannot list interfaces")? {
        interfaces.push(entry?.file_name().to_string_lossy().into_owned());
    }
    interfaces.sort();
    let value = |name: &&str| {
        let value = fs::read_to_string(format!("/proc/sys/{name}")).unwrap_or_default();
        format!("{name} = {}", value.trim())
    };
    Ok(Picture {
        mounts: lines("/proc/self/mounts", |line| line.split(' ').take(3).collect::<Vec<_>>().join(" ")),
        interfaces,
        routes: lines("/proc/self/net/fib_trie", str::to_owned),
        settings: SETTINGS.iter().map(value).collect(),
    })
}

/// Everything that should not be there.
pub fn remains(layout: &Layout, before: Option<&Picture>) -> Result<Vec<String>> {
    let mut found = Vec::new();
    if layout.root().exists() {
        found.push(format!("folder {}", layout.root().display()));
    }
    found
        .extend(cgroups::groups(&layout.cgroup())?.iter().map(|group| format!("cgroup {}", group.display())));
    found.extend(processes(layout.root(), &layout.cgroup())?);
    if let Some(before) = before {
        found.extend(differences(before, &picture()?));
    }
    Ok(found)
}

/// Processes that are in the cgroup, run a program of the cluster's folder, or see its folder mounted.
fn processes(root: &Path, cgroup: &str) -> Result<Vec<String>> {
    let root = root.to_string_lossy();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")?.filter_map(Result::ok) {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.bytes().all(|byte| byte.is_ascii_digit()) {
            continue;
        }
        // It may end while it is looked at: then it is not left.
        let read = |file: &str| fs::read_to_string(entry.path().join(file)).unwrap_or_default();
        let program = fs::read_link(entry.path().join("exe")).unwrap_or_default();
        let ours = program.to_string_lossy().starts_with(&*root)
            || read("cgroup").contains(cgroup)
            || read("mountinfo").lines().any(|line| mounts(line, &root));
        if ours {
            found.push(format!("process {name} {}", read("cmdline").replace('\0', " ").trim()));
        }
    }
    Ok(found)
}

/// Whether the line of a mountinfo file says that the folder `root` is mounted in a node. The line tells the folder
/// as it is called on its own file system, and marks one that was deleted.
fn mounts(line: &str, root: &str) -> bool {
    let mut columns = line.split(' ').skip(3);
    let (Some(folder), Some(at)) = (columns.next(), columns.next()) else { return false };
    at == INSIDE && root.ends_with(folder.trim_end_matches("//deleted"))
}

/// What came and what went, by kind.
fn differences(before: &Picture, after: &Picture) -> Vec<String> {
    let kinds = [
        ("mount", &before.mounts, &after.mounts),
        ("interface", &before.interfaces, &after.interfaces),
        ("route", &before.routes, &after.routes),
        ("setting", &before.settings, &after.settings),
    ];
    let mut found = Vec::new();
    for (kind, before, after) in kinds {
        found.extend(
            after.iter().filter(|line| !before.contains(line)).map(|line| format!("new {kind} {line}")),
        );
        found.extend(
            before.iter().filter(|line| !after.contains(line)).map(|line| format!("lost {kind} {line}")),
        );
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_and_what_went_are_both_told() {
        let one = |text: &str| vec![text.to_owned()];
        let before = Picture { interfaces: one("lo"), settings: one("vm/x = 0"), ..Picture::default() };
        let after = Picture {
            interfaces: vec!["cni0".into(), "lo".into()],
            settings: one("vm/x = 1"),
            ..Picture::default()
        };
        let found = differences(&before, &after);
        assert_eq!(found, ["new interface cni0", "new setting vm/x = 1", "lost setting vm/x = 0"]);
        assert!(differences(&after, &after).is_empty());
    }

    #[test]
    fn a_node_of_another_folder_is_not_ours() {
        let line = "90 70 254:0 /src/one/.cluster /run/capstan rw,relatime - ext4 /dev/vda rw";
        assert!(mounts(line, "/src/one/.cluster") && mounts(line, "/home/src/one/.cluster"));
        assert!(!mounts(line, "/src/two/.cluster"));
        assert!(mounts(&line.replace(".cluster", ".cluster//deleted"), "/src/one/.cluster"));
        assert!(!mounts("90 70 254:0 / / rw - ext4 /dev/vda rw", "/src/one/.cluster"));
    }

    #[test]
    fn this_machine_has_a_loopback_interface_and_mounts() {
        let picture = picture().unwrap();
        assert!(picture.interfaces.contains(&"lo".to_owned()));
        assert!(!picture.mounts.is_empty() && !picture.settings.is_empty());
    }
}
