//! Requests and limits of the sidecar.
//!
//! In: the settings, what the pod asks for, and its quality of service. Out: both requests and limits, always, because
//! quotas refuse a pod that lacks one; equal in a Guaranteed pod, so that it stays one; no request above its limit.

use std::collections::BTreeMap;
use std::str::FromStr;

use k8s_openapi::api::core::v1::{Pod, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde::Deserialize;

use crate::inject::annotations::Asked;
use crate::inject::app::is_guaranteed;
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
pub fn choose(pod: &Pod, asked: &Asked, settings: &SidecarResources) -> ResourceRequirements {
    let wanted = &asked.resources;
    let (requests, limits) =
        if is_guaranteed(pod) { equal(wanted, &settings.guaranteed) } else { usual(wanted, &settings.usual) };
    ResourceRequirements { requests: Some(requests), limits: Some(limits), ..Default::default() }
}

fn equal(wanted: &Wanted, fixed: &Fixed) -> (Amounts, Amounts) {
    let mut both = fixed.0.clone();
    both.extend(wanted.requests.clone());
    both.extend(wanted.limits.clone());
    (both.clone(), both)
}

/// A side that was asked for wins against the other side's default.
fn usual(wanted: &Wanted, defaults: &Wanted) -> (Amounts, Amounts) {
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
            let (requests, limits) = usual(&text.parse().unwrap(), &defaults);
            (requests["memory"].0.clone(), limits["memory"].0.clone())
        };
        assert_eq!(memory(r#"{"requests":{"memory":"128Mi"}}"#), ("128Mi".into(), "128Mi".into()));
        assert_eq!(memory(r#"{"limits":{"memory":"16Mi"}}"#), ("16Mi".into(), "16Mi".into()));
        assert_eq!(memory("{}"), ("32Mi".into(), "64Mi".into()));
    }
}
