//! The forwarders that run: one per destination, and which of them end and begin when the settings change.
//!
//! What always holds: a destination whose settings are the very same value as before is not touched; one with other
//! settings is begun again only when its old forwarder has ended, so that nothing is sent on two ways at once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::forward::ending::Ending;
use crate::forward::start::{Shared, start};
use crate::forward::status::SharedStatus;
use crate::settings::{DestinationSettings, Settings};

/// How long a forwarder whose destination changed may take for the proof of what it has sent. The new settings wait for
/// it; what is not proved by then is sent again.
const LAST_PROOF: Duration = Duration::from_secs(5);

/// One that runs, or is ending.
struct Running {
    settings: Arc<DestinationSettings>,
    stop: watch::Sender<Option<Ending>>,
    thread: JoinHandle<()>,
}

/// All forwarders.
pub struct Forwarders {
    shared: Shared,
    wanted: Arc<Settings>,
    running: BTreeMap<String, Running>,
    statuses: BTreeMap<String, Arc<SharedStatus>>,
}

impl Forwarders {
    /// None yet.
    pub fn new(shared: Shared) -> Forwarders {
        Forwarders { shared, wanted: Arc::default(), running: BTreeMap::new(), statuses: BTreeMap::new() }
    }

    /// Ends those whose destination is gone or has other settings. Returns what is known of each destination, in the
    /// order of the settings.
    pub fn take_up(&mut self, settings: &Arc<Settings>) -> Vec<Arc<SharedStatus>> {
        self.wanted = settings.clone();
        let ending = Ending { deadline: Instant::now() + LAST_PROOF, reads_on: false };
        for (key, running) in &self.running {
            let stays = self.wanted_as(key).is_some_and(|now| Arc::ptr_eq(now, &running.settings));
            if !stays && running.stop.borrow().is_none() {
                running.stop.send_replace(Some(ending));
            }
        }
        self.statuses.retain(|key, _| settings.destinations.iter().any(|wanted| wanted.key == *key));
        let keys = settings.destinations.iter().map(|wanted| wanted.key.clone());
        let statuses = keys.map(|key| self.statuses.entry(key).or_default().clone()).collect();
        self.tend();
        statuses
    }

    /// Begins what is wanted and does not run.
    pub fn tend(&mut self) {
        let ended: Vec<String> = self
            .running
            .iter()
            .filter(|(_, running)| running.thread.is_finished())
            .map(|(key, _)| key.clone())
            .collect();
        for key in ended {
            if let Some(running) = self.running.remove(&key) {
                join(&key, running.thread);
            }
        }
        for settings in &self.wanted.destinations {
            if self.running.contains_key(&settings.key) {
                continue;
            }
            let status = self.statuses.entry(settings.key.clone()).or_default().clone();
            status.begin();
            let (stop, asked) = watch::channel(None);
            match start(settings.clone(), &self.shared, asked, status) {
                Ok(thread) => {
                    let running = Running { settings: settings.clone(), stop, thread };
                    self.running.insert(settings.key.clone(), running);
                }
                Err(error) => tracing::error!(%error, "cannot start; trying again"),
            }
        }
    }

    /// Whether anything was sent that is not confirmed.
    pub fn is_waiting(&self) -> bool {
        self.statuses.values().any(|status| status.lock().unconfirmed_bytes > 0)
    }

    fn wanted_as(&self, key: &str) -> Option<&Arc<DestinationSettings>> {
        self.wanted.destinations.iter().find(|wanted| wanted.key == key)
    }

    /// Lets all read to the end and close for proof, until `deadline`.
    pub fn stop(self, deadline: Instant) {
        for running in self.running.values() {
            running.stop.send_if_modified(|asked| {
                let first = asked.is_none();
                asked.get_or_insert(Ending { deadline, reads_on: true });
                first
            });
        }
        self.shared.hub.wake_forwarders();
        for (key, running) in self.running {
            join(&key, running.thread);
        }
    }
}

fn join(destination: &str, thread: JoinHandle<()>) {
    if thread.join().is_err() {
        tracing::error!(destination, "a forwarder has panicked");
    }
}
