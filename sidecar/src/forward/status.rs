//! What is known of a destination, for `/status` and metrics. Written by its forwarder, read by anybody.

use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;

/// How sure it is that a receiver has read what it was sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum Proof {
    /// Nothing was confirmed yet.
    #[default]
    Unknown,
    /// Its kernel has all bytes, but it never closes in answer to our close, so that is all that can be known.
    Acked,
    /// It has read all bytes and closed in answer.
    Confirmed,
}

/// A destination as seen from outside.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DestinationStatus {
    /// Whether a connection is open now.
    pub connected: bool,
    /// To where.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// The level of proof that this receiver gives.
    pub proof: Proof,
    /// The last thing that went wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// When it did (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error_at: Option<String>,
    /// When something was last confirmed (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_confirmed_at: Option<String>,
    /// Connections opened.
    pub connects: u64,
    /// Attempts that failed.
    pub connect_failures: u64,
    /// Connections that broke without proof, so that lines were sent again.
    pub replays: u64,
    /// Bytes of log sent and not confirmed yet.
    pub unconfirmed_bytes: u64,
}

/// Shared between the forwarder and those who look.
#[derive(Debug, Default)]
pub struct SharedStatus(Mutex<DestinationStatus>);

impl SharedStatus {
    /// To change it, for a moment.
    pub fn lock(&self) -> MutexGuard<'_, DestinationStatus> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A forwarder begins: what went wrong by earlier settings is no longer true.
    pub fn begin(&self) {
        let mut status = self.lock();
        (status.connected, status.endpoint) = (false, None);
        (status.last_error, status.last_error_at) = (None, None);
    }

    /// Notes what went wrong.
    pub fn failed(&self, error: &str) {
        let mut status = self.lock();
        status.last_error = Some(error.to_owned());
        status.last_error_at = Some(now());
    }

    /// A copy.
    pub fn get(&self) -> DestinationStatus {
        self.lock().clone()
    }
}

/// Now, as RFC 3339 in whole seconds.
pub fn now() -> String {
    let now = jiff::Timestamp::now();
    jiff::Timestamp::from_second(now.as_second()).unwrap_or(now).to_string()
}
