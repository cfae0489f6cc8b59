//! Where a test takes place.

use std::path::{Path, PathBuf};

use capstan_peers::certificates::{self, Certificates, Identity};
use capstan_peers::collector::{Collector, Settings, Tls, Versions};
use serde_json::Value;

use super::config::{Destination, config};
use super::sidecar::Sidecar;

/// A temporary directory with certificates, and a directory for logs in it.
pub struct Scene {
    pub certificates: Certificates,
    root: tempfile::TempDir,
}

impl Scene {
    pub fn new() -> Scene {
        let root = tempfile::tempdir().unwrap();
        let made = root.path().join("certificates");
        std::fs::create_dir(&made).unwrap();
        std::fs::create_dir(root.path().join("logs")).unwrap();
        Scene { certificates: certificates::create(&made).unwrap(), root }
    }

    /// A directory for something else.
    pub fn directory(&self, name: &str) -> PathBuf {
        let path = self.root.path().join(name);
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// A log's path.
    pub fn log(&self, name: &str) -> PathBuf {
        self.root.path().join("logs").join(name)
    }

    /// A receiver with TLS and the good certificate.
    pub fn collector(&self, settings: Settings) -> Collector {
        self.collector_of(settings, Versions::Both)
    }

    /// The same with certain versions of TLS.
    pub fn collector_of(&self, settings: Settings, versions: Versions) -> Collector {
        Collector::start(Settings { tls: Some(self.tls(&self.certificates.server, versions)), ..settings })
            .unwrap()
    }

    /// The receiver's side of TLS.
    pub fn tls(&self, identity: &Identity, versions: Versions) -> Tls {
        Tls { identity: identity.clone(), client_ca: None, versions }
    }

    /// A destination for a receiver of this scene.
    pub fn destination(&self, name: &str, port: u16) -> Destination {
        Destination::tls(name, port, &self.certificates)
    }

    /// The sidecar, with this configuration.
    pub fn sidecar(&self, logs: Vec<Value>, destinations: Vec<Destination>) -> Sidecar {
        let sidecar = Sidecar::new(self.root.path());
        sidecar.write_config(&config(logs, destinations));
        sidecar.started()
    }
}
