//! Acts on how a connection ended: what is proved is confirmed, what is not is sent again.

use std::time::Instant;

use super::connection::{Broken, Closed, Connection};
use super::forwarder::{Forwarder, SHORT_CLOSE, UNANSWERED_CLOSES};
use super::status::{Proof, now as rfc3339_now};

impl Forwarder {
    /// Closes a connection and acts on what that proves. Returns whether everything sent is confirmed.
    pub(super) async fn close_for_proof(&mut self, connection: Connection, opened: Instant) -> bool {
        self.status.lock().connected = false;
        // One that is known never to answer is not waited for at every roll.
        let patience = if self.unanswered >= UNANSWERED_CLOSES {
            self.close_timeout.min(SHORT_CLOSE)
        } else {
            self.close_timeout
        };
        match connection.close(patience).await {
            Closed::Confirmed => {
                self.unanswered = 0;
                self.confirmed(Proof::Confirmed, opened);
                true
            }
            Closed::AckedOnly if self.unanswered + 1 >= UNANSWERED_CLOSES => {
                self.unanswered = UNANSWERED_CLOSES;
                self.confirmed(Proof::Acked, opened);
                true
            }
            Closed::AckedOnly => {
                self.unanswered += 1;
                self.replay("it did not close in answer to our close", opened);
                false
            }
            Closed::Unproven(reason) => {
                self.unanswered = 0;
                self.replay(&reason.to_string(), opened);
                false
            }
        }
    }

    fn confirmed(&mut self, proof: Proof, opened: Instant) {
        self.queue.confirm(Instant::now());
        self.dialer.proved(opened.elapsed());
        let mut status = self.status.lock();
        status.proof = proof;
        status.unconfirmed_bytes = 0;
        status.last_confirmed_at = Some(rfc3339_now());
    }

    pub(super) fn broke(&mut self, broken: &Broken, opened: Instant) {
        self.status.lock().connected = false;
        let nothing_at_stake = self.queue.oldest().is_none();
        if nothing_at_stake && matches!(broken, Broken::CloseNotify) {
            // An idle receiver said goodbye: not an error, and nothing to send again.
            tracing::debug!(destination = self.name, %broken, "connection closed while idle");
            self.dialer.ended(Instant::now(), opened.elapsed(), false);
            return;
        }
        self.replay(&broken.to_string(), opened);
    }

    /// The receiver cannot be reached right after it confirmed, and nothing was open that would have shown its end: it
    /// may have been killed with what it had read, so the margin is due as after any break.
    pub(super) fn replay_unwatched(&mut self) {
        if !std::mem::take(&mut self.unwatched) {
            return;
        }
        let bytes = self.queue.rewind(Instant::now());
        if bytes > 0 {
            self.status.lock().replays += 1;
            self.metrics.replayed(&self.name);
            let message = "the receiver went away after it confirmed; sending the last lines again";
            tracing::warn!(destination = self.name, replay_bytes = bytes, "{message}");
        }
    }

    fn replay(&mut self, reason: &str, opened: Instant) {
        let bytes = self.queue.rewind(Instant::now());
        self.dialer.ended(Instant::now(), opened.elapsed(), bytes > 0);
        let mut status = self.status.lock();
        status.unconfirmed_bytes = 0;
        status.replays += u64::from(bytes > 0);
        drop(status);
        if bytes == 0 {
            tracing::info!(destination = self.name, reason, "connection ended; nothing is sent again");
            return;
        }
        self.status.failed(reason);
        self.metrics.replayed(&self.name);
        tracing::warn!(
            destination = self.name,
            reason,
            replay_bytes = bytes,
            "connection ended without proof; sending again"
        );
    }
}
