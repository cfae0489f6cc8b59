//! A namespace of a test's own: in, a name and whether Pod Security refuses what is not `restricted`; out, handles to
//! what is in it.

use std::fmt::Debug;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use http::Request;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{Namespace as NamespaceObject, Pod};
use k8s_openapi::api::events::v1::Event;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch};
use kube::client::Body;
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::{documents, exec, wait};

/// Whether something is done, or only asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// As `kubectl --dry-run=server`.
    DryRun,
    /// As `kubectl`.
    ForReal,
}

/// What Pod Security admission enforces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    /// What Capstan must get along with.
    Restricted,
    /// For tests whose app is root.
    Baseline,
    /// For tests of what nothing protects.
    Privileged,
}

impl Security {
    fn word(self) -> &'static str {
        match self {
            Security::Restricted => "restricted",
            Security::Baseline => "baseline",
            Security::Privileged => "privileged",
        }
    }
}

/// A namespace that exists.
#[derive(Clone)]
pub struct Namespace {
    /// The administrator's client.
    pub client: Client,
    /// Its name.
    pub name: String,
}

impl Namespace {
    /// Creates it, with a name that no other run uses.
    ///
    /// # Errors
    ///
    /// The API server refuses, or gives it no default service account.
    pub async fn create(client: Client, prefix: &str, security: Security) -> Result<Self> {
        let name = unique(prefix);
        let object: NamespaceObject = serde_json::from_value(json!({
            "metadata": { "name": name, "labels": {
                "pod-security.kubernetes.io/enforce": security.word(),
                "app.kubernetes.io/managed-by": "capstan-e2e",
            }},
        }))?;
        Api::all(client.clone())
            .create(&Default::default(), &object)
            .await
            .context("cannot create a namespace")?;
        let namespace = Self { client, name };
        namespace.wait_for_service_account().await?;
        Ok(namespace)
    }

    /// Pods are refused before the controller has made the namespace's default service account.
    async fn wait_for_service_account(&self) -> Result<()> {
        let accounts = self.api::<k8s_openapi::api::core::v1::ServiceAccount>();
        wait::until("the default service account", wait::LIMIT, async || {
            accounts.get("default").await?;
            Ok(())
        })
        .await
    }

    /// Deletes it with all that is in it, without waiting for the end.
    ///
    /// # Errors
    ///
    /// The API server refuses.
    pub async fn delete(&self) -> Result<()> {
        Api::<NamespaceObject>::all(self.client.clone()).delete(&self.name, &DeleteParams::default()).await?;
        // Apps of some tests use their whole grace period on purpose; nobody waits for them any more.
        let soon = DeleteParams::default().grace_period(1);
        self.pods().delete_collection(&soon, &ListParams::default()).await?;
        Ok(())
    }

    /// Objects of a built-in kind in it.
    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + DeserializeOwned + Debug,
    {
        Api::namespaced(self.client.clone(), &self.name)
    }

    /// Its pods.
    pub fn pods(&self) -> Api<Pod> {
        self.api()
    }

