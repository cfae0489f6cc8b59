//! Metrics, health and status over HTTP; the wish to rotate over a unix socket only.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;

use crate::control::{self, RotateRequest};
use crate::status::View;

/// How long a client may take to send its request.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often an address that is taken is tried again.
const RETRY: Duration = Duration::from_secs(10);

type Answer = Response<Full<Bytes>>;

/// What is shown: another view once the configuration can be used.
pub type Views = watch::Receiver<Arc<View>>;

/// The view of the moment.
fn current(views: &Views) -> Arc<View> {
    views.borrow().clone()
}

/// Serves until dropped.
pub async fn serve(views: Views, listen: Option<SocketAddr>) {
    let control = serve_control(views.clone());
    match listen {
        Some(address) => {
            tokio::join!(serve_tcp(views, address), control);
        }
        None => control.await,
    }
}

/// A port that is taken is told and tried again: no reason for the sidecar not to do its job.
async fn serve_tcp(views: Views, address: SocketAddr) {
    let mut told = false;
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => {
                tracing::info!(%address, "serving metrics, health and status");
                return accept(views, listener).await;
            }
            Err(error) => {
                current(&views).metrics.listen_failed();
                if !told {
                    tracing::error!(%address, %error, "cannot listen; metrics and status are not served here, trying again");
                    told = true;
                }
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

async fn accept(views: Views, listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                drop(tokio::spawn(converse(views.clone(), TokioIo::new(stream), Door::Network)))
            }
            // Out of file descriptors, most likely.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

/// One socket per volume, in its state directory: who may open it may rotate.
async fn serve_control(views: Views) {
    // The hub is the same in every view.
    let hub = current(&views).hub.clone();
    let mut served = BTreeSet::new();
    loop {
        for volume in hub.volumes().iter().filter(|volume| volume.is_persistent()) {
            if !served.insert(volume.base.clone()) {
                continue;
            }
            match listen_beside(&volume.base) {
                Ok(listener) => drop(tokio::spawn(accept_control(views.clone(), listener))),
                Err(error) => {
                    tracing::warn!(path = %volume.base.display(), %error, "no control socket here; `rotate` and `status` will not find this sidecar");
                }
            }
        }
        hub.volume_news.notified().await;
    }
}

fn listen_beside(base: &Path) -> std::io::Result<UnixListener> {
    let path = control::socket_path(base)?;
    match std::fs::remove_file(control::socket_file(base)) {
        // We hold the volume's lock, so whoever made this socket is gone.
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    UnixListener::bind(path.as_path())
}

async fn accept_control(views: Views, listener: UnixListener) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                drop(tokio::spawn(converse(views.clone(), TokioIo::new(stream), Door::Control)))
            }
            // Out of file descriptors, most likely.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

/// Where a request came in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Door {
    Network,
    Control,
}

async fn converse<S: AsyncRead + AsyncWrite + Unpin>(views: Views, stream: TokioIo<S>, door: Door) {
    let service = service_fn(move |request| {
        let view = current(&views);
        async move { Ok::<_, Infallible>(answer(&view, request, door).await) }
    });
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(PATIENCE);
    if let Err(error) = http.serve_connection(stream, service).await {
        tracing::debug!(%error, "a client went away");
    }
}

async fn answer(view: &Arc<View>, request: Request<Incoming>, door: Door) -> Answer {
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/healthz") => text(StatusCode::OK, "ok\n".into()),
        (&Method::GET, "/metrics") => {
            view.refresh_metrics();
            with_type("text/plain; version=0.0.4", view.metrics.render())
        }
        (&Method::GET, "/status") => json(&view.status()),
        (&Method::POST, "/rotate") if door == Door::Control => {
            let query = request.uri().query().unwrap_or_default();
            let request = RotateRequest::from_query(query);
            let outcome = tokio::task::spawn_blocking({
                let hub = view.hub.clone();
                move || hub.ask_to_rotate(request)
            });
            json(&outcome.await.unwrap_or_default())
        }
        (_, "/rotate") => {
            text(StatusCode::FORBIDDEN, "rotations are asked for through the control socket\n".into())
        }
        (_, "/healthz" | "/metrics" | "/status") => text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n".into()),
        _ => text(StatusCode::NOT_FOUND, "there is /metrics, /healthz and /status\n".into()),
    }
}

fn json(value: &impl serde::Serialize) -> Answer {
    match serde_json::to_vec_pretty(value) {
        Ok(mut body) => {
            body.push(b'\n');
            with_type("application/json", body)
        }
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

fn text(status: StatusCode, body: String) -> Answer {
    let mut answer = with_type("text/plain; charset=utf-8", body.into_bytes());
    *answer.status_mut() = status;
    answer
}

fn with_type(kind: &'static str, body: Vec<u8>) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    answer.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(kind));
    answer
}
