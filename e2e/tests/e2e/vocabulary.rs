use anyhow::{Result, ensure};
use capstan_e2e::exec;
use capstan_e2e::images::Image;
use capstan_e2e::namespace::{Namespace, Security, name_of};
use capstan_e2e::receiver::Receiver;
use capstan_e2e::requests::Client;
use capstan_e2e::test::in_namespace;
use capstan_e2e::workload::{self, pod};
use capstan_e2e::{recount, wait};
use capstan_peers::lines::Numbering;
use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::json;

/// Sends each argument as one message in an octet-counted frame, and waits for the receiver to close in answer.
const SEND: &str = r#"
import socket, ssl, sys
context = ssl.create_default_context(cadata=sys.argv[2])
with context.wrap_socket(socket.create_connection((sys.argv[1], 6514)), server_hostname=sys.argv[1]) as stream:
    for text in sys.argv[3:]:
        message = ("<134>1 2026-01-01T00:00:00Z host app - id - " + text).encode()
        stream.sendall(b"%d %s" % (len(message), message))
    stream.unwrap()
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_keeps_what_it_stored_when_its_pod_is_deleted() -> Result<()> {
    in_namespace("receiver", Security::Restricted, async |namespace| {
        let receiver = Receiver::start(namespace, "receiver").await?;
        let sender = pod("sender", &Image::Gunicorn.name(), &json!(["sleep", "100000"]));
        namespace.apply_object(&sender).await?;
        namespace.ready_pod("app=sender").await?;
        send(namespace, &receiver, &["w00 000000000 ", "w00 000000001 "]).await?;
        receiver.message_with("w00 000000001").await?;
        receiver.delete_pod().await?;
        // The Service leads to the former pod for a moment.
        wait::until("the new pod to be reached", wait::LIMIT, async || {
            send(namespace, &receiver, &["w00 000000002 "]).await
        })
        .await?;
        let seen = recount::at_receiver(&receiver, Numbering::Writer, "w00", 3).await?;
        ensure!(seen.is_exact(), "{seen}");
        Ok(())
    })
    .await
}

async fn send(namespace: &Namespace, receiver: &Receiver, messages: &[&str]) -> Result<()> {
    let authority = namespace.api::<ConfigMap>().get(&receiver.authority()).await?.data.unwrap_or_default();
    let host = receiver.host();
    let mut command = vec!["python3", "-c", SEND, &host, &authority["ca.crt"]];
    command.extend(messages);
    exec::exec(&namespace.pods(), "sender", "app", &command).await.map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_request_to_a_gunicorn_is_a_line_of_its_log() -> Result<()> {
    in_namespace("requests", Security::Restricted, async |namespace| {
        // Without the annotation, it is an app like any other.
        for mut object in workload::gunicorn("web", "web") {
            if let Some(annotations) = object.pointer_mut("/spec/template/metadata/annotations") {
                *annotations = json!({});
            }
            namespace.apply_object(&object).await?;
        }
        let web = name_of(&namespace.ready_pod("app=web").await?);
        let client = Client::start(namespace).await?;
        client.send("web", 0, 100, 1000).await?;
        let numbering = Numbering::After("/req/");
        let files = recount::in_files(namespace, &web, "app", workload::LOGS, numbering).await?;
        let seen = files.compare([("", 100)]);
        ensure!(seen.is_exact(), "{seen}");
        // And a request that was never sent is missed.
        ensure!(files.compare([("", 101)]).missing == 1, "the recount sees what is not there");
        Ok(())
    })
    .await
}
