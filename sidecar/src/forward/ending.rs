//! How a forwarder ends: with the process, when everything that the app wrote is to be sent before; or because its
//! destination is gone or has other settings, when only what was sent is to be proved. Either within a deadline.

use std::sync::atomic::Ordering;
use std::time::Instant;

use tokio::sync::watch;
use tokio::time::sleep_until;

use super::forwarder::Forwarder;

/// How a forwarder is asked to end.
#[derive(Clone, Copy, Debug)]
pub struct Ending {
    /// When it must have ended.
    pub deadline: Instant,
    /// Whether it reads to the end before; else it only closes for proof of what it has sent.
    pub reads_on: bool,
}

/// Whether it is asked to.
pub type Stop = watch::Receiver<Option<Ending>>;

impl Forwarder {
    /// Runs until stopped and drained, or until the stop's deadline.
    pub async fn run(mut self) {
        let mut stop = self.stop.clone();
        let deadline = async move {
            loop {
                let asked = *stop.borrow_and_update();
                match asked {
                    Some(ending) => return sleep_until(ending.deadline.into()).await,
                    None => {
                        if stop.changed().await.is_err() {
                            return;
                        }
                    }
                }
            }
        };
        tokio::select! {
            () = self.forward() => {}
            () = deadline => {
                let bytes = self.queue.unconfirmed_bytes();
                tracing::warn!(destination = self.name, unconfirmed_bytes = bytes, "stopped before everything was confirmed; it is sent again at the next start");
            }
        }
        self.status.lock().connected = false;
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stop.borrow().is_some()
    }

    /// Whether what the app writes is still to be sent.
    pub(super) fn reads_on(&self) -> bool {
        self.stop.borrow().is_none_or(|ending| ending.reads_on)
    }

    /// Whether somebody waits for the proof of what was sent. Over once there is nothing to prove.
    pub(super) fn is_hurried(&self) -> bool {
        let is_done = self.queue.oldest().is_none() && self.queue.is_caught_up();
        if is_done {
            self.inbox.hurried.store(false, Ordering::Release);
        }
        self.inbox.hurried.load(Ordering::Acquire)
    }

    /// Takes notice of what is to be sent.
    pub(super) fn refresh(&mut self) {
        if self.reads_on() {
            self.queue.refresh(Instant::now());
        }
    }

    /// Whether everything that is to be sent was.
    pub(super) fn is_caught_up(&self) -> bool {
        self.queue.is_caught_up() || !self.reads_on()
    }

    pub(super) fn is_drained(&self) -> bool {
        self.is_stopping() && self.is_caught_up() && self.queue.oldest().is_none()
    }
}
