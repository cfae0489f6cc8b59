//! What a person needs to see when a test has failed: in, a namespace; out, text about its pods, events, custom
//! resources and logs, and about the operator.

use std::fmt::Write;

use k8s_openapi::api::core::v1::{ContainerState, ContainerStatus, Pod};
use k8s_openapi::api::events::v1::Event;
use kube::api::{Api, ListParams, LogParams};
use kube::{Client, ResourceExt};

use crate::namespace::Namespace;
use crate::{install, sidecar};

/// Lines of each log.
const TAIL: i64 = 40;

/// Everything about a namespace, and the operator's last words. What cannot be read is said instead.
pub async fn failure(namespace: &Namespace) -> String {
    let mut text = format!("\n==== what is in namespace {} ====\n", namespace.name);
    match namespace.pods().list(&ListParams::default()).await {
        Ok(pods) => {
            for pod in &pods.items {
                text += &describe(pod);
                text += &sidecar_words(namespace, pod).await;
            }
        }
        Err(error) => text += &format!("pods cannot be listed: {error}\n"),
    }
    text += &custom_resources(namespace).await;
    text += &events(namespace).await;
    text += &operator(&namespace.client).await;
    text
}

/// A pod in a few lines: phase, containers, annotations of ours.
pub fn describe(pod: &Pod) -> String {
    let status = pod.status.clone().unwrap_or_default();
    let mut text = format!("pod {} is {}", pod.name_any(), status.phase.as_deref().unwrap_or("unknown"));
    if pod.metadata.deletion_timestamp.is_some() {
        text += ", being deleted";
    }
    text += &format!(" {}\n", status.message.unwrap_or_default());
    for (key, value) in pod.annotations().iter().filter(|(key, _)| key.starts_with("capstan.dev/")) {
        _ = writeln!(text, "  {key}: {value}");
    }
    let containers = status.init_container_statuses.iter().chain(&status.container_statuses).flatten();
    for container in containers {
        text += &describe_container(container);
    }
    text
}

fn describe_container(status: &ContainerStatus) -> String {
    let state = status.state.as_ref().map_or_else(|| "unknown".to_owned(), describe_state);
    let last = status.last_state.as_ref().filter(|state| state.terminated.is_some()).map(describe_state);
    let last = last.map(|last| format!("; before: {last}")).unwrap_or_default();
    format!("  container {}: {state}, {} restarts{last}\n", status.name, status.restart_count)
}

fn describe_state(state: &ContainerState) -> String {
    if let Some(waiting) = &state.waiting {
        let message = waiting.message.as_deref().unwrap_or_default();
        return format!("waiting: {} {message}", waiting.reason.as_deref().unwrap_or_default());
    }
    if let Some(ended) = &state.terminated {
        let message = ended.message.as_deref().unwrap_or_default();
        return format!(
            "ended with {} ({}) {message}",
            ended.exit_code,
            ended.reason.as_deref().unwrap_or_default()
        );
    }
    "running".to_owned()
}

async fn sidecar_words(namespace: &Namespace, pod: &Pod) -> String {
    let mut text = String::new();
    for container in container_names(pod) {
        text += &log(&namespace.pods(), &pod.name_any(), &container).await;
        if container == sidecar::CONTAINER {
            let status = sidecar::status_text(namespace, &pod.name_any()).await;
            text += &format!("  its status: {}\n", status.unwrap_or_else(|error| format!("{error:#}")));
        }
    }
    text
}

fn container_names(pod: &Pod) -> Vec<String> {
    let Some(spec) = &pod.spec else { return Vec::new() };
    let sidecars = spec.init_containers.iter().flatten();
    sidecars.chain(&spec.containers).map(|container| container.name.clone()).collect()
}

async fn log(pods: &Api<Pod>, pod: &str, container: &str) -> String {
    let parameters =
        LogParams { container: Some(container.to_owned()), tail_lines: Some(TAIL), ..LogParams::default() };
    let said = match pods.logs(pod, &parameters).await {
        Ok(said) => said,
        Err(error) => format!("cannot be read: {error}"),
    };
    let indented: String = said.lines().map(|line| format!("    {line}\n")).collect();
    format!("  log of {pod}/{container}:\n{indented}")
}

async fn custom_resources(namespace: &Namespace) -> String {
    let mut text = String::new();
    for kind in ["LogRotationPolicy", "LogDestination"] {
        match namespace.custom(kind).list(&ListParams::default()).await {
            Ok(found) => {
                for object in found.items {
                    let status = object.data.get("status").cloned().unwrap_or_default();
                    text += &format!("{kind} {}: {status}\n", object.name_any());
                }
            }
            Err(error) => text += &format!("{kind}: cannot be listed: {error}\n"),
        }
    }
    text
}

async fn events(namespace: &Namespace) -> String {
    let mut events = match namespace.api::<Event>().list(&ListParams::default()).await {
        Ok(events) => events.items,
        Err(error) => return format!("events cannot be listed: {error}\n"),
    };
    events.sort_by_key(|event| event.creation_timestamp().map(|time| time.0));
    events.iter().map(describe_event).collect()
}

fn describe_event(event: &Event) -> String {
    let about = event.regarding.clone().unwrap_or_default();
    let words = |text: &Option<String>| text.clone().unwrap_or_default();
    format!(
        "event {} {} about {} {}: {}\n",
        words(&event.type_),
        words(&event.reason),
        words(&about.kind),
        words(&about.name),
        words(&event.note)
    )
}

/// The last lines of each replica of the operator.
async fn operator(client: &Client) -> String {
    let pods: Api<Pod> = Api::namespaced(client.clone(), install::NAMESPACE);
    let mut text = "==== the operator ====\n".to_owned();
    match pods.list(&ListParams::default()).await {
        Ok(found) => {
            for pod in &found.items {
                text += &describe(pod);
                for container in container_names(pod) {
                    text += &log(&pods, &pod.name_any(), &container).await;
                }
            }
        }
        Err(error) => text += &format!("its pods cannot be listed: {error}\n"),
    }
    text
}
