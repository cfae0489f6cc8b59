//! One destination's thread: fills the connection from the queue, rolls connections, and acts on what they prove.
//!
//! The files are read here too, with plain reads that come from the page cache: a slow disk or receiver holds up
//! its own destination only. In `select!` only cancel-safe futures stand; what has been sent so far is kept in
//! the queue and the connection, never in a future.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::{sleep, sleep_until};

use super::ahead::{Ahead, Dialled, News, next_ahead};
use super::connection::{Broken, ConnectError, Connection};
use super::dial::Dialer;
use super::ending::Stop;
use super::queue::Queue;
use super::rolling::{Limits, Roll, Situation, decide};
use super::status::SharedStatus;
use crate::hub::Inbox;
use crate::metrics::Metrics;

/// How many closes without an answer, in a row and with everything acked, until acked is taken for proof.
pub(super) const UNANSWERED_CLOSES: u32 = 3;

/// How long a receiver that has never answered a close is waited for at the next ones.
pub(super) const SHORT_CLOSE: Duration = Duration::from_secs(1);

/// So much may wait to be written while the next lines are read.
const BACKLOG: usize = 64 * 1024;

/// One destination's forwarder.
pub struct Forwarder {
    /// What to send.
    pub queue: Queue,
    /// Opens connections.
    pub dialer: Dialer,
    /// When to roll them.
    pub limits: Limits,
    /// How long to wait for the answer to a close.
    pub close_timeout: Duration,
    /// Told when there is more to send.
    pub inbox: Arc<Inbox>,
    /// Asked to stop.
    pub stop: Stop,
    /// What others see of it.
    pub status: Arc<SharedStatus>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// The destination's name.
    pub name: String,
    /// Closes in a row that were not answered.
    pub unanswered: u32,
    /// Before this moment no connection is opened ahead: the last attempt failed.
    pub ahead_after: Instant,
    /// Whether no connection has been open since the last confirmation: the receiver's end would not have been seen.
    pub unwatched: bool,
}

/// Why a session of connections ended.
enum Ended {
    /// Another connection is needed, without haste.
    Reconnect,
    /// Stopping, and everything is confirmed.
    Stopped,
}

impl Forwarder {
    /// Sends until drained.
    pub(super) async fn forward(&mut self) {
        loop {
            self.refresh();
            if self.is_drained() {
                return;
            }
            let Some(connection) = self.connect().await else { return };
            match self.session(connection).await {
                Ended::Stopped => return,
                Ended::Reconnect => {}
            }
        }
    }

    /// Connects, however long it takes. None: there is nothing left to do.
    async fn connect(&mut self) -> Option<Connection> {
        loop {
            let delay = self.dialer.delay(random());
            if !delay.is_zero() {
                tokio::select! {
                    () = sleep(delay) => {}
                    _ = self.stop.changed() => {}
                }
            }
            self.refresh();
            if self.is_drained() {
                return None;
            }
            match self.dial().await? {
                Ok(connection) => {
                    self.unwatched = false;
                    self.connected(&connection);
                    return Some(connection);
                }
                Err(error) => self.connect_failed(&error),
            }
        }
    }

    /// Dials once. None: asked to stop meanwhile, and there is nothing left to do.
    async fn dial(&mut self) -> Option<Result<Connection, ConnectError>> {
        let mut dial = std::pin::pin!(self.dialer.dial(Instant::now()));
        loop {
            tokio::select! {
                result = &mut dial => return Some(result),
                _ = self.stop.changed() => {
                    self.refresh();
                    if self.is_drained() {
                        return None;
                    }
                }
            }
        }
    }

    fn connected(&mut self, connection: &Connection) {
        self.queue.renew_heads();
        let mut status = self.status.lock();
        status.connected = true;
        status.connects += 1;
        status.endpoint = Some(connection.peer().to_string());
        drop(status);
        self.metrics.connected(&self.name, "ok");
    }

    fn connect_failed(&mut self, error: &ConnectError) {
        self.status.lock().connect_failures += 1;
        self.status.failed(&error.to_string());
        self.metrics.connected(&self.name, error.reason());
        self.dialer.failed(Instant::now());
        tracing::warn!(destination = self.name, %error, "cannot connect");
        self.replay_unwatched();
    }

