//! The first step: the objects that a policy refers to.

use std::sync::Arc;

use capstan_config::names;
use capstan_crds::{LogDestination, LogRotationPolicy};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Client;
use kube::api::Api;

use super::apply::refusal;
use super::validate::{Absent, Found, FoundDestination};
use crate::pods::Key;
use crate::references;

/// What a policy refers to.
#[derive(Debug)]
pub struct Fetched {
    /// The destinations that it names.
    pub destinations: Found,
    /// The ConfigMap that has the name of its own; an error is a refusal to tell.
    pub existing: Result<Option<ConfigMap>, kube::Error>,
}

/// Looks a destination up: it may be absent, or there and unreadable.
pub type Lookup = Result<Arc<LogDestination>, Absent>;

/// Reads what a policy refers to. `find` looks a destination up in what is watched.
///
/// # Errors
/// What the API server says.
pub async fn all(
    client: &Client,
    policy: &LogRotationPolicy,
    find: impl Fn(&Key) -> Lookup,
) -> Result<Fetched, kube::Error> {
    let key = Key::of(policy);
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), &key.namespace);
    let mut destinations = Found::new();
    for name in references::destinations(&policy.spec) {
        let found = match find(&Key::new(&key.namespace, name)) {
            Ok(destination) => {
                let authority = authority(&api, &destination).await?;
                Ok(FoundDestination { destination, authority })
            }
            Err(absent) => Err(absent),
        };
        destinations.insert(name.to_owned(), found);
    }
    let existing = match api.get_opt(&names::config_map(&key.name)).await {
        Err(error) if refusal(&error).is_none() => return Err(error),
        existing => existing,
    };
    Ok(Fetched { destinations, existing })
}

/// The authorities that a destination trusts, if they are in a ConfigMap.
async fn authority(
    api: &Api<ConfigMap>,
    destination: &LogDestination,
) -> Result<Option<Result<String, String>>, kube::Error> {
    let Some(key) = references::authority(&destination.spec) else { return Ok(None) };
    let found = match api.get_opt(&key.name.0).await {
        Ok(found) => pem(found.as_ref(), &key.name.0, &key.key.0),
        Err(error) => {
            let refusal = refusal(&error).ok_or(error)?;
            Err(format!("ConfigMap {:?} may not be read: {refusal}", key.name.0))
        }
    };
    Ok(Some(found))
}

/// The PEM in a ConfigMap, or what is wrong.
fn pem(found: Option<&ConfigMap>, name: &str, key: &str) -> Result<String, String> {
    let Some(found) = found else {
        return Err(format!(
            "there is no ConfigMap {name:?} in this namespace; create it, or write another name"
        ));
    };
    let Some(text) = found.data.as_ref().and_then(|data| data.get(key)) else {
        let keys: Vec<&str> = found.data.iter().flat_map(|data| data.keys()).map(String::as_str).collect();
        return Err(format!("ConfigMap {name:?} has no key {key:?}, but {:?}; write one of these", keys));
    };
    if !text.contains("-----BEGIN CERTIFICATE-----") {
        return Err(format!("key {key:?} of ConfigMap {name:?} holds no certificate in PEM"));
    }
    Ok(text.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_authorities_is_said_exactly() {
        let map = |yaml: &str| -> ConfigMap { serde_yaml_ng::from_str(yaml).unwrap() };
        let good = map("data: { ca.crt: '-----BEGIN CERTIFICATE-----' }");
        let read = |found: Option<&ConfigMap>| pem(found, "ca", "ca.crt");
        assert_eq!(read(Some(&good)).as_deref(), Ok("-----BEGIN CERTIFICATE-----"));
        assert_eq!(
            read(None).unwrap_err(),
            "there is no ConfigMap \"ca\" in this namespace; create it, or write another name"
        );
        assert_eq!(
            read(Some(&map("data: { other: a }"))).unwrap_err(),
            "ConfigMap \"ca\" has no key \"ca.crt\", but [\"other\"]; write one of these"
        );
        assert_eq!(
            read(Some(&map("data: { ca.crt: a }"))).unwrap_err(),
            "key \"ca.crt\" of ConfigMap \"ca\" holds no certificate in PEM"
        );
    }
}
