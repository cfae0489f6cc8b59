//! Requests and limits of the sidecar.
//!
//! In: the settings, what the pod asks for, its quality of service, and the namespace's bounds. Out: both requests and
//! limits, always, because quotas refuse a pod that lacks one; equal in a Guaranteed pod, so that it stays one; no
//! request above its limit; nothing beyond what the pod has as a whole, where it says that.

use std::collections::BTreeMap;
use std::str::FromStr;

use k8s_openapi::api::core::v1::{Pod, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde::Deserialize;

use crate::inject::annotations::Asked;
use crate::inject::app::{is_guaranteed, of_whole_pod};
use crate::inject::bounds::{Bounds, lower};
use crate::inject::quantity::billionths;

type Amounts = BTreeMap<String, Quantity>;

/// What may be asked for.
const KNOWN: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];

/// Requests and limits that somebody wants; what is not named stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// What is reserved.
    #[serde(default)]
    pub requests: Amounts,
    /// What is not exceeded.
    #[serde(default)]
    pub limits: Amounts,
}

/// Why a text is no such thing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResourcesError {
    /// No JSON of this form.
    #[error(
        "not readable ({0}); write JSON such as '{{\"requests\":{{\"cpu\":\"20m\"}},\"limits\":{{\"memory\":\"96Mi\"}}}}'"
    )]
    Form(String),
    /// Something that is not measured.
    #[error("{field} is not known; write cpu, memory or ephemeral-storage")]
    Name {
        /// Where.
        field: String,
    },
    /// No amount.
    #[error("{field}: '{value}' is no amount; write one such as '100m' or '64Mi'")]
    Amount {
        /// Where.
        field: String,
        /// What stands there.
        value: String,
    },
    /// A request above its limit.
    #[error("requests.{name} is above limits.{name}; raise the limit or lower the request")]
    AboveLimit {
        /// Of what.
        name: String,
    },
}

impl FromStr for Wanted {
    type Err = ResourcesError;

    fn from_str(text: &str) -> Result<Self, ResourcesError> {
        let wanted: Self =
            serde_json::from_str(text).map_err(|error| ResourcesError::Form(error.to_string()))?;
        verify("requests.", &wanted.requests)?;
        verify("limits.", &wanted.limits)?;
        for (name, request) in &wanted.requests {
            if wanted.limits.get(name).is_some_and(|limit| billionths(&request.0) > billionths(&limit.0)) {
                return Err(ResourcesError::AboveLimit { name: name.clone() });
            }
        }
        Ok(wanted)
    }
}

fn verify(prefix: &str, amounts: &Amounts) -> Result<(), ResourcesError> {
    for (name, amount) in amounts {
        let field = format!("{prefix}{name}");
        if !KNOWN.contains(&name.as_str()) {
            return Err(ResourcesError::Name { field });
        }
        if billionths(&amount.0).is_none() {
            return Err(ResourcesError::Amount { field, value: amount.0.clone() });
        }
    }
    Ok(())
}

/// Amounts as a flag: JSON from name to amount.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fixed(pub Amounts);

impl FromStr for Fixed {
    type Err = ResourcesError;

    fn from_str(text: &str) -> Result<Self, ResourcesError> {
        let amounts = serde_json::from_str(text).map_err(|error| ResourcesError::Form(error.to_string()))?;
        verify("", &amounts)?;
        Ok(Self(amounts))
    }
}

/// What the operator's settings say.
#[derive(Clone, Debug, PartialEq)]
pub struct SidecarResources {
    /// In most pods.
    pub usual: Wanted,
    /// Both requests and limits in Guaranteed pods. No whole number of processors: one would be taken from all others.
    pub guaranteed: Fixed,
}

/// What the sidecar gets.
pub fn choose(
    pod: &Pod,
    asked: &Asked,
    settings: &SidecarResources,
    bounds: &Bounds,
) -> ResourceRequirements {
    let wanted = &asked.resources;
    let (mut requests, mut limits) = if is_guaranteed(pod) {
        equal(wanted, &settings.guaranteed, bounds)
    } else {
        usual(wanted, &settings.usual, bounds)
    };
    if let Some(whole) = of_whole_pod(pod) {
        fit_into(whole, &mut requests, &mut limits);
    }
    ResourceRequirements { requests: Some(requests), limits: Some(limits), ..Default::default() }
}

fn equal(wanted: &Wanted, fixed: &Fixed, bounds: &Bounds) -> (Amounts, Amounts) {
    let mut asked = wanted.requests.clone();
    asked.extend(wanted.limits.clone());
    let asked = Wanted { requests: asked.clone(), limits: asked };
    let mut requests = fixed.0.clone();
    requests.extend(asked.limits.clone());
    let mut limits = requests.clone();
    bounds.apply(&mut requests, &mut limits, &asked);
    (requests, limits)
}

