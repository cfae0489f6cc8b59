//! The names that the operator writes into other people's objects, and those it reads there.
//!
//! What stands in running pods stays valid: a name here is changed only together with a way to read the old one. Names
//! that the sidecar knows too are in `capstan_config::names`.

/// The policies that a pod asks for, separated by commas. Its presence is what triggers injection.
pub const POLICY: &str = "capstan.dev/policy";
/// `"false"`: the pod is left alone.
pub const INJECT: &str = "capstan.dev/inject";
/// The containers whose volumes are mounted and whose user the sidecar takes; the first counts.
pub const CONTAINER: &str = "capstan.dev/container";
/// The only volumes that are mounted.
pub const VOLUMES: &str = "capstan.dev/volumes";
/// The sidecar's user.
pub const RUN_AS_USER: &str = "capstan.dev/run-as-user";
/// The sidecar's group.
pub const RUN_AS_GROUP: &str = "capstan.dev/run-as-group";
/// `"true"`: the pod's containers see each other's processes.
pub const SHARE_PROCESS_NAMESPACE: &str = "capstan.dev/share-process-namespace";
/// The sidecar's requests and limits, as JSON.
pub const RESOURCES: &str = "capstan.dev/resources";

/// The label of namespaces that want none of it, `disabled`, or all of it, `strict`.
pub const INJECTION: &str = "capstan.dev/injection";
/// What is never served, beside the operator's own namespace.
pub const SYSTEM_NAMESPACE: &str = "kube-system";

/// Label of injected pods.
pub const INJECTED: &str = "capstan.dev/injected";
/// What was done at admission, as JSON.
pub const STATUS: &str = "capstan.dev/status";

/// The directory that all of the sidecar's own mounts but one are in.
pub const OWN_DIRECTORY: &str = "/etc/capstan";
/// Where Kubernetes mounts the token of the pod's service account.
pub const TOKEN_DIRECTORY: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// The user that the sidecar runs as if the app's is not known.
pub const DEFAULT_USER: i64 = 65_532;
/// OpenShift gives each namespace users of its own, and refuses others.
pub const OPENSHIFT_RANGE: &str = "openshift.io/sa.scc.uid-range";
/// Annotation of pods that kubelet made from a file: nothing in them can be changed.
pub const MIRROR_POD: &str = "kubernetes.io/config.mirror";
/// Containers of service meshes: never the app, and, as native sidecars, to be started before ours and stopped after.
pub const MESH_PROXIES: [&str; 2] = ["linkerd-proxy", "istio-proxy"];
/// The label whose value ends the name of a Deployment's ReplicaSet.
pub const POD_TEMPLATE_HASH: &str = "pod-template-hash";
