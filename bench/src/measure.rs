//! The benchmarks, one section per module: in, settings; out, markdown tables on standard output.
//!
//! Nothing is asserted about times: machines differ, and what was measured is printed beside its target.

pub mod idle;
pub mod latency;
pub mod many_files;
pub mod paced;
pub mod senders;
pub mod stalled;
pub mod throughput;
pub mod write_cost;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use capstan_peers::certificates::{self, Certificates};
use capstan_peers::collector::{Collector, Settings, Store, Tls, Versions};
use tempfile::TempDir;

/// Longest time for anything to arrive.
pub const ARRIVAL_LIMIT: Duration = Duration::from_secs(120);

/// How much to measure.
#[derive(Debug, Clone)]
pub struct Extent {
    /// Lines of the large file.
    pub lines: u64,
    /// Rounds of each comparison; medians are printed.
    pub rounds: usize,
    /// Length of the runs that take a given time.
    pub seconds: u64,
}

/// Bytes in a line, LF included.
pub const LINE_BYTES: usize = 200;

/// A place for one section: a directory of its own and certificates.
pub struct Bench {
    directory: TempDir,
    certificates: Certificates,
}

impl Bench {
    /// An empty one, in the directory for temporary files.
    pub fn new() -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("capstan-bench-").tempdir()?;
        let certificates = certificates::create(directory.path())?;
        Ok(Self { directory, certificates })
    }

    /// A new directory below ours.
    pub fn subdirectory(&self, name: &str) -> Result<PathBuf> {
        let path = self.directory.path().join(name);
        std::fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(path)
    }

    /// PEM file of the authority that signed the receivers' certificate.
    pub fn ca(&self) -> &Path {
        &self.certificates.ca
    }

    /// A TLS 1.3 receiver in this process.
    pub fn receiver(&self, store: Store) -> Result<Collector> {
        let tls =
            Tls { identity: self.certificates.server.clone(), client_ca: None, versions: Versions::Only13 };
        Collector::start(Settings { tls: Some(tls), store, ..Settings::default() })
    }

    /// A file of numbered lines in a new directory of that name.
    pub fn large_file(&self, directory: &str, lines: u64) -> Result<PathBuf> {
        let path = self.subdirectory(directory)?.join("app.log");
        paced::write_numbered(&path, lines)?;
        Ok(path)
    }
}

/// The section of that name.
pub fn run(section: &str, extent: &Extent) -> Result<()> {
    match section {
        "throughput" => throughput::run(extent),
        "latency" => latency::run(extent),
        "write-cost" => write_cost::run(extent),
        "many-files" => many_files::run(extent),
        "idle" => idle::run(extent),
        "stalled" => stalled::run(extent),
        _ => bail!("no section is called {section}; there are {}", SECTIONS.join(", ")),
    }
}

/// All sections in the order of running.
pub const SECTIONS: [&str; 6] = ["throughput", "latency", "write-cost", "many-files", "idle", "stalled"];
