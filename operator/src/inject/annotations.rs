//! What a pod's annotations ask for.
//!
//! In: a pod. Out: the wishes that can be read, and a warning for each that cannot; such a one counts as not there.

use capstan_config::PolicyName;
use k8s_openapi::api::core::v1::Pod;

use crate::inject::resources::Wanted;
use crate::inject::status::{Reason, Warning};
use crate::names;

/// The greatest user and group that Kubernetes takes.
const LARGEST_ID: i64 = i32::MAX as i64;

/// What is asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Asked {
    /// Names of policies, each once, in their order.
    pub policies: Vec<String>,
    /// Names of containers; none: the first of the pod.
    pub containers: Vec<String>,
    /// Names of volumes; None: all.
    pub volumes: Option<Vec<String>>,
    /// The sidecar's user.
    pub user: Option<i64>,
    /// The sidecar's group.
    pub group: Option<i64>,
    /// Whether processes are to be shared.
    pub share_process_namespace: bool,
    /// Requests and limits.
    pub resources: Wanted,
}

/// Reads them all.
pub fn read(pod: &Pod) -> (Asked, Vec<Warning>) {
    let mut warnings = Vec::new();
    let asked = Asked {
        policies: policies(pod, &mut warnings),
        containers: list(pod, names::CONTAINER).unwrap_or_default(),
        volumes: list(pod, names::VOLUMES),
        user: id(pod, names::RUN_AS_USER, &mut warnings),
        group: id(pod, names::RUN_AS_GROUP, &mut warnings),
        share_process_namespace: flag(pod, names::SHARE_PROCESS_NAMESPACE, &mut warnings).unwrap_or(false),
        resources: resources(pod, &mut warnings),
    };
    (asked, warnings)
}

/// The policies that a pod names, as far as they can be names.
pub fn policies_named(pod: &Pod) -> Vec<String> {
    policies(pod, &mut Vec::new())
}

/// Whether the pod wants to be left alone. What cannot be read is no such wish.
pub fn refuses_injection(pod: &Pod) -> bool {
    flag(pod, names::INJECT, &mut Vec::new()) == Some(false)
}

/// The text of an annotation.
pub fn text<'a>(pod: &'a Pod, key: &str) -> Option<&'a str> {
    pod.metadata.annotations.as_ref()?.get(key).map(String::as_str)
}

fn list(pod: &Pod, key: &str) -> Option<Vec<String>> {
    let mut found = Vec::new();
    for name in text(pod, key)?.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        if !found.iter().any(|other| other == name) {
            found.push(name.to_owned());
        }
    }
    Some(found)
}

fn policies(pod: &Pod, warnings: &mut Vec<Warning>) -> Vec<String> {
    let mut names = list(pod, names::POLICY).unwrap_or_default();
    names.retain(|name| match name.parse::<PolicyName>() {
        Ok(_) => true,
        Err(error) => {
            warnings.push(invalid(
                names::POLICY,
                &format!("{error}; write the names of policies, such as 'web,audit'"),
            ));
            false
        }
    });
    names
}

fn id(pod: &Pod, key: &str, warnings: &mut Vec<Warning>) -> Option<i64> {
    let text = text(pod, key)?;
    let id = text.trim().parse::<i64>().ok().filter(|id| (0..=LARGEST_ID).contains(id));
    if id.is_none() {
        warnings.push(invalid(
            key,
            &format!("'{text}' is no number from 0 to {LARGEST_ID}; write one, such as '999'"),
        ));
    }
    id
}

fn flag(pod: &Pod, key: &str, warnings: &mut Vec<Warning>) -> Option<bool> {
    match text(pod, key)?.trim() {
        "true" => Some(true),
        "false" => Some(false),
        other => {
            warnings.push(invalid(key, &format!("'{other}' is neither; write 'true' or 'false'")));
            None
        }
    }
}

fn resources(pod: &Pod, warnings: &mut Vec<Warning>) -> Wanted {
    let Some(text) = text(pod, names::RESOURCES) else { return Wanted::default() };
    text.parse().unwrap_or_else(|error| {
        warnings.push(invalid(names::RESOURCES, &format!("{error}")));
        Wanted::default()
    })
}

fn invalid(key: &str, problem: &str) -> Warning {
    Warning::new(Reason::InvalidAnnotation, format!("annotation {key}: {problem}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(annotations: &[(&str, &str)]) -> Pod {
        let annotations = annotations.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let mut pod = Pod::default();
        pod.metadata.annotations = Some(annotations.collect());
        pod
    }

    #[track_caller]
    fn refused(key: &str, value: &str, message: &str) {
        let (asked, warnings) = read(&pod(&[(key, value)]));
        assert_eq!(asked, Asked::default());
        assert_eq!(warnings, [Warning::new(Reason::InvalidAnnotation, message)]);
    }

    #[test]
    fn names_are_separated_by_commas_and_count_once() {
        let (asked, warnings) = read(&pod(&[(names::POLICY, " web, audit,web,")]));
        assert_eq!((asked.policies, warnings), (vec!["web".to_owned(), "audit".to_owned()], vec![]));
    }

    #[test]
    fn a_name_that_is_none_is_left_out_with_a_warning() {
        let (asked, warnings) = read(&pod(&[(names::POLICY, "web,Audit")]));
        assert_eq!(asked.policies, ["web"]);
        assert_eq!(
            warnings[0].message,
            "annotation capstan.dev/policy: \"Audit\" is not a name; write lower-case letters, digits and inner hyphens, \
             such as \"access-log\"; write the names of policies, such as 'web,audit'"
        );
    }

    #[test]
    fn values_that_cannot_be_read_are_named_with_what_to_write() {
        for wrong in ["", "root", "-1", "2147483648", "1.0"] {
            let says = format!(
                "annotation capstan.dev/run-as-user: '{wrong}' is no number from 0 to 2147483647; write one, such as '999'"
            );
            refused(names::RUN_AS_USER, wrong, &says);
        }
        refused(
            names::SHARE_PROCESS_NAMESPACE,
            "yes",
            "annotation capstan.dev/share-process-namespace: 'yes' is neither; write 'true' or 'false'",
        );
    }

    #[test]
    fn only_a_clear_no_is_a_no() {
        assert!(refuses_injection(&pod(&[(names::INJECT, "false")])));
        for other in ["true", "no", ""] {
            assert!(!refuses_injection(&pod(&[(names::INJECT, other)])), "{other}");
        }
    }
}
