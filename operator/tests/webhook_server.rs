//! The webhook's server over real TLS: answers, a certificate that changes meanwhile, clients that misbehave, the stop.
#![allow(clippy::unwrap_used, reason = "a test ends at the first thing that is not as it should be")]

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use capstan_operator::certificates::issue;
use capstan_operator::certificates::material::{Material, certificates};
use capstan_operator::certificates::served::Served;
use capstan_operator::inject::Known;
use capstan_operator::inject::bounds::Bounds;
use capstan_operator::metrics::Metrics;
use capstan_operator::webhook::review::{Knowledge, Settings};
use capstan_operator::webhook::server::{Bodies, Shared, serve};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::SendRequest;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::{TlsAcceptor, TlsConnector};

const NAME: &str = "capstan-webhook.capstan-system.svc";
const PATIENCE: Duration = Duration::from_secs(60);

struct NothingKnown;

impl Knowledge for NothingKnown {
    fn policies(&self, _: &str, _: &[String]) -> Known {
        Known::new()
    }
    fn users_are_assigned(&self, _: &str) -> bool {
        false
    }
    fn bounds(&self, _: &str) -> Bounds {
        Bounds::default()
    }
}

struct Server {
    address: SocketAddr,
    served: Served,
    metrics: Metrics,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

fn material() -> Material {
    issue::everything(jiff::Timestamp::now(), &issue::names("capstan-webhook", "capstan-system")).unwrap()
}

async fn start(material: &Material) -> Server {
    let (served, metrics) = (Served::default(), Metrics::new().unwrap());
    served.replace(material).unwrap();
    let tls = TlsAcceptor::from(Arc::new(served.server_config().unwrap()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let settings = Settings { sidecar: support::settings(), own_namespace: "capstan-system".to_owned() };
    let shared = Arc::new(Shared {
        knowledge: NothingKnown,
        settings,
        metrics: metrics.clone(),
        bodies: Bodies::default(),
    });
    let (stop, stopping) = watch::channel(false);
    Server { address, served, metrics, stop, task: tokio::spawn(serve(listener, tls, shared, stopping)) }
}

/// Connects as an API server does that trusts this bundle.
async fn connect(server: &Server, bundle: &str) -> std::io::Result<SendRequest<Full<Bytes>>> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(bundle) {
        roots.add(certificate).unwrap();
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let connector = TlsConnector::from(Arc::new(config.with_root_certificates(roots).with_no_client_auth()));
    let stream = TcpStream::connect(server.address).await?;
    let stream = connector.connect(ServerName::try_from(NAME).unwrap(), stream).await?;
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    drop(tokio::spawn(connection));
    Ok(sender)
}

async fn send(
    sender: &mut SendRequest<Full<Bytes>>,
    method: Method,
    path: &str,
    body: Vec<u8>,
) -> (StatusCode, Bytes) {
    sender.ready().await.unwrap();
    let request =
        Request::builder().method(method).uri(path).header("host", NAME).body(Full::from(body)).unwrap();
    let reply = sender.send_request(request).await.unwrap();
    let status = reply.status();
    (status, reply.into_body().collect().await.unwrap().to_bytes())
}

fn review() -> Vec<u8> {
    let kind = json!({ "group": "", "version": "v1", "kind": "Pod" });
    let pod = json!({
        "metadata": { "annotations": { "capstan.dev/policy": "web" } },
        "spec": { "containers": [{ "name": "app", "volumeMounts": [{ "name": "l", "mountPath": "/logs" }] }],
                  "volumes": [{ "name": "l", "emptyDir": {} }], "securityContext": { "runAsUser": 1000 } },
    });
    let request = json!({ "uid": "7", "kind": kind, "resource": { "group": "", "version": "v1", "resource": "pods" },
                          "namespace": "shop", "operation": "CREATE", "userInfo": {}, "object": pod });
    json!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request })
        .to_string()
        .into()
}

#[tokio::test]
async fn a_review_is_answered_and_counted() {
    let material = material();
    let server = start(&material).await;
    let mut client = connect(&server, &material.bundle().unwrap()).await.unwrap();
    let (status, body) = send(&mut client, Method::POST, "/mutate-pod", review()).await;
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((status, &body["response"]["allowed"]), (StatusCode::OK, &json!(true)));
    assert!(body["response"]["patch"].is_string() || body["response"]["patch"].is_array());
    // The same connection again, as an API server does, with the strict path.
    let (_, body) = send(&mut client, Method::POST, "/mutate-pod-strict", review()).await;
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(body["response"]["allowed"], json!(false));
    let metrics = server.metrics.render().unwrap();
    assert!(
        metrics.contains("capstan_operator_injections_total{reason=\"\",result=\"injected\"} 1"),
        "{metrics}"
    );
    assert!(
        metrics.contains("capstan_operator_injections_total{reason=\"PolicyNotFound\",result=\"denied\"} 1")
    );
    assert!(metrics.contains("capstan_operator_admission_duration_seconds_count 2"));
    assert!(metrics.contains("capstan_operator_admission_duration_seconds_bucket{le=\"0.0005\"}"));
}

#[tokio::test]
async fn another_certificate_is_served_from_the_next_connection_on_and_the_open_one_goes_on() {
    let (old, new) = (material(), material());
    let server = start(&old).await;
    let mut before = connect(&server, &old.bundle().unwrap()).await.unwrap();
    assert!(connect(&server, &new.bundle().unwrap()).await.is_err());
    server.served.replace(&new).unwrap();
    assert!(connect(&server, &old.bundle().unwrap()).await.is_err());
    let both = format!("{}{}", new.bundle().unwrap(), old.bundle().unwrap());
    let mut after = connect(&server, &both).await.unwrap();
    for client in [&mut before, &mut after] {
        assert_eq!(send(client, Method::POST, "/mutate-pod", review()).await.0, StatusCode::OK);
    }
    // One that cannot be used changes nothing.
    let torn = Material { leaf_key: old.leaf_key, ..new.clone() };
    assert!(server.served.replace(&torn).is_err());
    assert!(connect(&server, &new.bundle().unwrap()).await.is_ok());
}

#[tokio::test]
async fn what_is_no_review_is_refused() {
    let material = material();
    let server = start(&material).await;
    let bundle = material.bundle().unwrap();
    let mut client = connect(&server, &bundle).await.unwrap();
    assert_eq!(
        send(&mut client, Method::POST, "/mutate-pod", b"{".to_vec()).await.0,
        StatusCode::BAD_REQUEST
    );
    assert_eq!(send(&mut client, Method::GET, "/mutate-pod", vec![]).await.0, StatusCode::NOT_FOUND);
    assert_eq!(send(&mut client, Method::GET, "/healthz", vec![]).await.0, StatusCode::OK);
    let mut client = connect(&server, &bundle).await.unwrap();
    let (status, _) = send(&mut client, Method::POST, "/mutate-pod", vec![b' '; 5 << 20]).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn who_never_speaks_is_left() {
    let server = start(&material()).await;
    let mut silent = TcpStream::connect(server.address).await.unwrap();
    let mut nothing = Vec::new();
    let read = tokio::time::timeout(PATIENCE, silent.read_to_end(&mut nothing)).await;
    assert_eq!(read.unwrap().unwrap(), 0);
    assert_eq!(server.metrics.connections_failed.with_label_values(&["timeout"]).get(), 1);
}

#[tokio::test]
async fn a_stop_ends_idle_connections_and_the_server() {
    let material = material();
    let server = start(&material).await;
    let mut client = connect(&server, &material.bundle().unwrap()).await.unwrap();
    send(&mut client, Method::POST, "/mutate-pod", review()).await;
    server.stop.send_replace(true);
    tokio::time::timeout(PATIENCE, server.task).await.unwrap().unwrap();
    assert!(TcpStream::connect(server.address).await.is_err());
}
