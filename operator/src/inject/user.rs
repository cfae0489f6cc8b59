//! Whose user the sidecar takes: a signal reaches only processes of the same user, and a file is kept as it is only by
//! its owner.

use k8s_openapi::api::core::v1::{Container, Pod};

use crate::inject::annotations::Asked;
use crate::inject::app::{running, spec};
use crate::inject::mounts::Copied;
use crate::inject::status::{Reason, Warning};
use crate::names;

/// The sidecar's user and group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct User {
    /// None: whoever the cluster assigns.
    pub uid: Option<i64>,
    /// None: the group that the app's container has without one.
    pub gid: Option<i64>,
    /// Where it was found.
    pub from: UserFrom,
}

/// Where a user was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserFrom {
    /// The app's container says it.
    Container,
    /// The pod says it.
    Pod,
    /// An annotation says it.
    Annotation,
    /// Nobody says it.
    Default,
    /// OpenShift assigns it.
    OpenShift,
}

impl UserFrom {
    /// As the status says it.
    pub fn as_str(self) -> &'static str {
        match self {
            UserFrom::Container => "container",
            UserFrom::Pod => "pod",
            UserFrom::Annotation => "annotation",
            UserFrom::Default => "default",
            UserFrom::OpenShift => "openshift",
        }
    }
}

impl User {
    /// `user:group`, or the user alone.
    pub fn to_text(self) -> Option<String> {
        let uid = self.uid?;
        Some(self.gid.map_or_else(|| uid.to_string(), |gid| format!("{uid}:{gid}")))
    }

    /// Whether it is root.
    pub fn is_root(self) -> bool {
        self.uid == Some(0)
    }
}

/// Chooses; what the choice cannot do is said.
pub fn choose(
    pod: &Pod,
    app: &[&Container],
    asked: &Asked,
    users_are_assigned: bool,
    copied: &Copied,
    warnings: &mut Vec<Warning>,
) -> User {
    let known = asked.user.map(|uid| (uid, UserFrom::Annotation)).or_else(|| user_of(pod, app[0]));
    let gid = asked.group.or_else(|| group_of(pod, app[0]));
    let user = match known {
        // Root only for who asked for it in so many words: the annotation.
        Some((uid, from)) if uid != 0 || from == UserFrom::Annotation => User { uid: Some(uid), gid, from },
        // Where the pod says that it is root, nobody assigns a user, and the sidecar would never start.
        None if users_are_assigned => User { uid: None, gid: asked.group, from: UserFrom::OpenShift },
        _ => {
            warnings.push(unknown(&app[0].name, known.is_some()));
            let group = asked.group.or_else(|| fs_group(pod)).unwrap_or(names::DEFAULT_USER);
            User { uid: Some(names::DEFAULT_USER), gid: Some(group), from: UserFrom::Default }
        }
    };
    warn_of_others(pod, app[0], user, copied, warnings);
    warn_of_group(pod, app[0], user, copied, warnings);
    user
}

fn unknown(container: &str, root: bool) -> Warning {
    let (key, default) = (names::RUN_AS_USER, names::DEFAULT_USER);
    if root {
        let message = format!(
            "container '{container}' runs as root, the sidecar as {default}: it can neither signal the app nor keep the owner of its files; set {key}: '0', or better let the app run as another user"
        );
        return Warning::new(Reason::RootNotAllowed, message);
    }
    let message = format!(
        "the pod does not say which user container '{container}' runs as, so the sidecar runs as {default} and can neither signal the app nor keep the owner of its files; set runAsUser, or {key}: '999' if the app's user is 999"
    );
    Warning::new(Reason::UnknownAppUser, message)
}

/// The user of a container, as far as the pod says it.
fn user_of(pod: &Pod, container: &Container) -> Option<(i64, UserFrom)> {
    let own = container.security_context.as_ref().and_then(|context| context.run_as_user);
    let pods = || spec(pod).security_context.as_ref().and_then(|context| context.run_as_user);
    own.map(|uid| (uid, UserFrom::Container)).or_else(|| pods().map(|uid| (uid, UserFrom::Pod)))
}

fn group_of(pod: &Pod, container: &Container) -> Option<i64> {
    let own = container.security_context.as_ref().and_then(|context| context.run_as_group);
    own.or_else(|| spec(pod).security_context.as_ref().and_then(|context| context.run_as_group))
}

fn fs_group(pod: &Pod) -> Option<i64> {
    spec(pod).security_context.as_ref().and_then(|context| context.fs_group)
}

/// One sidecar has one user: containers with another that write to the same volumes are named.
fn warn_of_others(pod: &Pod, app: &Container, user: User, copied: &Copied, warnings: &mut Vec<Warning>) {
    let Some(uid) = user.uid.filter(|_| user.from != UserFrom::Default) else { return };
    for other in sharing(pod, app, copied) {
        let Some((others, _)) = user_of(pod, other).filter(|(others, _)| *others != uid) else { continue };
        let message = format!(
            "the sidecar runs as {uid}, container '{}' as {others}: what that one writes cannot be rotated by signal; let both run as the same user",
            other.name
        );
        warnings.push(Warning::new(Reason::UidMismatch, message));
    }
}

/// The containers beside the app's that mount the same volumes.
fn sharing<'a>(pod: &'a Pod, app: &Container, copied: &Copied) -> Vec<&'a Container> {
    let shares = |container: &Container| {
        let mounts = container.volume_mounts.as_deref().unwrap_or_default();
        mounts.iter().any(|mount| copied.mounts.iter().any(|copy| copy.name == mount.name))
    };
    running(pod).into_iter().filter(|other| other.name != app.name && shares(other)).collect()
}

/// A container without a group gets that of its user in its own image, which for the sidecar is 0. That does not matter to
/// the owner of the files; only to somebody else who reads them as a member of the app's group.
fn warn_of_group(pod: &Pod, app: &Container, user: User, copied: &Copied, warnings: &mut Vec<Warning>) {
    let Some(uid) = user.uid.filter(|uid| *uid != 0 && user.gid.is_none()) else { return };
    if fs_group(pod).is_some() {
        return;
    }
    let others = sharing(pod, app, copied);
    let reader = others.iter().find(|other| user_of(pod, other).is_none_or(|(others, _)| others != uid));
    let Some(reader) = reader else { return };
    let message = format!(
        "the pod does not say which group container '{}' has, so files that the sidecar makes have group 0, and container '{}' may not be able to read them; set runAsGroup or {}",
        app.name,
        reader.name,
        names::RUN_AS_GROUP
    );
    warnings.push(Warning::new(Reason::UnknownAppGroup, message));
}
