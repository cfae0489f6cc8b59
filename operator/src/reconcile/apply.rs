//! The fourth step: desired objects -> objects in the cluster.
//!
//! What always holds: an object that is as it should be is not written; one that is not ours is left alone.

use capstan_config::{ConfigHash, names};
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Client;
use kube::api::{Api, Patch, PatchParams};

use super::build::{self, Desired};

/// What became of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// It is what pods should have now.
    Applied(ConfigHash),
    /// It could not be used; what was good before stays, if there was something.
    Kept(Option<ConfigHash>),
    /// It could not be used, and the ConfigMap does not hold what was good before any more.
    Lost {
        /// The ConfigMap.
        name: String,
        /// What was good.
        last: ConfigHash,
        /// What somebody else wrote there; `None` if the ConfigMap or its file is gone.
        found: Option<ConfigHash>,
    },
    /// The API server did not take it.
    Refused {
        /// What it says.
        message: String,
        /// What was delivered last.
        last: Option<ConfigHash>,
    },
    /// A ConfigMap of that name belongs to somebody else.
    NameTaken(String),
}

impl Delivery {
    /// What pods should have.
    pub fn hash(&self) -> Option<&ConfigHash> {
        match self {
            Self::Applied(hash) | Self::Lost { last: hash, .. } => Some(hash),
            Self::Kept(hash) | Self::Refused { last: hash, .. } => hash.as_ref(),
            Self::NameTaken(_) => None,
        }
    }
}

/// What is delivered by an object that is there; `last` is what was delivered, as far as the status knows.
pub fn kept(existing: Option<&ConfigMap>, policy: &str, last: Option<ConfigHash>) -> Delivery {
    let name = names::config_map(policy);
    if existing.is_some_and(|existing| !build::is_ours(existing, policy)) {
        return Delivery::NameTaken(name);
    }
    let file = existing.and_then(|existing| existing.data.as_ref()?.get(names::FILE_NAME));
    let found = file.map(|file| ConfigHash::of(file.as_bytes()));
    match last {
        Some(last) if found.as_ref() != Some(&last) => Delivery::Lost { name, last, found },
        _ => Delivery::Kept(found),
    }
}

/// What the API server says, if it has understood and does not want to: trying again will hardly help until somebody
/// changes something. That an object is gone, was changed meanwhile, or that there is too much to do, passes by itself.
pub fn refusal(error: &kube::Error) -> Option<String> {
    match error {
        kube::Error::Api(status) if (400..500).contains(&status.code) => {
            (![404, 409, 429].contains(&status.code)).then(|| status.message.clone())
        }
        _ => None,
    }
}

/// Applies the objects of a policy. `existing` is what was there a moment ago.
///
/// # Errors
/// What the API server says.
pub async fn objects(
    client: &Client,
    policy: &str,
    hash: &ConfigHash,
    desired: Desired,
    existing: Option<&ConfigMap>,
) -> Result<Delivery, kube::Error> {
    let Desired { config_map } = desired;
    let name = config_map.metadata.name.clone().unwrap_or_default();
    match existing {
        Some(existing) if !build::is_ours(existing, policy) => return Ok(Delivery::NameTaken(name)),
        Some(existing) if is_same(existing, &config_map) => return Ok(Delivery::Applied(hash.clone())),
        _ => {}
    }
    let namespace = config_map.metadata.namespace.clone().unwrap_or_default();
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), &namespace);
    api.patch(&name, &PatchParams::apply(build::MANAGER).force(), &Patch::Apply(&config_map)).await?;
    tracing::info!(namespace, policy, %hash, "configuration delivered");
    Ok(Delivery::Applied(hash.clone()))
}