/// Where the pod has resources as a whole, the requests of its containers may not exceed them together. The API server
/// has filled in exactly the sum of the others', so the sidecar's comes out of what they have.
fn fit_into(whole: &ResourceRequirements, requests: &mut Amounts, limits: &mut Amounts) {
    let amount =
        |of: &Option<Amounts>, name: &str| of.as_ref().and_then(|amounts| amounts.get(name).cloned());
    for name in KNOWN {
        let (request, limit) = (amount(&whole.requests, name), amount(&whole.limits, name));
        let ours = requests.contains_key(name) || limits.contains_key(name);
        if ours && (request.is_some() || limit.is_some()) {
            // In so many words: one that is not there would become the limit.
            requests.insert(name.to_owned(), Quantity("0".to_owned()));
        }
        if let Some(ours) = limits.get_mut(name) {
            lower(ours, limit.as_ref());
        }
    }
}

/// A side that was asked for wins against the other side's default.
fn usual(wanted: &Wanted, defaults: &Wanted, bounds: &Bounds) -> (Amounts, Amounts) {
    let (mut requests, mut limits) = (defaults.requests.clone(), defaults.limits.clone());
    requests.extend(wanted.requests.clone());
    limits.extend(wanted.limits.clone());
    for (name, request) in &mut requests {
        let Some(limit) = limits.get_mut(name).filter(|limit| billionths(&request.0) > billionths(&limit.0))
        else {
            continue;
        };
        if wanted.requests.contains_key(name) { *limit = request.clone() } else { *request = limit.clone() }
    }
    bounds.apply(&mut requests, &mut limits, wanted);
    (requests, limits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(text: &str, message: &str) {
        assert_eq!(text.parse::<Wanted>().unwrap_err().to_string(), message);
    }

    #[test]
    fn what_cannot_be_read_is_named_with_what_to_write() {
        refused(
            r#"{"limits":{"memory":"lots"}}"#,
            "limits.memory: 'lots' is no amount; write one such as '100m' or '64Mi'",
        );
        refused(
            r#"{"requests":{"gpu":"1"}}"#,
            "requests.gpu is not known; write cpu, memory or ephemeral-storage",
        );
        refused(
            r#"{"requests":{"cpu":"2"},"limits":{"cpu":"1500m"}}"#,
            "requests.cpu is above limits.cpu; raise the limit or lower the request",
        );
        assert!(
            "64Mi"
                .parse::<Wanted>()
                .unwrap_err()
                .to_string()
                .ends_with(r#"write JSON such as '{"requests":{"cpu":"20m"},"limits":{"memory":"96Mi"}}'"#)
        );
    }

    #[test]
    fn what_was_asked_for_moves_the_other_sides_default() {
        let defaults: Wanted =
            r#"{"requests":{"memory":"32Mi"},"limits":{"memory":"64Mi"}}"#.parse().unwrap();
        let memory = |text: &str| {
            let (requests, limits) = usual(&text.parse().unwrap(), &defaults, &Bounds::default());
            (requests["memory"].0.clone(), limits["memory"].0.clone())
        };
        assert_eq!(memory(r#"{"requests":{"memory":"128Mi"}}"#), ("128Mi".into(), "128Mi".into()));
        assert_eq!(memory(r#"{"limits":{"memory":"16Mi"}}"#), ("16Mi".into(), "16Mi".into()));
        assert_eq!(memory("{}"), ("32Mi".into(), "64Mi".into()));
    }
    #[test]
    fn in_a_pod_with_resources_of_its_own_the_request_is_nothing_and_the_limit_no_more_than_the_pods() {
        let whole = |json: serde_json::Value| serde_json::from_value::<ResourceRequirements>(json).unwrap();
        let fitted = |resources: ResourceRequirements| {
            let defaults =
                r#"{"requests":{"cpu":"10m","memory":"32Mi"},"limits":{"cpu":"1","memory":"64Mi"}}"#;
            let Wanted { mut requests, mut limits } = defaults.parse().unwrap();
            fit_into(&resources, &mut requests, &mut limits);
            serde_json::to_value((requests, limits)).unwrap()
        };
        assert_eq!(
            fitted(whole(
                serde_json::json!({ "requests": { "memory": "48Mi" }, "limits": { "memory": "48Mi" } })
            )),
            serde_json::json!([{ "cpu": "10m", "memory": "0" }, { "cpu": "1", "memory": "48Mi" }])
        );
        assert_eq!(
            fitted(whole(serde_json::json!({ "limits": { "cpu": "2", "hugepages-2Mi": "2Mi" } }))),
            serde_json::json!([{ "cpu": "0", "memory": "32Mi" }, { "cpu": "1", "memory": "64Mi" }])
        );
    }
}
