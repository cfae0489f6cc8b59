//! The rights that the other programs' tests made use of, by the API server's own account. Runs last.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use capstan_e2e::audit::{self, Request};
use capstan_e2e::{install, kube as cluster};
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule, Role};
use kube::api::{Api, ListParams};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_right_of_the_operator_is_unused_and_none_is_missing() -> Result<()> {
    let client = cluster::client().await?;
    let mut complaints = Vec::new();
    for component in ["webhook", "controller"] {
        let user = format!("system:serviceaccount:{}:capstan-{component}", install::NAMESPACE);
        let Some(requests) = audit::requests(&user)? else {
            println!("{}", audit::ABSENT);
            return Ok(());
        };
        ensure!(!requests.is_empty(), "{user} has never asked for anything; run the other programs first");
        let rights = rights(&client, component).await?;
        complaints.extend(missing(component, &rights, &requests));
        complaints.extend(unused(component, &rights, &requests));
    }
    ensure!(complaints.is_empty(), "{}", complaints.join("\n"));
    Ok(())
}

/// One thing that may be done: a verb on a resource, perhaps on one object alone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Right {
    verb: String,
    group: String,
    resource: String,
    name: Option<String>,
}

/// All that a component's roles allow.
async fn rights(client: &kube::Client, component: &str) -> Result<BTreeSet<Right>> {
    let labels =
        format!("app.kubernetes.io/instance={},app.kubernetes.io/component={component}", install::RELEASE);
    let labels = ListParams::default().labels(&labels);
    let cluster_roles = Api::<ClusterRole>::all(client.clone()).list(&labels).await?.items;
    let roles = Api::<Role>::all(client.clone()).list(&labels).await?.items;
    let rules =
        cluster_roles.into_iter().filter(|role| role.aggregation_rule.is_none()).map(|role| role.rules);
    let rules = rules.chain(roles.into_iter().map(|role| role.rules)).flatten().flatten();
    let rights: BTreeSet<Right> = rules.flat_map(|rule| expand(&rule)).collect();
    (!rights.is_empty()).then_some(rights).with_context(|| format!("{component} has no roles"))
}

fn expand(rule: &PolicyRule) -> Vec<Right> {
    let names = match rule.resource_names.as_deref().unwrap_or_default() {
        [] => vec![None],
        names => names.iter().cloned().map(Some).collect(),
    };
    let mut rights = Vec::new();
    for group in rule.api_groups.iter().flatten() {
        for resource in rule.resources.iter().flatten() {
            for verb in &rule.verbs {
                rights.extend(names.iter().cloned().map(|name| Right {
                    verb: verb.clone(),
                    group: group.clone(),
                    resource: resource.clone(),
                    name,
                }));
            }
        }
    }
    rights
}

fn unused(component: &str, rights: &BTreeSet<Right>, requests: &[Request]) -> Vec<String> {
    let unused = rights.iter().filter(|right| !requests.iter().any(|request| uses(request, right)));
    let told = unused.map(|right| {
        let name = right.name.as_deref().unwrap_or("any");
        format!("{component} may {} {}.{} ({name}) and never did", right.verb, right.resource, right.group)
    });
    told.collect()
}

fn uses(request: &Request, right: &Right) -> bool {
    // Applying what is not there yet is one request and needs two rights.
    let creates = right.verb == "create" && request.verb == "patch" && request.code == 201;
    (request.verb == right.verb || creates)
        && request.group == right.group
        && request.resource == right.resource
        && right.name.as_ref().is_none_or(|name| request.name.is_empty() || *name == request.name)
}

/// What was refused for want of a right. Where there is such a right, it was withdrawn for a while: tests uninstall.
fn missing(component: &str, rights: &BTreeSet<Right>, requests: &[Request]) -> Vec<String> {
    let refused = requests.iter().filter(|request| !request.authorized);
    let refused = refused.filter(|request| !rights.iter().any(|right| uses(request, right)));
    let refused: BTreeSet<String> = refused
        .map(|Request { verb, group, resource, namespace, name, .. }| {
            format!("{component} was forbidden to {verb} {resource}.{group} {namespace}/{name}")
        })
        .collect();
    refused.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_stands_for_each_of_its_verbs_on_each_of_its_resources() {
        let texts = |all: &[&str]| Some(all.iter().map(|text| (*text).to_owned()).collect());
        let rule = PolicyRule {
            api_groups: texts(&[""]),
            resources: texts(&["pods", "pods/status"]),
            resource_names: texts(&["one"]),
            verbs: vec!["get".into(), "patch".into()],
            non_resource_urls: None,
        };
        let rights = expand(&rule);
        assert_eq!(rights.len(), 4);
        let request = Request {
            verb: "get".into(),
            group: String::new(),
            resource: "pods".into(),
            name: "one".into(),
            namespace: "n".into(),
            code: 200,
            authorized: true,
            pod: String::new(),
        };
        assert!(uses(&request, &rights[0]));
        assert!(!uses(&Request { name: "other".into(), ..request }, &rights[0]));
    }
}
