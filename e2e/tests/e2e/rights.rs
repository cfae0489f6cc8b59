use anyhow::{Result, bail, ensure};
use capstan_e2e::images::Image;
use capstan_e2e::install;
use capstan_e2e::kube::client_as;
use capstan_e2e::namespace::{Namespace, Security};
use capstan_e2e::test::in_namespace;
use capstan_e2e::workload::{self, annotated, pod};
use capstan_e2e::{documents, policy, sidecar, wait};
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_may_only_write_policies_cannot_change_a_pod_with_them() -> Result<()> {
    in_namespace("author", Security::Restricted, async |namespace| {
        namespace.apply(AUTHOR).await?;
        let author = client_as(&namespace.name, "author").await?;
        let pods: Api<Pod> = Api::namespaced(author.clone(), &namespace.name);
        start(namespace).await?;
        let refused = is_forbidden(pods.get("app").await)?;
        ensure!(refused.contains("pods"), "{refused}");

        // All that might leak from a policy into a pod.
        let mut written = workload::policy("web", "1Gi", &json!({ "none": {} }), None);
        written["metadata"]["labels"] = json!({ "app": "other", "capstan.dev/injected": "false" });
        written["metadata"]["annotations"] = json!({
            "capstan.dev/share-process-namespace": "true", "capstan.dev/run-as-user": "0",
            "capstan.dev/resources": "{\"limits\":{\"memory\":\"8Gi\"}}",
        });
        let written = documents_of(&written)?;
        wait::until("the author's rights", wait::LIMIT, async || {
            documents::apply(&author, &namespace.name, &written).await.map(drop)
        })
        .await?;
        policy::pods(namespace, "web", "upToDate", 1).await?;

        let after = namespace.pods().get("app").await?;
        let annotations = after.metadata.annotations.clone().unwrap_or_default();
        let ours: Vec<&String> = annotations.keys().filter(|key| key.starts_with("capstan.dev/")).collect();
        ensure!(
            ours == ["capstan.dev/config-hash", "capstan.dev/policy", "capstan.dev/status"],
            "annotations: {annotations:?}"
        );
        let spec = after.spec.unwrap_or_default();
        ensure!(spec.share_process_namespace != Some(true), "processes are shared");
        let sidecar = spec.init_containers.iter().flatten().find(|one| one.name == sidecar::CONTAINER);
        let user =
            sidecar.and_then(|one| one.security_context.as_ref()).and_then(|context| context.run_as_user);
        ensure!(user == Some(1000), "the sidecar runs as {user:?}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_controller_may_change_only_the_hash_and_the_sidecars_image() -> Result<()> {
    in_namespace("narrow", Security::Restricted, async |namespace| {
        start(namespace).await?;
        let controller = client_as(install::NAMESPACE, "capstan-controller").await?;
        let hash = json!({ "metadata": { "annotations": { "capstan.dev/config-hash": "web=0123456789abcdef" } } });
        patch(&controller, namespace, &hash).await?;
        let image = |name: &str| json!({ "spec": { "initContainers": [{ "name": name, "image": Image::Sidecar.name() }] } });
        patch(&controller, namespace, &image(sidecar::CONTAINER)).await?;

        for (what, change) in [
            ("a label", json!({ "metadata": { "labels": { "app": "other" } } })),
            ("another annotation", json!({ "metadata": { "annotations": { "capstan.dev/policy": "other" } } })),
            ("a finalizer", json!({ "metadata": { "finalizers": ["example.com/stay"] } })),
            ("the app's image", json!({ "spec": { "containers": [{ "name": "app", "image": "other:1" }] } })),
            ("the deadline", json!({ "spec": { "activeDeadlineSeconds": 100000 } })),
        ] {
            match patch(&controller, namespace, &change).await {
                Ok(()) => bail!("the controller could change {what}"),
                Err(error) => ensure!(
                    format!("{error:#}").contains("ValidatingAdmissionPolicy"),
                    "{what}: refused by somebody else: {error:#}"
                ),
            }
        }
        config_maps_are_its_own(namespace, &controller).await?;
        for resource in ["secrets", "pods"] {
            let path = format!("/api/v1/namespaces/{}/{resource}", namespace.name);
            let request = http::Request::delete(path).body(Vec::new())?;
            ensure!(controller.request_text(request).await.is_err(), "the controller could delete {resource}");
        }
        Ok(())
    })
    .await
}

/// It may write ConfigMaps that are called and labelled like its own, and no others.
async fn config_maps_are_its_own(namespace: &Namespace, controller: &Client) -> Result<()> {
    let named = |name: &str, labels: Value| {
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name, "labels": labels },
                "data": { "a": "b" } })
    };
    let ours = json!({ "app.kubernetes.io/managed-by": "capstan-operator" });
    namespace.apply_object(&named("capstan-theirs", json!({}))).await?;
    let apply = async |document: Value| {
        documents::apply(controller, &namespace.name, &documents_of(&document)?).await.map(drop)
    };
    apply(named("capstan-own", ours.clone())).await?;
    for (what, document) in [
        ("one of another name", named("coredns", ours.clone())),
        ("one without the label", named("capstan-plain", json!({}))),
        ("one that was somebody else's", named("capstan-theirs", ours)),
    ] {
        let Err(error) = apply(document).await else { bail!("the controller could write {what}") };
        ensure!(
            format!("{error:#}").contains("may write no ConfigMap but those"),
            "{what}: refused by somebody else: {error:#}"
        );
    }
    Ok(())
}

const AUTHOR: &str = "
apiVersion: v1
kind: ServiceAccount
metadata: { name: author }
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: { name: author }
rules:
- apiGroups: [capstan.dev]
  resources: [logrotationpolicies, logdestinations]
  verbs: [get, list, watch, create, update, patch, delete]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: { name: author }
roleRef: { apiGroup: rbac.authorization.k8s.io, kind: Role, name: author }
subjects:
- { kind: ServiceAccount, name: author }
";

fn app() -> Value {
    annotated(pod("app", &Image::Busybox.name(), &json!(["sleep", "100000"])), "web")
}

async fn start(namespace: &Namespace) -> Result<()> {
    namespace.apply_object(&app()).await?;
    namespace.ready_pod("app=app").await.map(drop)
}

async fn patch(client: &Client, namespace: &Namespace, change: &Value) -> Result<()> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), &namespace.name);
    pods.patch("app", &PatchParams::default(), &Patch::Strategic(change)).await?;
    Ok(())
}

fn documents_of(document: &Value) -> Result<kube::api::DynamicObject> {
    Ok(serde_json::from_value(document.clone())?)
}

fn is_forbidden<T>(answer: kube::Result<T>) -> Result<String> {
    match answer {
        Err(kube::Error::Api(status)) if status.code == 403 => Ok(status.message.clone()),
        Err(error) => Err(error.into()),
        Ok(_) => bail!("this should have been forbidden"),
    }
}
