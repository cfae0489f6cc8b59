//! A syslog receiver that appends each message to a file and prints the port it listens on.
//!
//! It ends with the process that started it, so that nothing is left over from a test that was killed.

use std::io::Write;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Result, bail};
use capstan_peers::certificates::Identity;
use capstan_peers::collector::{Collector, Settings, Store, Tls, Versions};
use clap::Parser;

/// Receives syslog over TCP or TLS on 127.0.0.1 and prints its port.
#[derive(Parser)]
struct Arguments {
    /// Port to listen on; a free one if absent
    #[arg(long)]
    port: Option<u16>,
    /// Append each message, followed by LF, to this file; only count if absent
    #[arg(long)]
    output: Option<PathBuf>,
    /// PEM file with the certificate; plain TCP if absent
    #[arg(long, requires = "key")]
    certificate: Option<PathBuf>,
    /// PEM file with the private key
    #[arg(long, requires = "certificate")]
    key: Option<PathBuf>,
    /// Clients must show a certificate of this CA (PEM file)
    #[arg(long, requires = "certificate")]
    client_ca: Option<PathBuf>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let store = arguments.output.clone().map_or(Store::Discard, Store::File);
    if let Store::File(path) = &store {
        // Readers may look for it before the first message.
        std::fs::OpenOptions::new().create(true).append(true).open(path)?;
    }
    let parent = rustix::process::getppid();
    let settings = Settings { port: arguments.port, tls: tls(&arguments)?, store, ..Settings::default() };
    let collector = Collector::start(settings)?;
    let mut out = std::io::stdout();
    writeln!(out, "{}", collector.port())?;
    out.flush()?;
    while rustix::process::getppid() == parent {
        sleep(Duration::from_millis(50));
    }
    Ok(())
}

fn tls(arguments: &Arguments) -> Result<Option<Tls>> {
    match (&arguments.certificate, &arguments.key) {
        (Some(certificate), Some(key)) => Ok(Some(Tls {
            identity: Identity { certificate: certificate.clone(), key: key.clone() },
            client_ca: arguments.client_ca.clone(),
            versions: Versions::Both,
        })),
        (None, None) => Ok(None),
        _ => bail!("a certificate needs a key"),
    }
}
