use anyhow::{Context, Result, bail, ensure};
use capstan_e2e::namespace::Security;
use capstan_e2e::test::in_namespace;
use capstan_e2e::{policy, workload};
use kube::api::{DynamicObject, PostParams};
use serde_json::{Value, json};

#[path = "../../../crds/tests/cases/mod.rs"]
mod cases;

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
async fn every_rule_of_the_definitions_is_the_api_servers_too() -> Result<()> {
    in_namespace("rules", Security::Restricted, async |namespace| {
        let dry_run = PostParams { dry_run: true, ..PostParams::default() };
        for cases::Case { kind, object, refused } in cases::all() {
            let written: DynamicObject = serde_json::from_value(object.clone())?;
            let said = match (namespace.custom(kind).create(&dry_run, &written).await, refused) {
                (Ok(_), None) => continue,
                (Err(kube::Error::Api(status)), Some(refusal)) => (status.message, refusal),
                (answer, refusal) => bail!("{refusal:?} was expected of {object}, and came: {answer:?}"),
            };
            let (message, refusal) = said;
            let (field, sentence) = refusal.split_once(": ").context("a refusal without a field")?;
            let found =
                message.contains(sentence) && (field.is_empty() || message.contains(&format!("{field}: ")));
            ensure!(found, "{refusal:?} is not what {object} is refused with: {message}");
        }
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_that_are_no_values_are_refused_with_their_field() -> Result<()> {
    in_namespace("refused", Security::Restricted, async |namespace| {
        let log = "/spec/logs/0";
        for (document, said) in [
            (policy_with("/spec/logs", json!([])), ["spec.logs:", "should have at least 1 items"]),
            (
                policy_with(&format!("{log}/rotate/when"), json!({ "size": "100MB" })),
                ["spec.logs[0].rotate.when.size:", "should match"],
            ),
            (
                policy_with(&format!("{log}/files/include"), json!(["relative/*.log"])),
                ["spec.logs[0].files.include[0]:", "should match"],
            ),
            (
                destination_with("/spec/syslog/transport", json!("Pigeon")),
                [
                    "spec.syslog.transport: Unsupported value: \"Pigeon\"",
                    "supported values: \"TLS\", \"TCP\", \"UDP\"",
                ],
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
        ensure!(
            condition.message.starts_with("spec.logs[0].rotate.when.schedule: ")
                && condition.message.contains("\"61 * * * *\""),
            "{condition:?}"
        );
        ensure!(!namespace.event("web", &condition.reason).await?.is_empty(), "an event without words");

        namespace.apply_object(&policy_with("/spec/logs/0/rotate/when/schedule", json!("@daily"))).await?;
        let condition =
            policy::condition(namespace, "LogRotationPolicy", "web", "DestinationsResolved", "False").await?;
        let missing = "spec.logs[0].forward.destinations[0].name: there is no LogDestination \"receiver\" in this \
                       namespace; create it, or write the name of another";
        ensure!(condition.message == missing, "{condition:?}");
        let ready = policy::condition(namespace, "LogRotationPolicy", "web", "Ready", "False").await?;
        ensure!(ready.reason == condition.reason, "the summary says {ready:?}");

        namespace.apply_object(&destination_with("/spec/syslog/transport", json!("TLS"))).await?;
        policy::condition(namespace, "LogRotationPolicy", "web", "ConfigDelivered", "True").await?;
        policy::condition(namespace, "LogDestination", "receiver", "Accepted", "True").await?;

        let unsupported = policy_with("/spec/logs/0/forward/multiline", json!({ "startPattern": "^\\d" }));
        namespace.apply_object(&unsupported).await?;
        let condition = policy::condition(namespace, "LogRotationPolicy", "web", "Accepted", "False").await?;
        ensure!(condition.reason == "NotSupported", "{condition:?}");
        ensure!(condition.message == "spec.logs[0].forward.multiline: is not supported yet; leave it out", "{condition:?}");
        Ok(())
    })
    .await
}
