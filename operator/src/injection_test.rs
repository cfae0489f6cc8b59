//! Whether injection works on this cluster, which is what `helm test` asks: in, a namespace; out, a sentence or an error.
//!
//! What always holds: the pod is created in a dry run, so nothing is made and nothing is left.

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, PostParams};
use kube::{Client, Config, ResourceExt};
use serde_json::json;

use crate::{names, probe_pod};

/// The name of the pod, and of the policy that it asks for: there need not be one.
const NAME: &str = "capstan-injection-test";

/// What can be wrong.
#[derive(Debug, thiserror::Error)]
pub enum InjectionTestError {
    /// There is no way to the API server.
    #[error("no cluster; run in a pod, or set KUBECONFIG")]
    Cluster(#[from] kube::config::InferConfigError),
    /// The client could not be made.
    #[error("cannot talk to the cluster")]
    Client(#[from] kube::Error),
    /// Nothing could be asked.
    #[error("cannot create a pod in namespace {namespace}, not even in a dry run")]
    Create {
        /// Where.
        namespace: String,
        /// What the API server said.
        source: Box<kube::Error>,
    },
    /// The webhook did not answer.
    #[error(
        "the webhook was not called for a pod in namespace {namespace}; see whether its pods are ready, \
         and whether the namespace is excluded"
    )]
    NotCalled {
        /// Where.
        namespace: String,
    },
    /// It answered that it would not.
    #[error("the webhook was called for a pod in namespace {namespace}, and did not inject: {status}")]
    Refused {
        /// Where.
        namespace: String,
        /// The status annotation.
        status: String,
    },
}

/// Creates an annotated pod in a dry run, and looks at the answer.
///
/// # Errors
/// If the pod cannot be created, or comes back without the sidecar.
pub async fn run(namespace: &str, image: &str) -> Result<String, InjectionTestError> {
    let client = Client::try_from(Config::infer().await?)?;
    let pods: Api<Pod> = Api::namespaced(client, namespace);
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    let answer = pods.create(&dry_run, &pod(image)).await.map_err(|error| InjectionTestError::Create {
        namespace: namespace.to_owned(),
        source: Box::new(error),
    })?;
    verdict(&answer, namespace)
}

/// A pod that a restricted namespace takes.
fn pod(image: &str) -> Pod {
    let metadata = json!({ "name": NAME, "annotations": { names::POLICY: NAME } });
    serde_json::from_value(probe_pod::pod(&metadata, image)).unwrap_or_default()
}

fn verdict(answer: &Pod, namespace: &str) -> Result<String, InjectionTestError> {
    if let Some(sidecar) = probe_pod::sidecar(answer) {
        let image = sidecar.image.as_deref().unwrap_or_default();
        return Ok(format!("a pod in namespace {namespace} gets the sidecar {image}"));
    }
    let namespace = namespace.to_owned();
    Err(match answer.annotations().get(names::STATUS) {
        Some(status) => InjectionTestError::Refused { namespace, status: status.clone() },
        None => InjectionTestError::NotCalled { namespace },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(change: impl FnOnce(&mut Pod)) -> Result<String, String> {
        let mut answer = pod("app:1");
        change(&mut answer);
        verdict(&answer, "shop").map_err(|error| error.to_string())
    }

    #[test]
    fn the_pod_asks_for_the_sidecar_and_has_a_volume_for_it() {
        let pod = pod("app:1");
        assert!(pod.annotations().contains_key(names::POLICY));
        assert_eq!(pod.spec.unwrap().containers[0].image.as_deref(), Some("app:1"));
    }

    #[test]
    fn a_pod_that_comes_back_with_the_sidecar_is_fine() {
        let said = answer(|pod| {
            let sidecar = json!([{ "name": "capstan", "image": "capstan-sidecar:1" }]);
            pod.spec.as_mut().unwrap().init_containers = Some(serde_json::from_value(sidecar).unwrap());
        });
        assert_eq!(said.unwrap(), "a pod in namespace shop gets the sidecar capstan-sidecar:1");
    }

    #[test]
    fn a_pod_that_comes_back_as_it_was_means_that_nobody_was_called() {
        let said = answer(|_| {}).unwrap_err();
        assert!(
            said.starts_with("the webhook was not called for a pod in namespace shop; see whether"),
            "{said}"
        );
    }

    #[test]
    fn a_reason_of_the_webhook_is_passed_on() {
        let said = answer(|pod| {
            pod.annotations_mut().insert(names::STATUS.to_owned(), "{\"injected\":false}".to_owned());
        });
        let expected =
            "the webhook was called for a pod in namespace shop, and did not inject: {\"injected\":false}";
        assert_eq!(said.unwrap_err(), expected);
    }
}
