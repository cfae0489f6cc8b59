use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use capstan_e2e::images::Image;
use capstan_e2e::install::checkout;
use capstan_e2e::namespace::{Namespace, Security, name_of, restarts};
use capstan_e2e::requests::Client;
use capstan_e2e::test::in_namespace;
use capstan_e2e::{documents, policy, sidecar, wait};
use kube::ResourceExt;
use kube::api::{DynamicObject, LogParams};
use serde_json::{Value, json};
use tokio::process::Command;

const RECEIVER: &str = "app.kubernetes.io/name=receiver";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_gunicorn_example_works_as_it_stands() -> Result<()> {
    in_namespace("gunicorn", Security::Restricted, async |namespace| {
        receiver(namespace).await?;
        // The workload first: nothing in the example depends on the order.
        for object in objects("gunicorn")?.iter().rev() {
            documents::apply(&namespace.client, &namespace.name, object).await?;
        }
        let pods = namespace.ready_pods("app.kubernetes.io/name=gunicorn", 2).await?;
        for pod in &pods {
            ensure!(
                restarts(pod, sidecar::CONTAINER) == Some(0),
                "{} has no sidecar that runs",
                pod.name_any()
            );
        }
        let client = Client::start(namespace).await?;
        client.send_to_port("gunicorn", 80, 0, 50, 100).await?;
        received(namespace, "GET /req/000049").await?;
        policy::ready(namespace, "gunicorn").await.map(drop)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_nginx_example_works_as_it_stands() -> Result<()> {
    in_namespace("nginx", Security::Restricted, async |namespace| {
        receiver(namespace).await?;
        apply(namespace, "nginx").await?;
        namespace.ready_pod("app.kubernetes.io/name=nginx").await?;
        let client = Client::start(namespace).await?;
        client.send_to_port("nginx", 80, 0, 50, 100).await?;
        received(namespace, "GET /req/000049").await?;
        policy::ready(namespace, "nginx").await.map(drop)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_file_writer_example_works_as_it_stands() -> Result<()> {
    in_namespace("writer", Security::Restricted, async |namespace| {
        receiver(namespace).await?;
        apply(namespace, "file-writer").await?;
        namespace.ready_pod("app.kubernetes.io/name=file-writer").await?;
        received(namespace, " line 20").await?;
        policy::ready(namespace, "file-writer").await.map(drop)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_job_example_works_as_it_stands() -> Result<()> {
    in_namespace("report", Security::Restricted, async |namespace| {
        receiver(namespace).await?;
        apply(namespace, "job").await?;
        wait::until("the Job to complete", wait::LIMIT, async || {
            let job = namespace.api::<k8s_openapi::api::batch::v1::Job>().get("report").await?;
            ensure!(job.status.unwrap_or_default().succeeded == Some(1), "it has not succeeded");
            Ok(())
        })
        .await?;
        received(namespace, "report line 10000").await
    })
    .await
}

/// The receiver of the examples, with the certificate that its script makes.
async fn receiver(namespace: &Namespace) -> Result<()> {
    let mut script = Command::new("sh");
    script.arg(checkout().join("examples/receiver/certificate.sh")).stdin(Stdio::null());
    let made = script.output().await.context("cannot run certificate.sh")?;
    ensure!(made.status.success(), "certificate.sh: {}", String::from_utf8_lossy(&made.stderr));
    namespace.apply(&String::from_utf8(made.stdout)?).await?;
    apply(namespace, "receiver").await?;
    namespace.ready_pod(RECEIVER).await.map(drop)
}

/// `kubectl apply -f examples/NAME/`, with the suite's own images.
async fn apply(namespace: &Namespace, example: &str) -> Result<()> {
    for object in objects(example)? {
        documents::apply(&namespace.client, &namespace.name, &object).await?;
    }
    Ok(())
}

fn objects(example: &str) -> Result<Vec<DynamicObject>> {
    let mut objects = documents::in_directory(&checkout().join("examples").join(example))?;
    objects.iter_mut().for_each(replace_images);
    Ok(objects)
}

fn replace_images(object: &mut DynamicObject) {
    let Some(pod) = object.data.pointer_mut("/spec/template/spec") else { return };
    for list in ["initContainers", "containers"] {
        for container in pod.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            let public = container["image"].as_str().unwrap_or_default().to_owned();
            if let Some(image) = ours(&public) {
                container["image"] = json!(image.name());
            }
        }
    }
}

/// What stands for a public image where there is no registry.
fn ours(public: &str) -> Option<Image> {
    let words = [
        ("python", Image::Gunicorn),
        ("gunicorn", Image::Gunicorn),
        ("nginx", Image::Nginx),
        ("rsyslog", Image::Rsyslog),
        ("busybox", Image::Busybox),
        ("capstan-peers", Image::Peers),
    ];
    words.into_iter().find(|(word, _)| public.contains(word)).map(|(_, image)| image)
}

/// Waits until the receiver has printed a line with this text.
async fn received(namespace: &Namespace, text: &str) -> Result<()> {
    let receiver = name_of(&namespace.ready_pod(RECEIVER).await?);
    wait::until(&format!("{text:?} at the receiver"), wait::LIMIT, async || {
        let printed = namespace.pods().logs(&receiver, &LogParams::default()).await?;
        ensure!(printed.contains(text), "it printed {} other lines", printed.lines().count());
        Ok(())
    })
    .await
}
