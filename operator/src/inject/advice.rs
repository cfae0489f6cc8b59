//! What a policy that is already known could not do in this pod. Nothing of it changes the sidecar.

use k8s_openapi::api::core::v1::Pod;

use crate::inject::annotations::Asked;
use crate::inject::app::spec;
use crate::inject::mounts::{Copied, is_below};
use crate::inject::status::{Reason, Warning};
use crate::inject::{Known, KnownLog};
use crate::names;

/// Adds warnings.
pub fn give(pod: &Pod, asked: &Asked, known: &Known, copied: &Copied, warnings: &mut Vec<Warning>) {
    let policies = asked.policies.iter().filter_map(|name| Some((name, known.get(name)?)));
    let logs: Vec<(&String, &KnownLog)> =
        policies.flat_map(|(name, policy)| policy.logs.iter().map(move |log| (name, log))).collect();
    for (policy, log) in &logs {
        warnings.extend(log.include.iter().filter_map(|pattern| off_volume(policy, log, pattern, copied)));
    }
    let shared = asked.share_process_namespace || spec(pod).share_process_namespace == Some(true);
    if let Some((policy, log)) = logs.iter().find(|(_, log)| log.signals && !shared) {
        let message = format!(
            "log {} of policy {policy} is reopened by a signal, but the sidecar cannot see the app's processes; set shareProcessNamespace: true, or {}: 'true'",
            log.name,
            names::SHARE_PROCESS_NAMESPACE
        );
        warnings.push(Warning::new(Reason::ProcessNamespaceNotShared, message));
    }
}

fn off_volume(policy: &str, log: &KnownLog, pattern: &str, copied: &Copied) -> Option<Warning> {
    let directory = fixed_directory(pattern);
    let on_volume = copied.mounts.iter().any(|mount| {
        is_below(directory, &mount.mount_path)
            || (directory.len() < pattern.len()
                && is_below(&mount.mount_path, directory)
                && pattern.contains("**"))
    });
    (!on_volume).then(|| {
        let message = format!(
            "log {} of policy {policy}: {pattern} is on no volume that the sidecar mounts; mount an emptyDir at {directory} in the app's container",
            log.name
        );
        Warning::new(Reason::PathOnNoVolume, message)
    })
}

/// The directory that all files of a pattern are in or below: what comes before the first wildcard.
fn fixed_directory(pattern: &str) -> &str {
    let wild = pattern.find(['*', '?', '[', '{', '\\']).unwrap_or(pattern.len());
    let end = pattern[..wild].rfind('/').unwrap_or(0);
    if end == 0 { "/" } else { &pattern[..end] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patterns_directory_is_what_comes_before_the_first_wildcard() {
        for (pattern, directory) in [
            ("/var/log/a.log", "/var/log"),
            ("/var/log/*.log", "/var/log"),
            ("/logs/**/x", "/logs"),
            ("/l*/x", "/"),
        ] {
            assert_eq!(fixed_directory(pattern), directory);
        }
    }
}
