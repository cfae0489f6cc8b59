//! The webhook's certificate: made or found, served, and made known to the API server.
//!
//! In: a Secret and the webhook object, as they are and as they change. Out: the certificate for the server, the trust
//! in the webhook object, and whether both are there. What always holds: a certificate is only served once the API
//! server trusts its authority, except the very first; every replica does the same, and where two of them write at once,
//! the API server lets one through and the other looks again.

pub mod validity; // P
pub mod material; // P
pub mod plan; // P
pub mod issue; // E
pub mod served; // E
pub mod publish; // E

use std::time::Duration;

use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Secret;
use kube::api::PostParams;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};

use crate::admin::Readiness;
use crate::certificates::issue::IssueError;
use crate::certificates::material::Material;
use crate::certificates::plan::Step;
use crate::certificates::served::Served;
use crate::metrics::Metrics;
use crate::settings::{CertificateSource, WebhookSettings};

/// How soon something that failed is tried again.
const RETRY: Duration = Duration::from_secs(5);
/// How often everything is looked at again though nothing was heard.
const LOOK_AGAIN: Duration = Duration::from_secs(600);
/// How long one look, with what follows from it, may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// What readiness calls it.
const CERTIFICATE: &str = "certificate";
/// What readiness calls it.
const TRUST: &str = "webhook object";

/// Why the certificate could not be looked after.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The API server refused.
    #[error("{what}: {source}")]
    Api {
        /// What was tried.
        what: String,
        /// Why not.
        #[source]
        source: Box<kube::Error>,
    },
    /// No certificate could be made.
    #[error(transparent)]
    Issue(#[from] IssueError),
}

impl CertificateError {
    /// Whether another replica has written in between, whose writing is as good.
    fn is_conflict(&self) -> bool {
        matches!(self, Self::Api { source, .. } if matches!(&**source, kube::Error::Api(status) if status.code == 409))
    }
}

/// Looks after the certificate.
pub struct Certificates {
    secrets: Api<Secret>,
    webhooks: Api<MutatingWebhookConfiguration>,
    settings: WebhookSettings,
    namespace: String,
    served: Served,
    readiness: Readiness,
    metrics: Metrics,
    /// As last seen.
    secret: Option<Secret>,
    /// As last seen.
    webhook: Option<MutatingWebhookConfiguration>,
}

impl Certificates {
    /// For a webhook whose server asks `served`.
    pub fn new(
        client: Client,
        namespace: &str,
        settings: WebhookSettings,
        served: Served,
        readiness: Readiness,
        metrics: Metrics,
    ) -> Self {
        readiness.wait_for(CERTIFICATE, "not read yet");
        readiness.wait_for(TRUST, "not read yet");
        Self {
            secrets: Api::namespaced(client.clone(), namespace),
            webhooks: Api::all(client),
            namespace: namespace.to_owned(),
            settings,
            served,
            readiness,
            metrics,
            secret: None,
            webhook: None,
        }
    }

    /// Looks after it until dropped.
    pub async fn run(mut self) {
        let one = |name: &str| watcher::Config::default().fields(&format!("metadata.name={name}"));
        let secrets = watcher(self.secrets.clone(), one(&self.settings.certificate_secret)).default_backoff();
        let webhooks =
            watcher(self.webhooks.clone(), one(&self.settings.webhook_configuration)).default_backoff();
        let (mut secrets, mut webhooks) = (std::pin::pin!(secrets), std::pin::pin!(webhooks));
        let mut wait = Duration::ZERO;
        loop {
            tokio::select! {
                Some(event) = secrets.next() => heard(event, &self.settings.certificate_secret),
                Some(event) = webhooks.next() => heard(event, &self.settings.webhook_configuration),
                () = tokio::time::sleep(wait) => {}
            }
            wait = match tokio::time::timeout(PATIENCE, self.look()).await {
                Ok(Ok(wait)) => wait,
                Ok(Err(error)) if error.is_conflict() => {
                    tracing::debug!(%error, "somebody else was first");
                    Duration::from_millis(100)
                }
                Ok(Err(error)) => {
                    tracing::warn!(%error, "the webhook's certificate; trying again");
                    RETRY
                }
                Err(_) => RETRY,
            };
        }
    }

    /// Does what is due; says how long nothing will be.
    async fn look(&mut self) -> Result<Duration, CertificateError> {
        // What others may have changed in the meantime is asked for: an answer to an old state would be undone again.
        let name = self.settings.certificate_secret.clone();
        self.secret =
            self.secrets.get_opt(&name).await.map_err(failed(format!("cannot read secret {name}")))?;
        let name = self.settings.webhook_configuration.clone();
        self.webhook = self
            .webhooks
            .get_opt(&name)
            .await
            .map_err(failed(format!("cannot read webhook object {name}")))?;
        let wait = match self.settings.certificate_source {
            CertificateSource::Builtin => self.renew().await?,
            CertificateSource::Secret => LOOK_AGAIN,
        };
        let material = self.secret.as_ref().and_then(Material::read);
        let material = match self.settings.certificate_source {
            CertificateSource::Builtin => material,
            CertificateSource::Secret => material.map(Material::of_others),
        };
        self.serve(material.as_ref());
        self.trust(material.as_ref()).await?;
        Ok(wait)
    }

