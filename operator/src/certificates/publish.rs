//! The trust in the webhook object: of all of that object, the operator owns the field `caBundle` and nothing else.

use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, Patch as JsonPatch, PatchOperation, TestOperation};
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;

/// Who has written the field, as the object says.
const FIELD_MANAGER: &str = "capstan-webhook";

/// What the API server trusts, for each of the object's webhooks.
pub fn bundles(webhook: Option<&MutatingWebhookConfiguration>) -> Vec<Vec<u8>> {
    let webhooks = webhook.and_then(|webhook| webhook.webhooks.as_deref()).unwrap_or_default();
    let bundle =
        |bundle: &Option<ByteString>| bundle.as_ref().map(|bundle| bundle.0.clone()).unwrap_or_default();
    webhooks.iter().map(|webhook| bundle(&webhook.client_config.ca_bundle)).collect()
}

/// What to change so that it trusts this bundle; None if it does.
pub fn patch(webhook: &MutatingWebhookConfiguration, bundle: &str) -> Option<JsonPatch> {
    let value = serde_json::to_value(ByteString(bundle.as_bytes().to_vec())).unwrap_or_default();
    let mut operations = Vec::new();
    for (index, webhook) in webhook.webhooks.iter().flatten().enumerate() {
        if webhook.client_config.ca_bundle.as_ref().is_some_and(|present| present.0 == bundle.as_bytes()) {
            continue;
        }
        let index = index.to_string();
        // Somebody may have reordered the webhooks since they were read.
        let name = PointerBuf::from_tokens(["webhooks", &index, "name"]);
        operations.push(PatchOperation::Test(TestOperation { path: name, value: json!(webhook.name) }));
        let path = PointerBuf::from_tokens(["webhooks", &index, "clientConfig", "caBundle"]);
        operations.push(PatchOperation::Add(AddOperation { path, value: value.clone() }));
    }
    (!operations.is_empty()).then_some(JsonPatch(operations))
}

/// Changes it.
pub async fn apply(
    webhooks: &Api<MutatingWebhookConfiguration>,
    name: &str,
    patch: JsonPatch,
) -> Result<MutatingWebhookConfiguration, kube::Error> {
    let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    webhooks.patch(name, &parameters, &Patch::Json::<()>(patch)).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::admissionregistration::v1::MutatingWebhook;

    fn object(bundles: &[Option<&str>]) -> MutatingWebhookConfiguration {
        let webhook = |(index, bundle): (usize, &Option<&str>)| {
            let mut webhook = MutatingWebhook { name: format!("w{index}"), ..MutatingWebhook::default() };
            webhook.client_config.ca_bundle = bundle.map(|bundle| ByteString(bundle.as_bytes().to_vec()));
            webhook
        };
        let webhooks = bundles.iter().enumerate().map(webhook).collect();
        MutatingWebhookConfiguration { webhooks: Some(webhooks), ..Default::default() }
    }

    #[test]
    fn only_bundles_that_differ_are_written() {
        assert_eq!(patch(&object(&[Some("a"), Some("a")]), "a"), None);
        let patch = patch(&object(&[Some("a"), None, Some("b")]), "a").unwrap();
        assert_eq!(
            serde_json::to_value(patch).unwrap(),
            json!([
                { "op": "test", "path": "/webhooks/1/name", "value": "w1" },
                { "op": "add", "path": "/webhooks/1/clientConfig/caBundle", "value": "YQ==" },
                { "op": "test", "path": "/webhooks/2/name", "value": "w2" },
                { "op": "add", "path": "/webhooks/2/clientConfig/caBundle", "value": "YQ==" },
            ])
        );
    }
}
