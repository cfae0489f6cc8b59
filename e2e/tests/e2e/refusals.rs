use anyhow::{Result, ensure};
use capstan_e2e::namespace::Security;
use capstan_e2e::test::in_namespace;
use capstan_e2e::{policy, workload};
use serde_json::{Value, json};

/// A policy that is good but for one field.
fn policy_with(pointer: &str, value: Value) -> Value {
    let good = workload::policy("web", "1Gi", &json!({ "none": {} }), Some("receiver"));
    with(good, pointer, value)
}

/// A destination that is good but for one field.
fn destination_with(pointer: &str, value: Value) -> Value {
    let good = json!({
        "apiVersion": "capstan.dev/v1alpha1", "kind": "LogDestination", "metadata": { "name": "receiver" },
        "spec": { "syslog": { "endpoints": [{ "host": "receiver.example", "port": 6514 }] } },
    });
    with(good, pointer, value)
}

/// Puts a value at a path whose last part may be missing.
fn with(mut document: Value, pointer: &str, value: Value) -> Value {
    let (parent, key) = pointer.rsplit_once('/').unwrap_or(("", pointer));
    if let Some(Value::Object(fields)) = document.pointer_mut(parent) {
        fields.insert(key.to_owned(), value);
    }
    document
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documents_that_break_a_rule_are_refused_with_field_and_sentence() -> Result<()> {
    in_namespace("refused", Security::Restricted, async |namespace| {
        let log = "/spec/logs/0";
        let syslog = "/spec/syslog";
        for (document, said) in [
            (policy_with("/spec/logs", json!([])), vec!["spec.logs", "should have at least 1 items"]),
            (
                policy_with(&format!("{log}/rotate/retention"), json!({})),
                vec!["spec.logs[0].rotate.retention", "write at least one limit: count, age or totalSize"],
            ),
            (
                policy_with(&format!("{log}/rotate/reopen"), json!({ "none": {}, "preset": "Gunicorn" })),
                vec!["spec.logs[0].rotate.reopen", "exactly one of"],
            ),
            (
                policy_with(&format!("{log}/rotate/when"), json!({ "size": "100MB" })),
                vec!["spec.logs[0].rotate.when.size"],
            ),
            (
                policy_with(&format!("{log}/files/include"), json!(["relative/*.log"])),
                vec!["spec.logs[0].files.include[0]"],
            ),
            (
                policy_with("/metadata/name", json!("a".repeat(56))),
                vec!["metadata.name must be lower-case letters, digits and inner hyphens, at most 55 characters"],
            ),
            (
                destination_with(&format!("{syslog}/transport"), json!("UDP")),
                vec!["spec.syslog", "transport UDP cannot prove delivery; write delivery.mode BestEffort"],
            ),
            (
                destination_with(&format!("{syslog}/transport"), json!("Pigeon")),
                vec!["spec.syslog.transport", "Unsupported value", "Pigeon"],
            ),
            (
                destination_with("/spec", json!({})),
                vec!["spec", "write exactly one kind of destination; there is syslog"],
            ),
        ] {
            let refusal = namespace.refusal(&document.to_string()).await?;
            for words in said {
                ensure!(refusal.contains(words), "{words:?} is not in: {refusal}\nof {document}");
            }
        }
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_well_formed_but_cannot_work_is_told_by_condition_and_event() -> Result<()> {
    in_namespace("cannot", Security::Restricted, async |namespace| {
        namespace
            .apply_object(&policy_with("/spec/logs/0/rotate/when/schedule", json!("61 * * * *")))
            .await?;
        let condition = policy::condition(namespace, "LogRotationPolicy", "web", "Accepted", "False").await?;
        ensure!(condition.message.contains("logs[0].rotate.when.schedule"), "{condition:?}");
        ensure!(!namespace.event("web", &condition.reason).await?.is_empty(), "an event without words");

        namespace.apply_object(&policy_with("/spec/logs/0/rotate/when/schedule", json!("@daily"))).await?;
        let condition =
            policy::condition(namespace, "LogRotationPolicy", "web", "DestinationsResolved", "False").await?;
        ensure!(condition.message.contains("receiver"), "it should name the destination: {condition:?}");
        let ready = policy::condition(namespace, "LogRotationPolicy", "web", "Ready", "False").await?;
        ensure!(ready.reason == condition.reason, "the summary says {ready:?}");

        namespace.apply_object(&destination_with("/spec/syslog/transport", json!("TLS"))).await?;
        policy::condition(namespace, "LogRotationPolicy", "web", "ConfigDelivered", "True").await?;
        policy::condition(namespace, "LogDestination", "receiver", "Accepted", "True").await?;

        let unsupported = policy_with("/spec/logs/0/forward/multiline", json!({ "startPattern": "^\\d" }));
        namespace.apply_object(&unsupported).await?;
        let condition = policy::condition(namespace, "LogRotationPolicy", "web", "Accepted", "False").await?;
        ensure!(condition.reason == "NotSupported", "{condition:?}");
        ensure!(condition.message.contains("logs[0].forward.multiline"), "{condition:?}");
        Ok(())
    })
    .await
}