/// Whether an object has all that it should have. What others have added is no reason to write: applying cannot remove it.
fn is_same(existing: &ConfigMap, desired: &ConfigMap) -> bool {
    let has = |key: &String, value: &String| {
        existing.data.as_ref().and_then(|data| data.get(key)).is_some_and(|found| found == value)
    };
    let owned = |wanted: &OwnerReference| {
        let mut owners = existing.metadata.owner_references.iter().flatten().cloned();
        owners.any(|found| OwnerReference { block_owner_deletion: None, ..found } == *wanted)
    };
    desired.data.iter().flatten().all(|(key, value)| has(key, value))
        && desired.metadata.owner_references.iter().flatten().all(owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str = "labels: { app.kubernetes.io/managed-by: capstan-operator, capstan.dev/policy: web }";

    fn map(yaml: &str) -> ConfigMap {
        serde_yaml_ng::from_str(yaml).unwrap()
    }

    fn of(text: &str) -> ConfigHash {
        ConfigHash::of(text.as_bytes())
    }

    #[test]
    fn what_others_add_is_no_reason_to_write() {
        let owner = "{ apiVersion: capstan.dev/v1alpha1, kind: LogRotationPolicy, name: web, uid: u, controller: true }";
        let desired = map(&format!("{{ metadata: {{ ownerReferences: [{owner}] }}, data: {{ a: '1' }} }}"));
        let same = |yaml: &str| is_same(&map(yaml), &desired);
        assert!(same(&format!("{{ metadata: {{ ownerReferences: [{owner}] }}, data: {{ a: '1' }} }}")));
        let held = owner.replace(" }", ", blockOwnerDeletion: true }");
        let other = "{ apiVersion: v1, kind: Pod, name: p, uid: p }";
        assert!(same(&format!(
            "{{ metadata: {{ ownerReferences: [{other}, {held}] }}, data: {{ a: '1', b: '2' }}, binaryData: {{ c: '' }} }}"
        )));
        assert!(!same(&format!("{{ metadata: {{ ownerReferences: [{owner}] }}, data: {{ a: '2' }} }}")));
        assert!(!same(&format!("{{ metadata: {{ ownerReferences: [{owner}] }}, data: {{ b: '1' }} }}")));
        assert!(!same(&format!("{{ metadata: {{ ownerReferences: [{other}] }}, data: {{ a: '1' }} }}")));
        assert!(!same("{ metadata: {}, data: { a: '1' } }"));
    }

    #[test]
    fn the_last_good_configuration_is_that_which_was_delivered() {
        let ours = |data: &str| map(&format!("{{ metadata: {{ {OURS} }}, data: {{ {data} }} }}"));
        let (good, edited) = (ours("config.v1.json: good"), ours("config.v1.json: edited"));
        let kept = |existing: Option<&ConfigMap>, last: Option<&str>| kept(existing, "web", last.map(of));
        assert_eq!(kept(None, None), Delivery::Kept(None));
        assert_eq!(kept(Some(&good), Some("good")), Delivery::Kept(Some(of("good"))));
        assert_eq!(kept(Some(&good), None), Delivery::Kept(Some(of("good"))), "the status was not restored");
        let lost = |found: Option<&str>| Delivery::Lost {
            name: "capstan-web".to_owned(),
            last: of("good"),
            found: found.map(of),
        };
        assert_eq!(kept(Some(&edited), Some("good")), lost(Some("edited")));
        assert_eq!(kept(Some(&ours("")), Some("good")), lost(None));
        assert_eq!(kept(None, Some("good")), lost(None));
        assert_eq!(kept(None, Some("good")).hash(), Some(&of("good")), "or the next look would not know it");
        let foreign = map("{ metadata: {}, data: { config.v1.json: good } }");
        assert_eq!(kept(Some(&foreign), Some("good")), Delivery::NameTaken("capstan-web".to_owned()));
    }

    #[test]
    fn only_a_clear_no_of_the_api_server_is_a_refusal() {
        let with = |code: u16| {
            let status = kube::core::Status { code, message: "no".to_owned(), ..Default::default() };
            refusal(&kube::Error::Api(Box::new(status)))
        };
        for code in [400, 403, 413, 422] {
            assert_eq!(with(code).as_deref(), Some("no"), "{code}");
        }
        for code in [404, 409, 429, 500, 503] {
            assert_eq!(with(code), None, "{code}");
        }
    }
}
