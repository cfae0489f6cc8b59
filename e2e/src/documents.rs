//! YAML documents, as a user would apply them: in, text; out, objects on the cluster.

use std::path::Path;

use anyhow::{Context, Result};
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::discovery::{ApiResource, Scope, pinned_kind};
use kube::{Client, ResourceExt};
use serde::Deserialize;

/// Who the API server says has set the fields.
const FIELD_MANAGER: &str = "capstan-e2e";

/// The documents of a text, empty ones left out.
pub fn parse(yaml: &str) -> Result<Vec<DynamicObject>> {
    let mut objects = Vec::new();
    for document in serde_yaml_ng::Deserializer::from_str(yaml) {
        let value = serde_json::Value::deserialize(document).with_context(|| format!("not YAML:\n{yaml}"))?;
        if !value.is_null() {
            objects.push(serde_json::from_value(value).with_context(|| format!("not an object:\n{yaml}"))?);
        }
    }
    Ok(objects)
}

/// All documents of a directory's YAML files, by file name.
pub fn in_directory(directory: &Path) -> Result<Vec<DynamicObject>> {
    let listed =
        std::fs::read_dir(directory).with_context(|| format!("cannot list {}", directory.display()))?;
    let mut paths = listed.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    paths.sort();
    let mut objects = Vec::new();
    for path in paths {
        let yaml = std::fs::read_to_string(&path)?;
        objects.append(&mut parse(&yaml).with_context(|| format!("in {}", path.display()))?);
    }
    Ok(objects)
}

/// Server-side apply, as `kubectl apply --server-side` does it; namespaced objects go to `namespace`, unless they
/// name their own.
///
/// # Errors
///
/// What the API server said, with the object's kind and name.
pub async fn apply(client: &Client, namespace: &str, object: &DynamicObject) -> Result<DynamicObject> {
    let api = api_of(client, namespace, object).await?;
    let patched = api.patch(&object.name_any(), &parameters(), &Patch::Apply(object)).await;
    patched.with_context(|| format!("cannot apply {}", title(object)))
}

/// Deletes what [`apply`] has applied; what is gone already is no error.
pub async fn delete(client: &Client, namespace: &str, object: &DynamicObject) -> Result<()> {
    let api = api_of(client, namespace, object).await?;
    match api.delete(&object.name_any(), &Default::default()).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(error).with_context(|| format!("cannot delete {}", title(object))),
    }
}

/// Where objects of this kind live.
pub async fn api_of(client: &Client, namespace: &str, object: &DynamicObject) -> Result<Api<DynamicObject>> {
    let types = object.types.as_ref().context("a document has no apiVersion and kind")?;
    let (resource, namespaced) = resource(client, &GroupVersionKind::try_from(types)?).await?;
    let namespace = object.namespace().unwrap_or_else(|| namespace.to_owned());
    Ok(match namespaced {
        true => Api::namespaced_with(client.clone(), &namespace, &resource),
        false => Api::all_with(client.clone(), &resource),
    })
}

async fn resource(client: &Client, kind: &GroupVersionKind) -> Result<(ApiResource, bool)> {
    let found = pinned_kind(client, kind).await;
    let (resource, capabilities) =
        found.with_context(|| format!("the cluster knows no {} {}", kind.api_version(), kind.kind))?;
    Ok((resource, capabilities.scope == Scope::Namespaced))
}

/// What `apply` asks for.
fn parameters() -> PatchParams {
    PatchParams::apply(FIELD_MANAGER).force()
}

fn title(object: &DynamicObject) -> String {
    let kind = object.types.as_ref().map_or("object", |types| types.kind.as_str());
    format!("{kind} {}", object.name_any())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_holds_several_documents_and_empty_ones_do_not_count() {
        let yaml = "---\n# only a comment\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: a}\n---\n\
                    apiVersion: v1\nkind: Pod\nmetadata: {name: b}\n";
        let objects = parse(yaml).unwrap();
        let titles: Vec<String> = objects.iter().map(title).collect();
        assert_eq!(titles, ["Secret a", "Pod b"]);
    }

    #[test]
    fn a_document_that_is_no_object_is_refused_with_its_text() {
        let error = format!("{:#}", parse("just words").unwrap_err());
        assert!(error.contains("just words"), "{error}");
    }
}
