//! How often things are done, by all scopes together: many namespaces are no reason to ask for more.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::Settings;
use crate::feedback::schedule;
use crate::pods::limiter::Limiter;

/// Events per second.
const EVENTS_PER_SECOND: f64 = 20.0;

/// A limiter for many.
#[derive(Debug)]
pub struct Rate(Mutex<Limiter>);

impl Rate {
    fn new(per_second: f64) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Limiter::new(per_second, Instant::now()))))
    }

    /// Waits for its turn.
    pub async fn turn(&self) {
        let wait = self.0.lock().unwrap_or_else(PoisonError::into_inner).take(Instant::now());
        tokio::time::sleep(wait).await;
    }
}

/// All that is limited.
#[derive(Clone, Debug)]
pub struct Rates {
    /// Pods that are told their configuration; `None` leaves it to kubelet.
    pub pushes: Option<Arc<Rate>>,
    /// Events.
    pub events: Arc<Rate>,
    /// Sidecars that are asked.
    pub questions: Arc<Rate>,
}

impl Rates {
    /// What is set, and what is fixed.
    pub fn new(settings: &Settings) -> Self {
        Self {
            pushes: settings.pushes_per_second.map(Rate::new),
            events: Rate::new(EVENTS_PER_SECOND),
            questions: Rate::new(schedule::ALL_PER_SECOND),
        }
    }
}
