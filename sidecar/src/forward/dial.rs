//! Opens connections: which endpoint next, after which delay, with which settings.

use std::time::{Duration, Instant};

use super::backoff::Backoff;

use super::connection::{ConnectError, Connection, Deadlines, Target};
use super::endpoint::{Endpoints, Next};

/// A connection that ended sooner than this is not followed by another without a delay. Receivers that close what is
/// idle, and be it after seconds, are called again at once, so that the next line finds a connection.
const SHORT: Duration = Duration::from_secs(1);

/// Opens the connections of one destination.
#[derive(Debug)]
pub struct Dialer {
    targets: Vec<Target>,
    deadlines: Deadlines,
    endpoints: Endpoints,
    backoff: Backoff,
    /// Whether to wait before the next attempt.
    wait: bool,
}

impl Dialer {
    /// The endpoints in the order in which they are tried.
    pub fn new(targets: Vec<Target>, deadlines: Deadlines) -> Dialer {
        let endpoints = Endpoints::new(targets.len());
        Dialer { targets, deadlines, endpoints, backoff: Backoff::default(), wait: false }
    }

    /// How long to wait before the next attempt. `random` is uniform over all numbers.
    pub fn delay(&mut self, random: u64) -> Duration {
        if std::mem::take(&mut self.wait) { self.backoff.next_delay(random) } else { Duration::ZERO }
    }

    /// Connects to the endpoint whose turn it is. The future holds nothing of ours: it can be spawned or dropped.
    pub fn dial(
        &mut self,
        now: Instant,
    ) -> impl Future<Output = Result<Connection, ConnectError>> + Send + use<> {
        let index = self.endpoints.for_next_connection(now);
        let target = self.targets.get(index).cloned();
        let deadlines = self.deadlines;
        async move {
            match target {
                Some(target) => Connection::open(&target, &deadlines).await,
                // A configuration without endpoints does not parse.
                None => std::future::pending().await,
            }
        }
    }

    /// An attempt failed.
    pub fn failed(&mut self, now: Instant) {
        self.wait = self.endpoints.failed(now) == Next::Wait;
    }

    /// A connection proved itself.
    pub fn proved(&mut self, lasted: Duration) {
        self.backoff.connection_ended(true, lasted);
        self.endpoints.proved();
        self.wait = false;
    }

    /// A connection ended without proof. If `at_stake`, something will be sent again, and not without a delay.
    pub fn ended(&mut self, now: Instant, lasted: Duration, at_stake: bool) {
        self.backoff.connection_ended(false, lasted);
        if at_stake || lasted < SHORT {
            self.failed(now);
        }
    }
}