    /// Objects of one of Capstan's own kinds in it, seen as a user sees them.
    pub fn custom(&self, kind: &str) -> Api<DynamicObject> {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("capstan.dev", "v1alpha1", kind));
        Api::namespaced_with(self.client.clone(), &self.name, &resource)
    }

    /// Applies all documents of a text, in their order.
    ///
    /// # Errors
    ///
    /// The first one that is refused.
    pub async fn apply(&self, yaml: &str) -> Result<()> {
        for object in documents::parse(yaml)? {
            documents::apply(&self.client, &self.name, &object).await?;
        }
        Ok(())
    }

    /// Applies one document.
    ///
    /// # Errors
    ///
    /// It is refused.
    pub async fn apply_object(&self, document: &serde_json::Value) -> Result<()> {
        let object = serde_json::from_value(document.clone())?;
        documents::apply(&self.client, &self.name, &object).await.map(drop)
    }

    /// Applies a document that has to be refused; returns what the API server said.
    ///
    /// # Errors
    ///
    /// It was accepted.
    pub async fn refusal(&self, yaml: &str) -> Result<String> {
        let objects = documents::parse(yaml)?;
        let object = objects.first().context("no document")?;
        match documents::apply(&self.client, &self.name, object).await {
            Ok(_) => anyhow::bail!("this should have been refused:\n{yaml}"),
            Err(error) => Ok(match error.downcast_ref::<kube::Error>() {
                Some(kube::Error::Api(status)) => status.message.clone(),
                _ => return Err(error),
            }),
        }
    }

    /// Creates a pod; returns it as the API server sees it, and the warnings that `kubectl` would print.
    ///
    /// # Errors
    ///
    /// It is refused.
    pub async fn create_pod(&self, pod: &serde_json::Value, mode: Mode) -> Result<(Pod, Vec<String>)> {
        let query = match mode {
            Mode::DryRun => "?dryRun=All",
            Mode::ForReal => "",
        };
        let path = format!("/api/v1/namespaces/{}/pods{query}", self.name);
        let request = Request::post(path).header("Content-Type", "application/json");
        let response = self.client.send(request.body(Body::from(serde_json::to_vec(pod)?))?).await?;
        let warnings = response.headers().get_all("Warning").iter();
        let warnings = warnings.filter_map(|value| Some(warning_text(value.to_str().ok()?))).collect();
        let succeeded = response.status().is_success();
        let body = response.into_body().collect_bytes().await?;
        ensure!(succeeded, "the pod was refused: {}", String::from_utf8_lossy(&body));
        Ok((serde_json::from_slice(&body)?, warnings))
    }

    /// The pods that carry all these labels (`app=web`), except those that are being deleted.
    pub async fn pods_with(&self, labels: &str) -> Result<Vec<Pod>> {
        let mut pods = self.pods().list(&ListParams::default().labels(labels)).await?.items;
        pods.retain(|pod| pod.metadata.deletion_timestamp.is_none());
        Ok(pods)
    }

    /// Waits until exactly `count` pods carry these labels and all are ready.
    ///
    /// # Errors
    ///
    /// They do not become ready in time.
    pub async fn ready_pods(&self, labels: &str, count: usize) -> Result<Vec<Pod>> {
        wait::until(&format!("{count} ready pods {labels}"), wait::LIMIT, async || {
            let pods = self.pods_with(labels).await?;
            let ready = pods.iter().filter(|pod| is_ready(pod)).count();
            ensure!(ready == count && pods.len() == count, "{ready} of {} pods are ready", pods.len());
            Ok(pods)
        })
        .await
    }

    /// The one pod that carries these labels, ready.
    ///
    /// # Errors
    ///
    /// It does not become ready in time.
    pub async fn ready_pod(&self, labels: &str) -> Result<Pod> {
        self.ready_pods(labels, 1).await?.pop().context("no pod")
    }

    /// Waits for an event with this reason about an object of this name; returns its note.
    ///
    /// # Errors
    ///
    /// There is none within the limit; the error lists those there are.
    pub async fn event(&self, about: &str, reason: &str) -> Result<String> {
        wait::until(&format!("an event {reason} about {about}"), wait::LIMIT, async || {
            let events = self.events(about).await?;
            let found = events.iter().find(|event| event.reason.as_deref() == Some(reason));
            let reasons: Vec<_> = events.iter().filter_map(|event| event.reason.as_deref()).collect();
            let note = found.with_context(|| format!("events about {about}: {reasons:?}"))?.note.clone();
            Ok(note.unwrap_or_default())
        })
        .await
    }

    /// All events about objects of this name.
    pub async fn events(&self, about: &str) -> Result<Vec<Event>> {
        let mut events = self.api::<Event>().list(&ListParams::default()).await?.items;
        events.retain(|event| {
            event
                .regarding
                .as_ref()
                .and_then(|object| object.name.as_deref())
                .is_some_and(|name| name == about)
        });
        Ok(events)
    }

    /// Has kubelet look at a pod's volumes now, which it does whenever the pod changes, and not in a minute.
    ///
    /// # Errors
    ///
    /// The pod cannot be changed.
    pub async fn nudge_kubelet(&self, pod: &str) -> Result<()> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros().to_string();
        let patch = json!({ "metadata": { "annotations": { "example.com/nudge": since } } });
        self.pods().patch(pod, &Default::default(), &Patch::Merge(patch)).await?;
        Ok(())
    }

    /// Runs a line of shell in a container.
    ///
    /// # Errors
    ///
    /// It fails.
    pub async fn shell(&self, pod: &str, container: &str, script: &str) -> Result<String> {
        exec::shell(&self.pods(), pod, container, script).await
    }
}

/// Whether a pod's condition `Ready` is true.
pub fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.is_some_and(|all| all.iter().any(|one| one.type_ == "Ready" && one.status == "True"))
}

/// How often a container of the pod was restarted; `None` if the pod has none of that name.
pub fn restarts(pod: &Pod, container: &str) -> Option<i32> {
    let status = pod.status.as_ref()?;
    let all = status.init_container_statuses.iter().chain(&status.container_statuses).flatten();
    all.filter(|one| one.name == container).map(|one| one.restart_count).next()
}

/// The name of an object that has one.
pub fn name_of(object: &impl ResourceExt) -> String {
    object.name_any()
}

/// The text of a header `299 - "text"`, in which quotes are escaped.
fn warning_text(header: &str) -> String {
    let text = header.splitn(3, ' ').nth(2).unwrap_or(header);
    text.trim_matches('"').replace("\\\"", "\"").replace("\\\\", "\\")
}

/// Another run, or another test of this one, may use the same prefix at the same time.
fn unique(prefix: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let count = COUNT.fetch_add(1, Relaxed);
    format!("e2e-{prefix}-{:x}{:x}{count}", since.as_millis() & 0xff_ffff, std::process::id() & 0xfff)
}
