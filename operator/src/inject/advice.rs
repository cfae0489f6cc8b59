//! What a policy that is already known could not do in this pod. Nothing of it changes the sidecar.

use k8s_openapi::api::core::v1::Pod;

use crate::inject::annotations::Asked;
use crate::inject::app::spec;
use crate::inject::mounts::{Copied, is_below};
use crate::inject::status::{Reason, Warning};
use crate::inject::{Known, KnownPolicy};
use crate::names;

/// How many patterns are named of those that are on no volume.
const EXAMPLES: usize = 3;

/// Adds warnings: one of each kind for a policy, however many logs it has.
pub fn give(pod: &Pod, asked: &Asked, known: &Known, copied: &Copied, warnings: &mut Vec<Warning>) {
    let policies: Vec<(&String, &KnownPolicy)> =
        asked.policies.iter().filter_map(|name| Some((name, known.get(name)?))).collect();
    warnings.extend(policies.iter().filter_map(|(name, policy)| off_volume(name, policy, copied)));
    let shared = asked.share_process_namespace || spec(pod).share_process_namespace == Some(true);
    let mut logs = policies.iter().flat_map(|(name, policy)| policy.logs.iter().map(move |log| (name, log)));
    if let Some((policy, log)) = logs.find(|(_, log)| log.signals && !shared) {
        let message = format!(
            "log {} of policy {policy} is reopened by a signal, but the sidecar cannot see the app's processes; set shareProcessNamespace: true, or {}: 'true'",
            log.name,
            names::SHARE_PROCESS_NAMESPACE
        );
        warnings.push(Warning::new(Reason::ProcessNamespaceNotShared, message));
    }
}

fn off_volume(name: &str, policy: &KnownPolicy, copied: &Copied) -> Option<Warning> {
    let all = policy.logs.iter().flat_map(|log| log.include.iter().map(move |pattern| (&log.name, pattern)));
    let off: Vec<(&String, &String)> = all.filter(|(_, pattern)| !is_on_volume(pattern, copied)).collect();
    let (log, pattern) = *off.first()?;
    let mut message = format!(
        "log {log} of policy {name}: {pattern} is on no volume that the sidecar mounts; mount an emptyDir at {} in the app's container",
        fixed_directory(pattern)
    );
    if off.len() > 1 {
        let mut logs: Vec<&str> = off.iter().map(|(log, _)| log.as_str()).collect();
        logs.dedup();
        let patterns: Vec<&str> = off.iter().map(|(_, pattern)| pattern.as_str()).collect();
        message = format!(
            "policy {name}: {} patterns of {} {} are on no volume that the sidecar mounts: {}; mount emptyDirs at their directories in the app's container",
            off.len(),
            if logs.len() > 1 { "logs" } else { "log" },
            first_few(&logs),
            first_few(&patterns)
        );
    }
    Some(Warning::new(Reason::PathOnNoVolume, message))
}

fn first_few(all: &[&str]) -> String {
    let rest = if all.len() > EXAMPLES { ", …" } else { "" };
    format!("{}{rest}", all[..all.len().min(EXAMPLES)].join(", "))
}

fn is_on_volume(pattern: &str, copied: &Copied) -> bool {
    let directory = fixed_directory(pattern);
    copied.mounts.iter().any(|mount| {
        is_below(directory, &mount.mount_path)
            || (directory.len() < pattern.len()
                && is_below(&mount.mount_path, directory)
                && pattern.contains("**"))
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

    #[test]
    fn many_patterns_of_a_policy_are_one_warning() {
        let log = |name: &str, include: &[&str]| crate::inject::KnownLog {
            name: name.into(),
            include: include.iter().map(ToString::to_string).collect(),
            signals: false,
        };
        let logs = vec![log("a", &["/a/1", "/a/2", "/a/3"]), log("b", &["/b/4"])];
        let policy = KnownPolicy { logs, ..KnownPolicy::default() };
        assert_eq!(
            off_volume("web", &policy, &Copied::default()).unwrap().message,
            "policy web: 4 patterns of logs a, b are on no volume that the sidecar mounts: /a/1, /a/2, /a/3, …; \
             mount emptyDirs at their directories in the app's container"
        );
    }
}
