//! The threads of a running sidecar, and the order in which they begin, get other settings, and end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::forwarders::Forwarders;
use crate::forward::start::Shared;
use crate::forward::status::SharedStatus;
use crate::hub::Hub;
use crate::metrics::Metrics;
use crate::rotate::compressor::Compressor;
use crate::rotate::rotator::Rotator;
use crate::settings::Settings;
use crate::watch::watcher::Watcher;

/// For how long nothing must have been written before the last look.
const QUIET: Duration = Duration::from_millis(150);
/// How long the last look is put off at most: whoever is stopped late has two seconds in all.
const LONGEST: Duration = Duration::from_millis(700);
/// Between two looks at how much was written.
const PAUSE: Duration = Duration::from_millis(10);

/// Everything that runs.
pub struct Threads {
    watcher: JoinHandle<()>,
    rotator: JoinHandle<()>,
    compressor: JoinHandle<()>,
    /// The forwarders.
    pub forwarders: Forwarders,
    stop_watching: Arc<AtomicBool>,
    stop_rotating: Arc<AtomicBool>,
    hub: Arc<Hub>,
    metrics: Arc<Metrics>,
}

impl Threads {
    /// Starts what runs whatever the settings are, with these to begin with; forwarders follow with
    /// [`Threads::take_up`].
    ///
    /// # Errors
    ///
    /// A thread cannot be had.
    pub fn start(shared: Shared, settings: Arc<Settings>) -> std::io::Result<Threads> {
        let (hub, metrics) = (shared.hub.clone(), shared.metrics.clone());
        hub.set_settings(settings);
        let (stop_watching, stop_rotating) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
        let (jobs, compressor) = Compressor::new(hub.clone(), metrics.clone(), stop_rotating.clone());
        let compressor = spawn("compress", move || compressor.run())?;
        let rotator = Rotator::new(hub.clone(), metrics.clone(), shared.pod.clone(), jobs);
        let stop = stop_rotating.clone();
        let rotator = spawn("rotate", move || rotator.run(&stop))?;
        let watcher = Watcher::new(hub.clone(), metrics.clone());
        let stop = stop_watching.clone();
        let watcher = spawn("watch", move || watcher.run(&stop))?;
        let forwarders = Forwarders::new(shared);
        Ok(Threads { watcher, rotator, compressor, forwarders, stop_watching, stop_rotating, hub, metrics })
    }

    /// Other settings. Returns what is known of each destination.
    pub fn take_up(&mut self, settings: &Arc<Settings>) -> Vec<Arc<SharedStatus>> {
        // First the forwarders: one that ends takes no notice of streams that it loses, and has its last proof.
        let statuses = self.forwarders.take_up(settings);
        self.hub.set_settings(settings.clone());
        self.metrics.forget_gauges();
        statuses
    }

    /// The stop, in its order.
    pub fn shut_down(self, deadline: Instant) {
        self.stop_rotating.store(true, Ordering::Release);
        self.hub.rotator.wake();
        join("rotate", self.rotator);
        join("compress", self.compressor);
        await_quiet(&self.hub);
        // Only now: what the app wrote until here is seen by the last look.
        self.stop_watching.store(true, Ordering::Release);
        join("watch", self.watcher);
        seal_abandoned(&self.hub);
        self.forwarders.stop(deadline);
        for volume in self.hub.volumes() {
            volume.checkpoint();
        }
        tracing::info!("stopped");
    }
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(body)
}

/// An app that uses its whole grace period is killed in the moment in which we are asked to stop, and writes until then.
/// So the last look waits until nothing is written any more, but not for an app that goes on.
fn await_quiet(hub: &Hub) {
    let begin = Instant::now();
    let (mut written, mut since) = (written(hub), begin);
    while since.elapsed() < QUIET && begin.elapsed() < LONGEST {
        std::thread::sleep(PAUSE);
        let now = self::written(hub);
        if now != written {
            (written, since) = (now, Instant::now());
        }
    }
}

/// Bytes of all live files together.
fn written(hub: &Hub) -> u64 {
    let volumes = hub.volumes();
    let streams = volumes.iter().flat_map(|volume| volume.streams());
    streams.filter_map(|(_, _, stream)| stream.live().map(|live| live.length)).sum()
}

/// A last line without its newline is only sent when nobody can complete it any more. If the app is gone, that
/// is now; a file that it wrote to the end may never be looked at again.
fn seal_abandoned(hub: &Hub) {
    for volume in hub.volumes() {
        crate::rotate::rotator::finish_unheld(&volume);
    }
}

fn join(name: &str, thread: JoinHandle<()>) {
    if thread.join().is_err() {
        tracing::error!(thread = name, "a thread has panicked");
    }
}
