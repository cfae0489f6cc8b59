//! HTTPS in front of the reviews.
//!
//! What always holds: a client that is slow, silent or sends too much costs one task and a bounded amount of memory for
//! a bounded time; a stop lets requests that have begun end.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, SemaphorePermit, watch};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::metrics::Metrics;
use crate::webhook::review::{Knowledge, Mode, Settings, answer};

/// Where pods are sent.
pub const LENIENT_PATH: &str = "/mutate-pod";
/// Where pods of strict namespaces are sent.
pub const STRICT_PATH: &str = "/mutate-pod-strict";

/// The API server takes objects of up to 3 MiB; a review is one with a little around it.
const LARGEST_BODY: usize = 4 << 20;
/// How many bytes of bodies are in memory at once: four of the largest, or some thousand of the usual. What is read from a
/// body takes a multiple of it while it is looked at.
const MOST_BODIES: usize = 16 << 20;
/// What the head of a request may take of memory; that of an API server has less than one KiB.
const LARGEST_HEAD: usize = 64 << 10;
/// How long a handshake, a request's head, and its body may take, each. The API server waits 5 s for the whole.
const PATIENCE: Duration = Duration::from_secs(5);
/// How many connections are open at once. An API server uses a few.
const MOST_CONNECTIONS: usize = 512;
/// How long requests that have begun may take after a stop.
const DRAIN: Duration = Duration::from_secs(5);

type Reply = Response<Full<Bytes>>;

/// What all connections share.
pub struct Shared<K> {
    /// What is known.
    pub knowledge: K,
    /// The settings.
    pub settings: Settings,
    /// What is counted.
    pub metrics: Metrics,
    /// Room for bodies.
    pub bodies: Bodies,
}

/// Room for bodies, in bytes.
pub struct Bodies(Semaphore);

impl Default for Bodies {
    fn default() -> Self {
        Self(Semaphore::new(MOST_BODIES))
    }
}

impl Bodies {
    /// Waits until there is room for a body of this length, or of the largest if nobody says it.
    async fn room(&self, length: Option<u64>) -> Option<SemaphorePermit<'_>> {
        let largest = u32::try_from(LARGEST_BODY).unwrap_or(u32::MAX);
        let length = length.and_then(|length| u32::try_from(length).ok()).unwrap_or(largest);
        // What is longer is refused when it is read.
        self.0.acquire_many(length.min(largest)).await.ok()
    }
}

/// Serves until `stop` is true, then lets requests end.
pub async fn serve<K>(
    listener: TcpListener,
    tls: TlsAcceptor,
    shared: Arc<Shared<K>>,
    mut stop: watch::Receiver<bool>,
) where
    K: Knowledge + Send + Sync + 'static,
{
    let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    loop {
        // Who finds no place waits in the kernel.
        let place = tokio::select! {
            place = places.clone().acquire_owned() => place,
            () = stopped(&mut stop) => break,
        };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stopped(&mut stop) => break,
        };
        let Ok((stream, _)) = accepted else {
            // Out of file descriptors, most likely.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let (tls, shared, stop) = (tls.clone(), shared.clone(), stop.clone());
        drop(tokio::spawn(async move {
            converse(stream, tls, shared, stop).await;
            drop(place);
        }));
    }
    let every = u32::try_from(MOST_CONNECTIONS).unwrap_or(u32::MAX);
    if tokio::time::timeout(DRAIN, places.acquire_many(every)).await.is_err() {
        tracing::warn!("requests were still open at the end of their time");
    }
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    drop(stop.wait_for(|stop| *stop).await);
}

async fn converse<K>(
    stream: TcpStream,
    tls: TlsAcceptor,
    shared: Arc<Shared<K>>,
    mut stop: watch::Receiver<bool>,
) where
    K: Knowledge + Send + Sync + 'static,
{
    let metrics = shared.metrics.clone();
    let failed = |reason: &str| metrics.connections_failed.with_label_values(&[reason]).inc();
    let stream: TlsStream<TcpStream> = match tokio::time::timeout(PATIENCE, tls.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            // Probes of load balancers end like this, and an API server that does not trust the certificate.
            tracing::debug!(%error, "a handshake failed");
            return failed("handshake");
        }
        Err(_) => return failed("timeout"),
    };
    let service = service_fn(move |request| {
        let shared = shared.clone();
        async move { Ok::<_, Infallible>(reply(request, &shared).await) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(Duration::from_secs(120)).max_buf_size(LARGEST_HEAD);
    let mut connection = std::pin::pin!(http.serve_connection(TokioIo::new(stream), service));
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = stopped(&mut stop) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "a connection ended");
        failed("http");
    }
}

async fn reply<K: Knowledge>(request: Request<Incoming>, shared: &Shared<K>) -> Reply {
    let mode = match (request.method(), request.uri().path()) {
        (&Method::POST, LENIENT_PATH) => Mode::Lenient,
        (&Method::POST, STRICT_PATH) => Mode::Strict,
        (&Method::GET, "/healthz") => return text(StatusCode::OK, "ok\n"),
        _ => return text(StatusCode::NOT_FOUND, "POST an AdmissionReview to /mutate-pod\n"),
    };
    let body = Limited::new(request.into_body(), LARGEST_BODY);
    let Ok(room) = tokio::time::timeout(PATIENCE, shared.bodies.room(body.size_hint().exact())).await else {
        return refuse(shared, StatusCode::SERVICE_UNAVAILABLE, "there are too many requests at once");
    };
    let reply = match tokio::time::timeout(PATIENCE, body.collect()).await {
        Ok(Ok(body)) => review(&body.to_bytes(), mode, shared),
        Ok(Err(error)) => refuse(shared, StatusCode::PAYLOAD_TOO_LARGE, &error.to_string()),
        Err(_) => refuse(shared, StatusCode::REQUEST_TIMEOUT, "the body did not come in time"),
    };
    drop(room);
    reply
}

fn review<K: Knowledge>(body: &[u8], mode: Mode, shared: &Shared<K>) -> Reply {
    let begun = Instant::now();
    let answer = match answer(body, mode, &shared.knowledge, &shared.settings) {
        Ok(answer) => answer,
        Err(error) => return refuse(shared, StatusCode::BAD_REQUEST, &error.to_string()),
    };
    shared.metrics.admission_seconds.observe(begun.elapsed().as_secs_f64());
    shared.metrics.injections.with_label_values(&[answer.result, &answer.reason]).inc();
    let mut reply = Response::new(Full::from(answer.body));
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    reply
}

fn refuse<K>(shared: &Shared<K>, status: StatusCode, why: &str) -> Reply {
    tracing::warn!(error = why, "an admission request could not be read");
    shared.metrics.injections.with_label_values(&["error", "Unreadable"]).inc();
    text(status, &format!("{why}\n"))
}

fn text(status: StatusCode, text: &str) -> Reply {
    let mut reply = Response::new(Full::from(text.to_owned()));
    *reply.status_mut() = status;
    reply
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[test]
    fn large_bodies_wait_for_each_other_and_small_ones_for_nobody_until_there_is_no_room() {
        let bodies = Bodies::default();
        let ask = |length: Option<u64>| bodies.room(length).now_or_never().flatten();
        let small: Vec<_> = (0..400).map(|_| ask(Some(10_000)).unwrap()).collect();
        let large: Vec<_> = [None, Some(5 << 20), Some(u64::MAX)].map(|length| ask(length).unwrap()).into();
        assert!(ask(None).is_none());
        assert!(ask(Some(100_000)).is_some());
        drop(small);
        assert!(ask(None).is_some());
        drop(large);
    }
}
