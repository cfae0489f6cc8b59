//! A receiver in a namespace: rsyslog over TLS with a certificate of its own; out, every message it has stored.
//!
//! What a pod has stored must outlive it, without a volume that needs a provisioner. So beside rsyslog runs a
//! *keeper*, a shell that ignores SIGTERM: when the pod is deleted, rsyslog ends and has written what it had read,
//! and then its file is fetched through the keeper, which is let go.

use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::DeleteParams;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use serde_json::json;

use crate::images::Image;
use crate::namespace::Namespace;
use crate::{exec, wait};

const PORT: u16 = 6514;
const STORED: &str = "/received/messages";
const KEEPER: &str = "trap '' TERM; until [ -e /received/let-go ]; do sleep 0.2; done";

const CONFIGURATION: &str = r#"global(workDirectory="/received" maxMessageSize="64k" processInternalMessages="on"
  parser.escapeControlCharactersOnReceive="off"
  defaultNetstreamDriverCAFile="/etc/receiver/ca.crt"
  defaultNetstreamDriverCertFile="/etc/receiver/tls.crt"
  defaultNetstreamDriverKeyFile="/etc/receiver/tls.key")
main_queue(queue.type="LinkedList" queue.timeoutShutdown="20000")
module(load="imtcp" maxSessions="500" streamDriver.name="ossl" streamDriver.mode="1" streamDriver.authMode="anon")
template(name="line" type="string" string="%rawmsg%\n")
ruleset(name="receive") { action(type="omfile" file="/received/messages" template="line" fileCreateMode="0644") }
input(type="imtcp" port="6514" maxFrameSize="65536" ruleset="receive")
action(type="omfile" file="/received/internal" fileCreateMode="0644")
"#;

/// A receiver that runs.
pub struct Receiver {
    namespace: Namespace,
    name: String,
    /// Messages of pods that are gone.
    saved: Mutex<Vec<u8>>,
}

impl Receiver {
    /// Applies its objects, without waiting for its pod.
    ///
    /// # Errors
    ///
    /// One of them is refused.
    pub async fn apply(namespace: &Namespace, name: &str) -> Result<Self> {
        let receiver = Self { namespace: namespace.clone(), name: name.to_owned(), saved: Mutex::default() };
        receiver.apply_certificate().await?;
        for object in [receiver.configuration(), receiver.service(), receiver.deployment()] {
            namespace.apply_object(&object).await?;
        }
        Ok(receiver)
    }

    /// Applies its objects and waits until it is ready.
    ///
    /// # Errors
    ///
    /// One of them is refused, or the pod does not become ready.
    pub async fn start(namespace: &Namespace, name: &str) -> Result<Self> {
        let receiver = Self::apply(namespace, name).await?;
        receiver.pod().await?;
        Ok(receiver)
    }

    /// A LogDestination of the receiver's name that leads here.
    pub fn destination(&self) -> serde_json::Value {
        json!({
            "apiVersion": "capstan.dev/v1alpha1",
            "kind": "LogDestination",
            "metadata": { "name": self.name },
            "spec": { "syslog": {
                "endpoints": [{ "host": self.host(), "port": PORT }],
                "tls": { "ca": { "configMapKeyRef": { "name": self.authority(), "key": "ca.crt" } } },
            }},
        })
    }

    /// The name under which pods reach it, which its certificate carries.
    pub fn host(&self) -> String {
        format!("{}.{}.svc", self.name, self.namespace.name)
    }

    /// The name of the ConfigMap with the certificate of its authority.
    pub fn authority(&self) -> String {
        format!("{}-ca", self.name)
    }

    /// All messages stored so far, one a line, those of deleted pods first.
    ///
    /// # Errors
    ///
    /// Its pod cannot be asked.
    pub async fn messages(&self) -> Result<Vec<u8>> {
        let pod = self.pod().await?.name_any();
        let mut all = self.saved.lock().unwrap_or_else(PoisonError::into_inner).clone();
        all.append(&mut self.stored_in(&pod).await?);
        Ok(all)
    }

    /// All messages so far, as text.
    ///
    /// # Errors
    ///
    /// Its pod cannot be asked.
    pub async fn text(&self) -> Result<String> {
        Ok(String::from_utf8_lossy(&self.messages().await?).into_owned())
    }

    /// Waits until a message that holds this text was stored; returns it.
    ///
    /// # Errors
    ///
    /// None was, in time.
    pub async fn message_with(&self, text: &str) -> Result<String> {
        wait::until(&format!("a message with {text:?}"), wait::LIMIT, async || {
            let all = self.text().await?;
            let found = all.lines().find(|line| line.contains(text)).map(str::to_owned);
            found.with_context(|| format!("{} other messages came", all.lines().count()))
        })
        .await
    }

    /// Deletes its pod as `kubectl delete pod` does, and keeps what it had stored. Another one takes its place.
    ///
    /// # Errors
    ///
    /// It does not end, or its file cannot be read.
    pub async fn delete_pod(&self) -> Result<()> {
        let pod = self.pod().await?.name_any();
        self.namespace.pods().delete(&pod, &DeleteParams::default()).await?;
        self.keep_what_is_left(&pod).await?;
        self.pod().await.map(drop)
    }

