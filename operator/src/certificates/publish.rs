//! The trust in the webhook object: of all of that object, the operator owns the field `caBundle` and nothing else.

use jiff::Timestamp;
use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, Patch as JsonPatch, PatchOperation, TestOperation};
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::certificates::material::Material;

/// Who has written the field, as the object says.
const FIELD_MANAGER: &str = "capstan-webhook";

/// What the API server trusts, for each of the object's webhooks.
pub fn bundles(webhook: Option<&MutatingWebhookConfiguration>) -> Vec<Vec<u8>> {
    let webhooks = webhook.and_then(|webhook| webhook.webhooks.as_deref()).unwrap_or_default();
    let bundle =
        |bundle: &Option<ByteString>| bundle.as_ref().map(|bundle| bundle.0.clone()).unwrap_or_default();
    webhooks.iter().map(|webhook| bundle(&webhook.client_config.ca_bundle)).collect()
}

/// Whether the API server trusts this certificate, as far as the object says by whom it has to be signed.
pub fn is_trusted(webhook: &MutatingWebhookConfiguration, served: &Material, now: Timestamp) -> bool {
    bundles(Some(webhook)).iter().all(|bundle| match bundle.is_empty() {
        // Then the API server goes by the authorities of its own machine.
        true => served.bundle().is_none(),
        false => served.is_trusted_by(bundle, now),
    })
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
    use crate::certificates::issue;
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

    #[test]
    fn a_certificate_is_trusted_under_its_own_authority_and_no_other() {
        let now = Timestamp::now();
        let make = || issue::everything(now, &["capstan-webhook.capstan-system.svc".to_owned()]).unwrap();
        let (ours, theirs) = (make(), make());
        let trusted = |bundles: &[Option<&str>], served: &Material| is_trusted(&object(bundles), served, now);
        let (own, other) = (ours.bundle().unwrap(), theirs.bundle().unwrap());
        let both = format!("{other}{own}");
        assert!(trusted(&[Some(&own), Some(&both)], &ours));
        assert!(!trusted(&[Some(&own), Some(&other)], &ours));
        assert!(!trusted(&[Some(&own), None], &ours) && !trusted(&[Some("no certificate")], &ours));
        let self_signed = Material { leaf: own.clone(), ..Material::default() };
        assert!(trusted(&[Some(&own)], &self_signed));
    }

    #[test]
    fn without_an_authority_of_its_own_a_certificate_needs_that_nobody_else_says_one() {
        let now = Timestamp::now();
        let bare = Material { authority: None, trusted: None, ..issue::everything(now, &[]).unwrap() };
        let stale = issue::everything(now, &[]).unwrap().bundle().unwrap();
        assert!(is_trusted(&object(&[None]), &bare, now));
        assert!(!is_trusted(&object(&[Some(&stale)]), &bare, now));
    }
}
