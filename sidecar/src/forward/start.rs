//! From a destination's settings to its running thread.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use capstan_config as config;

use super::connection::{Deadlines, Security, Target};
use super::dial::Dialer;
use super::ending::Stop;
use super::forwarder::Forwarder;
use super::heads::Heads;
use super::queue::Queue;
use super::rolling::Limits;
use super::status::SharedStatus;
use super::tls::certificate::Fingerprint;
use super::tls::{ClientCertificate, TlsSettings, TlsVersion, Trust};
use super::track::Wire;
use crate::hub::{Hub, Inbox};
use crate::metrics::Metrics;
use crate::pod::Pod;
use crate::settings::DestinationSettings;
use crate::syslog::frame::Framing;

/// What a destination's thread shares with the rest of the process.
pub struct Shared {
    /// The volumes.
    pub hub: Arc<Hub>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// HOSTNAME of logs that name none.
    pub hostname: String,
    /// What is known of the pod.
    pub pod: Arc<Pod>,
}

/// Why a destination cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Threads or runtimes cannot be had.
    #[error("destination {destination}: {source}")]
    Thread {
        /// The destination.
        destination: String,
        /// What the kernel said.
        source: std::io::Error,
    },
}

/// Starts the thread of one destination.
pub fn start(
    settings: Arc<DestinationSettings>,
    shared: &Shared,
    stop: Stop,
    status: Arc<SharedStatus>,
) -> Result<JoinHandle<()>, StartError> {
    let failed = |source| StartError::Thread { destination: settings.key.clone(), source };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let inbox = Arc::new(Inbox::default());
    shared.hub.add_forwarder(inbox.clone());
    let (hub, metrics) = (shared.hub.clone(), shared.metrics.clone());
    let hostname = shared.hostname.clone();
    let pod = shared.pod.clone();
    let name = settings.key.clone();
    std::thread::Builder::new()
        .name(format!("forward {name}"))
        .spawn(move || {
            let heads = Heads::new(settings.clone(), hostname, pod);
            let syslog = &settings.destination.syslog;
            let wire = wire(syslog);
            let margin = syslog.delivery.replay_margin;
            let queue = Queue::new(
                settings.key.clone(),
                (hub.clone(), inbox.clone()),
                metrics.clone(),
                heads,
                wire,
                margin,
            );
            let forwarder = Forwarder {
                queue,
                dialer: dialer(syslog),
                limits: limits(&syslog.delivery),
                close_timeout: syslog.delivery.close_timeout,
                inbox: inbox.clone(),
                stop,
                status,
                metrics,
                name: settings.key.clone(),
                unanswered: 0,
                ahead_after: Instant::now(),
                unwatched: false,
            };
            runtime.block_on(forwarder.run());
            hub.remove_forwarder(&inbox);
            // A name look-up that hangs must not hold up the stop.
            runtime.shutdown_background();
        })
        .map_err(|source| StartError::Thread { destination: name, source })
}

fn wire(syslog: &config::Syslog) -> Wire {
    let framing = match syslog.framing {
        config::Framing::OctetCounting => Framing::OctetCounting,
        config::Framing::LineFeed => Framing::LineFeed,
        config::Framing::Nul => Framing::Nul,
    };
    Wire { framing, max_message: usize::try_from(syslog.max_message.bytes()).unwrap_or(usize::MAX) }
}

fn limits(delivery: &config::Delivery) -> Limits {
    Limits { bytes: delivery.roll_bytes.bytes(), age: delivery.roll_age, idle: delivery.roll_idle }
}

fn dialer(syslog: &config::Syslog) -> Dialer {
    let security = syslog.tls.as_ref().map_or(Security::Plain, |tls| Security::Tls(tls_settings(tls)));
    let target = |endpoint: &config::Endpoint| Target {
        host: endpoint.host.clone(),
        port: endpoint.port,
        security: security.clone(),
    };
    let deadlines = Deadlines {
        connect: syslog.delivery.connect_timeout,
        handshake: syslog.delivery.handshake_timeout,
        write: syslog.delivery.write_timeout,
    };
    Dialer::new(syslog.endpoints.iter().map(target).collect(), deadlines)
}

fn tls_settings(tls: &config::Tls) -> TlsSettings {
    // The configuration's fingerprints were checked when it was parsed, in the same notation.
    let fingerprints: Vec<Fingerprint> =
        tls.fingerprints.iter().filter_map(|fingerprint| fingerprint.to_string().parse().ok()).collect();
    let trust = match &tls.ca_file {
        _ if !fingerprints.is_empty() => Trust::Fingerprints(fingerprints),
        Some(file) => Trust::CaFile(file.as_path().to_owned()),
        None => Trust::PublicRoots,
    };
    let client = tls.client_certificate.as_ref().map(|client| ClientCertificate {
        certificate: client.certificate_file.as_path().to_owned(),
        key: client.key_file.as_path().to_owned(),
    });
    let min_version = match tls.min_version {
        config::TlsVersion::Tls12 => TlsVersion::V1_2,
        config::TlsVersion::Tls13 => TlsVersion::V1_3,
    };
    TlsSettings { trust, client, server_name: tls.server_name.clone(), min_version }
}
