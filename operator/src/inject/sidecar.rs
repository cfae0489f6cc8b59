//! The sidecar's container.
//!
//! What always holds: it passes Pod Security `restricted`, unless the pod's author asked for root; it has no probe,
//! since a sidecar that waits for anything would keep the app from starting; fields that the API server would fill in
//! are written out, so that a second look finds nothing to change.

use capstan_config::{Volume, names as contract};
use k8s_openapi::api::core::v1::{
    Capabilities, Container, ContainerPort, EnvVar, EnvVarSource, ObjectFieldSelector, Pod,
    ResourceRequirements, SeccompProfile, SecurityContext,
};

use crate::inject::mounts::Copied;
use crate::inject::own::OwnVolume;
use crate::inject::user::User;
use crate::inject::{SidecarSettings, app};

/// What it is made from.
pub struct Parts<'a> {
    /// The pod without the sidecar.
    pub pod: &'a Pod,
    /// The app's containers, the one that decides first.
    pub app: &'a [&'a Container],
    /// The settings.
    pub settings: &'a SidecarSettings,
    /// Its user.
    pub user: &'a User,
    /// Its resources.
    pub resources: ResourceRequirements,
    /// The app's mounts.
    pub copied: &'a Copied,
    /// Its own volumes.
    pub own: &'a [OwnVolume],
}

/// Builds it.
pub fn build(parts: &Parts<'_>) -> Container {
    let own = parts.own.iter().map(OwnVolume::mount);
    Container {
        name: contract::CONTAINER.to_owned(),
        image: Some(parts.settings.image.clone()),
        image_pull_policy: Some(parts.settings.image_pull_policy.clone()),
        args: Some(["run", "--config", contract::POLICIES_DIRECTORY].map(str::to_owned).to_vec()),
        env: Some(environment(parts)),
        ports: Some(vec![port()]),
        resources: Some(parts.resources.clone()),
        restart_policy: Some("Always".to_owned()),
        security_context: Some(security_context(parts)),
        termination_message_path: Some(contract::TERMINATION_LOG.to_owned()),
        termination_message_policy: Some("File".to_owned()),
        volume_mounts: Some(own.chain(parts.copied.mounts.iter().cloned()).collect()),
        ..Container::default()
    }
}

fn environment(parts: &Parts<'_>) -> Vec<EnvVar> {
    let volumes = Volume::render(&parts.copied.facts);
    let mut env = vec![
        field(contract::POD_VARIABLE, "metadata.name"),
        field(contract::NAMESPACE_VARIABLE, "metadata.namespace"),
        field(contract::POD_UID_VARIABLE, "metadata.uid"),
        field(contract::NODE_VARIABLE, "spec.nodeName"),
        value(contract::WORKLOAD_VARIABLE, &app::workload(parts.pod)),
        value(contract::CONTAINERS_VARIABLE, &app::container_names(parts.pod, parts.app)),
        // `$(…)` would be expanded in values, and a path may contain it.
        value(contract::VOLUMES_VARIABLE, &volumes.replace('$', "$$")),
        value(contract::GRACE_VARIABLE, &app::grace(parts.pod)),
    ];
    env.extend(parts.copied.env.iter().cloned());
    env
}

fn value(name: &str, value: &str) -> EnvVar {
    EnvVar { name: name.to_owned(), value: Some(value.to_owned()), value_from: None }
}

fn field(name: &str, path: &str) -> EnvVar {
    let field = ObjectFieldSelector { api_version: Some("v1".to_owned()), field_path: path.to_owned() };
    let source = EnvVarSource { field_ref: Some(field), ..EnvVarSource::default() };
    EnvVar { name: name.to_owned(), value: None, value_from: Some(source) }
}

fn port() -> ContainerPort {
    ContainerPort {
        name: Some(contract::ADMIN_PORT_NAME.to_owned()),
        container_port: i32::from(contract::ADMIN_PORT),
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    }
}

fn security_context(parts: &Parts<'_>) -> SecurityContext {
    let apps = parts.app.first().and_then(|container| container.security_context.as_ref());
    SecurityContext {
        allow_privilege_escalation: Some(false),
        capabilities: Some(Capabilities { add: None, drop: Some(vec!["ALL".to_owned()]) }),
        read_only_root_filesystem: Some(true),
        run_as_group: parts.user.gid,
        run_as_non_root: Some(!parts.user.is_root()),
        run_as_user: parts.user.uid,
        // Files that the app's label makes can only be opened under the same one.
        se_linux_options: apps.and_then(|context| context.se_linux_options.clone()),
        seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".to_owned(), localhost_profile: None }),
        ..SecurityContext::default()
    }
}
