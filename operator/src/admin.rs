//! Metrics, health and readiness over HTTP, and the list of what the process still waits for.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};

use crate::metrics::Metrics;

/// How long a client may take to send its request.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often an address that is taken is tried again.
const RETRY: Duration = Duration::from_secs(10);

/// What the process waits for before it is of use, by name, with the reason.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    waiting: Arc<Mutex<BTreeMap<String, String>>>,
}

impl Readiness {
    /// Something is not ready.
    pub fn wait_for(&self, what: impl Into<String>, reason: impl Into<String>) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(what.into(), reason.into());
    }

    /// Something is ready.
    pub fn ready(&self, what: &str) {
        if self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(what).is_some() {
            tracing::info!("{what}: ready");
        }
    }

    /// What is not ready, a line each; empty if everything is.
    pub fn report(&self) -> String {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.iter().map(|(what, reason)| format!("{what}: {reason}\n")).collect()
    }
}

/// Serves until dropped. A port that is taken is told and tried again.
pub async fn serve(address: SocketAddr, metrics: Metrics, readiness: Readiness) {
    let listener = loop {
        match TcpListener::bind(address).await {
            Ok(listener) => break listener,
            Err(error) => {
                tracing::error!(%address, %error, "cannot listen; metrics and health are not served, trying again");
                tokio::time::sleep(RETRY).await;
            }
        }
    };
    tracing::info!(%address, "serving metrics and health");
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(converse(stream, metrics.clone(), readiness.clone()))),
            // Out of file descriptors, most likely.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

async fn converse(stream: TcpStream, metrics: Metrics, readiness: Readiness) {
    let service = service_fn(|request: Request<Incoming>| {
        let answer = answer(request.uri().path(), &metrics, &readiness);
        async { Ok::<_, Infallible>(answer) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(PATIENCE);
    if let Err(error) = http.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!(%error, "a connection to the admin port ended");
    }
}

fn answer(path: &str, metrics: &Metrics, readiness: &Readiness) -> Response<Full<Bytes>> {
    match path {
        "/metrics" => match metrics.render() {
            Ok(text) => text_answer(StatusCode::OK, text),
            Err(error) => text_answer(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
        },
        "/healthz" => text_answer(StatusCode::OK, "ok\n".to_owned()),
        "/readyz" => match readiness.report() {
            waiting if waiting.is_empty() => text_answer(StatusCode::OK, "ok\n".to_owned()),
            waiting => text_answer(StatusCode::SERVICE_UNAVAILABLE, waiting),
        },
        _ => text_answer(StatusCode::NOT_FOUND, "there is /metrics, /healthz and /readyz\n".to_owned()),
    }
}

fn text_answer(status: StatusCode, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    let kind = hyper::header::HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readiness_says_what_is_missing_until_nothing_is() {
        let (metrics, readiness) = (Metrics::new().unwrap(), Readiness::default());
        readiness.wait_for("certificate", "not read yet");
        assert_eq!(answer("/readyz", &metrics, &readiness).status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(readiness.report(), "certificate: not read yet\n");
        readiness.ready("certificate");
        assert_eq!(answer("/readyz", &metrics, &readiness).status(), StatusCode::OK);
        assert_eq!(answer("/healthz", &metrics, &readiness).status(), StatusCode::OK);
        assert_eq!(answer("/", &metrics, &readiness).status(), StatusCode::NOT_FOUND);
        assert!(metrics.render().unwrap().contains("capstan_operator_build_info{version="));
    }
}