    /// The one step that is due, in the Secret.
    async fn renew(&mut self) -> Result<Duration, CertificateError> {
        let now = Timestamp::now();
        let names = issue::names(&self.settings.webhook_service, &self.namespace);
        let material = self.secret.as_ref().and_then(Material::read);
        let published = publish::bundles(self.webhook.as_ref());
        let facts = material.as_ref().and_then(|material| material.facts(now, &names, &published));
        let changed = match plan::plan(now, facts.as_ref()) {
            Step::Wait(until) => return Ok(until.min(LOOK_AGAIN)),
            Step::Create => issue::everything(now, &names)?,
            Step::AddAuthority => issue::another_authority(now, material.unwrap_or_default())?,
            Step::IssueLeaf => issue::another_leaf(now, &names, material.unwrap_or_default())?,
            Step::DropOld => issue::without_old(material.unwrap_or_default()),
        };
        tracing::info!(secret = self.settings.certificate_secret, "writing the webhook's certificate");
        self.secret = Some(self.write(&changed).await?);
        Ok(Duration::from_secs(1))
    }

    /// Writes over exactly what was seen; somebody else's change in between is an error, and looked at next.
    async fn write(&self, material: &Material) -> Result<Secret, CertificateError> {
        let name = &self.settings.certificate_secret;
        let secret = material.write(name, self.secret.as_ref());
        let parameters =
            PostParams { field_manager: Some("capstan-webhook".to_owned()), ..PostParams::default() };
        match &self.secret {
            None => self.secrets.create(&parameters, &secret).await,
            Some(_) => self.secrets.replace(name, &parameters, &secret).await,
        }
        .map_err(failed(format!("cannot write secret {name}")))
    }

    fn serve(&self, material: Option<&Material>) {
        let name = &self.settings.certificate_secret;
        let Some(material) = material else {
            self.readiness.wait_for(CERTIFICATE, format!("secret {name} has no usable tls.crt and tls.key"));
            return;
        };
        match self.served.replace(material) {
            Ok(()) => {
                let end = material.leaf_validity().map_or(0.0, |validity| validity.until.as_second() as f64);
                self.metrics.certificate_expiry.set(end);
                self.readiness.ready(CERTIFICATE);
            }
            Err(error) => {
                tracing::error!(%error, secret = name, "the certificate cannot be used; the one before is");
                if !self.served.is_loaded() {
                    self.readiness.wait_for(CERTIFICATE, format!("secret {name}: {error}"));
                }
            }
        }
    }

    /// Makes the webhook object trust the authorities; whoever overwrites that is overwritten.
    async fn trust(&mut self, material: Option<&Material>) -> Result<(), CertificateError> {
        let name = &self.settings.webhook_configuration;
        let Some(webhook) = &self.webhook else {
            self.readiness.wait_for(TRUST, format!("there is no MutatingWebhookConfiguration {name}"));
            return Ok(());
        };
        // A certificate that somebody put there without its authority is one that the API server trusts anyway.
        let patch = material.and_then(Material::bundle).and_then(|bundle| publish::patch(webhook, &bundle));
        if let Some(patch) = patch {
            tracing::info!(webhook = name, "writing caBundle");
            let patched = publish::apply(&self.webhooks, name, patch).await;
            self.webhook = Some(patched.map_err(failed(format!("cannot write caBundle of {name}")))?);
        }
        self.tell_trust();
        Ok(())
    }

    /// An API server that does not trust what is served calls nobody, so nobody is ready.
    fn tell_trust(&self) {
        let Some((webhook, served)) = self.webhook.as_ref().zip(self.served.material()) else { return };
        if publish::is_trusted(webhook, &served, Timestamp::now()) {
            return self.readiness.ready(TRUST);
        }
        let secret = &self.settings.certificate_secret;
        let reason = format!(
            "its caBundle is not of the authority of tls.crt; put that into ca.crt of secret {secret}"
        );
        self.readiness.wait_for(TRUST, reason);
    }
}

fn failed(what: String) -> impl FnOnce(kube::Error) -> CertificateError {
    move |source| CertificateError::Api { what, source: Box::new(source) }
}

/// An event says that something has changed; what, is asked for.
fn heard<K>(event: Result<watcher::Event<K>, watcher::Error>, name: &str) {
    if let Err(error) = event {
        tracing::warn!(%error, name, "cannot watch; trying again");
    }
}
