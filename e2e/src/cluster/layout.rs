//! Where everything of one cluster is. In: the cluster's folder; out: paths and names.
//!
//! The folder is the cluster's identity: two checkouts have two folders, hence two cgroups, and each cluster has its
//! own namespaces, so they cannot meet. Inside the node the folder is always at `INSIDE`, whatever it is called
//! outside, and `/run`, `/var/lib` and `/var/log` are its own, so all components run with their usual paths.

use std::path::{Path, PathBuf};

/// Where the cluster's folder is mounted inside the node.
pub const INSIDE: &str = "/run/capstan";

/// The address of the node, its API server and its DNS, inside the node.
pub const NODE_IP: &str = "10.99.0.1";

/// The only node's name.
pub const NODE_NAME: &str = "node1";

/// The paths and names of one cluster.
#[derive(Debug, Clone)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    /// The cluster in the folder `root`, which need not exist but has to be absolute.
    pub fn new(root: PathBuf) -> Layout {
        Layout { root }
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The cgroup's name, at the top of every hierarchy.
    pub fn cgroup(&self) -> String {
        let digest = super::recipe::hex_digest(self.root.as_os_str().as_encoded_bytes());
        format!("{CGROUP_PREFIX}{}", &digest[..8])
    }

    /// Programs of the node, and `kubectl` and `helm` for the user.
    pub fn bin(&self) -> PathBuf {
        self.root.join("bin")
    }

    /// Configuration files of the components.
    pub fn etc(&self) -> PathBuf {
        self.root.join("etc")
    }

    /// Keys, certificates and the components' kubeconfigs.
    pub fn pki(&self) -> PathBuf {
        self.root.join("pki")
    }

    /// The node's `/var/log`: one file per component, the audit log, and the pods' logs.
    pub fn log(&self) -> PathBuf {
        self.root.join("log")
    }

    /// The node's `/var/lib`.
    pub fn lib(&self) -> PathBuf {
        self.root.join("lib")
    }

    /// What PID 1 of the node starts.
    pub fn plan(&self) -> PathBuf {
        self.root.join("plan.json")
    }

    /// What PID 1 says is running.
    pub fn running(&self) -> PathBuf {
        self.root.join("running.json")
    }

    /// The administrator's kubeconfig, which works from the machine.
    pub fn kubeconfig(&self) -> PathBuf {
        self.root.join("kubeconfig")
    }

    /// One line per request that the API server answered, JSON.
    pub fn audit_log(&self) -> PathBuf {
        self.log().join("audit.log")
    }
}

/// What the names of all clusters' cgroups begin with.
pub const CGROUP_PREFIX: &str = "capstan-cluster-";

/// The folder `e2e/cluster` of the checkout that this program was built from.
pub fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("cluster")
}

/// The checkout that this program was built from.
pub fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("/")).to_path_buf()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_folders_have_two_cgroups_and_one_folder_always_the_same() {
        let one = Layout::new("/a/.cluster".into()).cgroup();
        assert_eq!(one, Layout::new("/a/.cluster".into()).cgroup());
        assert_ne!(one, Layout::new("/b/.cluster".into()).cgroup());
        assert_eq!(one.len(), CGROUP_PREFIX.len() + 8);
    }
}