    /// Sends over one connection after the other, until one breaks or no next one can be had.
    async fn session(&mut self, connection: Connection) -> Ended {
        let mut current = connection;
        let mut opened = Instant::now();
        let mut ahead = Ahead::None;
        let mut out = Vec::new();
        loop {
            if let Err(broken) = self.send(&mut current, &mut out).await {
                self.broke(&broken, opened);
                return self.take_up(ahead);
            }
            let now = Instant::now();
            let roll = decide(&self.situation(), &self.limits, now);
            if self.is_drained() {
                let _proof_of_nothing = current.close(self.close_timeout).await;
                return Ended::Stopped;
            }
            match (roll, &ahead) {
                (Roll::Close, _) | (Roll::OpenAhead, Ahead::Ready(_)) => {
                    let confirmed = self.close_for_proof(current, opened).await;
                    let next = std::mem::replace(&mut ahead, Ahead::None);
                    match next {
                        Ahead::Ready(connection) if confirmed => {
                            current = *connection;
                            opened = Instant::now();
                            self.connected(&current);
                            continue;
                        }
                        next => {
                            self.unwatched = confirmed;
                            return self.take_up(next);
                        }
                    }
                }
                (Roll::OpenAhead, Ahead::None) if self.is_stopping() => {
                    // Nothing comes after this connection, unless it proves nothing.
                    self.close_for_proof(current, opened).await;
                    return Ended::Reconnect;
                }
                (Roll::OpenAhead, Ahead::None) if now >= self.ahead_after => {
                    ahead = Ahead::Opening(tokio::spawn(self.dialer.dial(now)));
                }
                _ => {}
            }
            if let Err(broken) = self.wait(&mut current, &mut ahead, roll).await {
                self.broke(&broken, opened);
                return self.take_up(ahead);
            }
        }
    }

    /// A connection that was opened ahead of one that broke is not used: the receiver may have gone between. It
    /// costs little to open another.
    fn take_up(&mut self, ahead: Ahead) -> Ended {
        if let Ahead::Opening(task) = ahead {
            task.abort();
        }
        self.status.lock().connected = false;
        Ended::Reconnect
    }

    /// Sends until nothing is left, at most for a moment, so that rolling and stopping are looked at.
    async fn send(&mut self, connection: &mut Connection, out: &mut Vec<u8>) -> Result<(), Broken> {
        for _ in 0..16 {
            let now = Instant::now();
            self.refresh();
            out.clear();
            if !self.reads_on() || !self.queue.fill(out, now) {
                break;
            }
            let mut rest = &out[..];
            loop {
                rest = &rest[connection.push(rest)..];
                connection.drive(BACKLOG).await?;
                if rest.is_empty() {
                    break;
                }
            }
        }
        if self.is_caught_up() {
            connection.flush().await?;
        }
        self.status.lock().unconfirmed_bytes = self.queue.unconfirmed_bytes();
        Ok(())
    }

    fn situation(&self) -> Situation {
        Situation {
            bytes: self.queue.unconfirmed_bytes(),
            oldest: self.queue.oldest(),
            last_sent: self.queue.last_sent(),
            caught_up: self.is_caught_up(),
            awaited: self.is_stopping() || self.queue.is_proof_awaited() || self.is_hurried(),
        }
    }

    /// Waits for news: more to send, a connection opened ahead, the time to roll, the wish to stop, or the peer.
    async fn wait(&mut self, current: &mut Connection, ahead: &mut Ahead, roll: Roll) -> Result<(), Broken> {
        if !self.is_caught_up() {
            // More is to be sent; only see whether the next connection is there.
            if let Ahead::Opening(task) = ahead
                && task.is_finished()
            {
                *ahead = self.opened(task.await);
            }
            return Ok(());
        }
        let look_again = match roll {
            Roll::Keep(Some(at)) => at,
            Roll::Keep(None) => Instant::now() + Duration::from_secs(60),
            Roll::OpenAhead | Roll::Close => Instant::now() + Duration::from_secs(1),
        };
        let look_again = self.queue.retry_at().map_or(look_again, |at| at.min(look_again));
        tokio::select! {
            broken = current.watch() => return Err(broken),
            () = self.inbox.notify.notified() => {}
            () = sleep_until(look_again.into()) => {}
            _ = self.stop.changed() => {}
            news = next_ahead(ahead) => match news {
                News::Opened(result) => *ahead = self.opened(result),
                News::Broken => *ahead = Ahead::None,
            }
        }
        Ok(())
    }

    fn opened(&mut self, result: Dialled) -> Ahead {
        match result {
            Ok(Ok(connection)) => Ahead::Ready(Box::new(connection)),
            Ok(Err(error)) => {
                self.connect_failed(&error);
                self.ahead_after = Instant::now() + self.dialer.delay(random());
                Ahead::None
            }
            Err(_cancelled) => Ahead::None,
        }
    }
}

/// A random number; the standard library's hasher is seeded by the system.
fn random() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}
