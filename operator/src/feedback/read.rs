//! Asks sidecars how they are.
//!
//! What always holds: a bounded number of questions at once, each with a deadline and a longest answer; a sidecar that
//! does not answer is not observed, and nothing else happens to it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use capstan_config::names::ADMIN_PORT;
use futures::StreamExt;
use futures::stream;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use super::schedule::{self, Lane};
use crate::controller::metrics::Metrics;
use crate::controller::rates::Rate;
use crate::controller::state::State;

/// How long a sidecar may take.
const PATIENCE: Duration = Duration::from_secs(3);
/// The longest answer that is read, in bytes: a sidecar with a thousand files has about 300 KiB.
const LONGEST_ANSWER: usize = 2 << 20;

type Http = Client<HttpConnector, Empty<Bytes>>;

/// Asks until dropped. `interval` is how often a sidecar is asked that has nothing new.
pub async fn run(state: Arc<State>, metrics: Arc<Metrics>, rate: Arc<Rate>, interval: Duration) {
    let expiry = async {
        loop {
            tokio::time::sleep(interval).await;
            state.expire(Instant::now(), interval);
        }
    };
    tokio::select! {
        () = expiry => {}
        () = ask_all(&state, &metrics, &rate, interval) => {}
    }
}

async fn ask_all(state: &State, metrics: &Metrics, rate: &Rate, interval: Duration) {
    let mut connector = HttpConnector::new();
    connector.set_connect_timeout(Some(PATIENCE));
    // Connections to ten thousand pods are not kept.
    let http: Http = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector);
    let due = stream::unfold((), |()| async move {
        let question = next(state).await;
        rate.turn().await;
        Some((question, ()))
    });
    let http = &http;
    due.for_each_concurrent(schedule::AT_ONCE, |question| async move {
        let answer = match tokio::time::timeout(PATIENCE, ask(http, &question.address)).await {
            Ok(answer) => answer,
            Err(_) => Err(format!("it did not answer within {} s", PATIENCE.as_secs())),
        };
        metrics.asked(if answer.is_ok() { "ok" } else { "error" });
        state.answered(&question, answer, Instant::now(), interval);
    })
    .await;
}

/// A sidecar to ask.
#[derive(Clone, Debug)]
pub struct Question {
    /// The pod.
    pub key: crate::pods::Key,
    /// Its identity.
    pub uid: String,
    /// Its address.
    pub address: String,
    /// Why it is asked.
    pub lane: Lane,
}

/// The next sidecar to ask, once its time has come.
async fn next(state: &State) -> Question {
    loop {
        let changed = state.due_changed.notified();
        match state.take_due(Instant::now()) {
            Ok(question) => return question,
            Err(None) => changed.await,
            Err(Some(at)) => {
                let wait = tokio::time::sleep_until(at.into());
                tokio::select! {
                    () = wait => {}
                    () = changed => {}
                }
            }
        }
    }
}

async fn ask(http: &Http, address: &str) -> Result<Bytes, String> {
    let host = match address.parse::<IpAddr>() {
        Ok(IpAddr::V6(address)) => format!("[{address}]"),
        _ => address.to_owned(),
    };
    let uri = format!("http://{host}:{ADMIN_PORT}/status").parse::<hyper::Uri>();
    let uri = uri.map_err(|error| format!("its address {address:?} cannot be used: {error}"))?;
    let answer = http.get(uri).await.map_err(|error| explain(&error))?;
    if !answer.status().is_success() {
        return Err(format!("it answered with {}", answer.status()));
    }
    let body = Limited::new(answer.into_body(), LONGEST_ANSWER).collect().await;
    body.map(|body| body.to_bytes()).map_err(|error| format!("its answer broke off: {error}"))
}

/// The innermost cause: what is around it says only that a client could not connect.
fn explain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => explain(source),
        None => format!("it could not be reached: {error}"),
    }
}