    /// Stops receiving: no pod is left, and what it had stored is kept.
    ///
    /// # Errors
    ///
    /// The Deployment cannot be changed, or its pod does not end.
    pub async fn stop(&self) -> Result<()> {
        let pod = self.pod().await?.name_any();
        let mut stopped = self.deployment();
        stopped["spec"]["replicas"] = json!(0);
        self.namespace.apply_object(&stopped).await?;
        self.keep_what_is_left(&pod).await
    }

    /// Waits until rsyslog of a pod that is being deleted has ended, fetches its file and lets the pod go.
    async fn keep_what_is_left(&self, pod: &str) -> Result<()> {
        // The pod's status says "running" of all containers as long as one does.
        wait::until("rsyslog to end", wait::LIMIT, async || {
            let running = self.namespace.shell(pod, "keeper", "pidof rsyslogd || true").await?;
            ensure!(running.trim().is_empty(), "it still runs as process {running}");
            Ok(())
        })
        .await?;
        let mut stored = self.stored_in(pod).await?;
        self.saved.lock().unwrap_or_else(PoisonError::into_inner).append(&mut stored);
        self.namespace.shell(pod, "keeper", "touch /received/let-go").await.map(drop)
    }

    async fn stored_in(&self, pod: &str) -> Result<Vec<u8>> {
        // The file is not there before the first message.
        let script = format!("if [ -e {STORED} ]; then cat {STORED}; fi");
        exec::exec(&self.namespace.pods(), pod, "keeper", &["sh", "-c", &script]).await
    }

    async fn pod(&self) -> Result<Pod> {
        self.namespace.ready_pod(&format!("receiver={}", self.name)).await
    }

    async fn apply_certificate(&self) -> Result<()> {
        let (authority, certificate, key) = certificate(&self.names())?;
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": { "name": self.name },
            "stringData": { "ca.crt": authority, "tls.crt": certificate, "tls.key": key },
        });
        let config_map = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": self.authority() },
            "data": { "ca.crt": authority },
        });
        self.namespace.apply_object(&secret).await?;
        self.namespace.apply_object(&config_map).await
    }

    fn names(&self) -> Vec<String> {
        vec![self.name.clone(), self.host(), format!("{}.cluster.local", self.host())]
    }

    fn configuration(&self) -> serde_json::Value {
        json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": self.name },
            "data": { "rsyslog.conf": CONFIGURATION },
        })
    }

    fn service(&self) -> serde_json::Value {
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": { "name": self.name },
            "spec": { "selector": { "receiver": self.name }, "ports": [{ "port": PORT }] },
        })
    }

    fn deployment(&self) -> serde_json::Value {
        let restricted = json!({
            "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] },
        });
        let container = |name: &str, command: serde_json::Value| {
            json!({
                "name": name, "image": Image::Rsyslog.name(), "command": command, "securityContext": restricted,
                "volumeMounts": [
                    { "name": "received", "mountPath": "/received" },
                    { "name": "secret", "mountPath": "/etc/receiver", "readOnly": true },
                    { "name": "configuration", "mountPath": "/etc/receiver-configuration", "readOnly": true },
                ],
            })
        };
        let mut rsyslog = container(
            "rsyslog",
            json!(["/usr/sbin/rsyslogd", "-n", "-iNONE", "-f", "/etc/receiver-configuration/rsyslog.conf"]),
        );
        rsyslog["readinessProbe"] = json!({ "tcpSocket": { "port": PORT }, "periodSeconds": 1 });
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": self.name },
            "spec": {
                "replicas": 1,
                "selector": { "matchLabels": { "receiver": self.name } },
                "template": {
                    "metadata": { "labels": { "receiver": self.name } },
                    "spec": {
                        "automountServiceAccountToken": false,
                        // The keeper looks whether rsyslog still runs.
                        "shareProcessNamespace": true,
                        "terminationGracePeriodSeconds": 120,
                        "securityContext": {
                            "runAsNonRoot": true, "runAsUser": 1514, "runAsGroup": 1514, "fsGroup": 1514,
                            "seccompProfile": { "type": "RuntimeDefault" },
                        },
                        "containers": [rsyslog, container("keeper", json!(["sh", "-c", KEEPER]))],
                        "volumes": [
                            { "name": "received", "emptyDir": {} },
                            { "name": "secret", "secret": { "secretName": self.name } },
                            { "name": "configuration", "configMap": { "name": self.name } },
                        ],
                    },
                },
            },
        })
    }
}

/// A certificate for these names by an authority made for it alone: the PEM of the authority, of the certificate, and of
/// its key.
///
/// # Errors
///
/// A name is none, or no key can be made.
pub fn certificate(names: &[String]) -> Result<(String, String, String)> {
    let mut params = CertificateParams::new(Vec::new())?;
    // A certificate whose issuer has its own name would look self-signed.
    params.distinguished_name.push(DnType::CommonName, "capstan-e2e authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
    let key = KeyPair::generate()?;
    let certificate = CertificateParams::new(names)?.signed_by(&key, &authority)?;
    Ok((authority.pem(), certificate.pem(), key.serialize_pem()))
}
