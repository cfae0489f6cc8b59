//! The fixed names that operator and sidecar share. They are part of the contract: changing one breaks every
//! sidecar that is already running.

/// The version of the file this package reads and writes.
pub const VERSION: u64 = 1;

/// The directory that holds one directory per policy.
pub const POLICIES_DIRECTORY: &str = "/etc/capstan/policies";

/// The name of the file inside a policy's directory. A later version gets a file of its own beside it.
pub const FILE_NAME: &str = "config.v1.json";

/// The directory below which the operator mounts Secrets and CA bundles, one directory per object.
pub const SECRETS_DIRECTORY: &str = "/etc/capstan/secrets";

/// What stands before a policy's name in the name of its ConfigMap.
pub const CONFIG_MAP_PREFIX: &str = "capstan-";

/// The directory of what the pod's own object says, by the downward API.
pub const POD_DIRECTORY: &str = "/etc/capstan/pod";

/// The file of the pod's annotations, a line `key="escaped value"` for each.
pub const ANNOTATIONS_FILE: &str = "/etc/capstan/pod/annotations";

/// The annotation that holds the hashes of the files that the sidecar should have, see
/// [`ConfigHashes`](crate::ConfigHashes).
pub const CONFIG_HASH_ANNOTATION: &str = "capstan.dev/config-hash";

/// The annotation that asks for a rotation of all logs, once, at a time (RFC 3339).
pub const ROTATE_AT_ANNOTATION: &str = "capstan.dev/rotate-at";

/// The name of the sidecar's container.
pub const CONTAINER: &str = "capstan";

/// The name of [`ADMIN_PORT`] in the container.
pub const ADMIN_PORT_NAME: &str = "capstan-metrics";

/// The file whose content a container leaves behind as its termination message.
pub const TERMINATION_LOG: &str = "/dev/termination-log";

/// Environment: the pod's name.
pub const POD_VARIABLE: &str = "CAPSTAN_POD";

/// Environment: the pod's namespace.
pub const NAMESPACE_VARIABLE: &str = "CAPSTAN_NAMESPACE";

/// Environment: the pod's UID.
pub const POD_UID_VARIABLE: &str = "CAPSTAN_POD_UID";

/// Environment: the name of the node that the pod runs on.
pub const NODE_VARIABLE: &str = "CAPSTAN_NODE";

/// Environment: the name of what owns the pod, such as its Deployment.
pub const WORKLOAD_VARIABLE: &str = "CAPSTAN_WORKLOAD";

/// Environment: the names of the app's containers, separated by commas; the one that is meant by default comes first.
pub const CONTAINERS_VARIABLE: &str = "CAPSTAN_CONTAINERS";

/// Environment: the volumes that are mounted, as JSON; a list of [`Volume`](crate::Volume).
pub const VOLUMES_VARIABLE: &str = "CAPSTAN_VOLUMES";

/// Environment: the pod's grace period, as a length of time such as `30s`.
pub const GRACE_VARIABLE: &str = "CAPSTAN_GRACE";

/// The TCP port of `/metrics`, `/healthz` and `/status`: that of syslog over TLS, 6514, with a 2 in front. An app may
/// listen in the same network namespace, so it is none of the ports that exporters use (9100 to 9999), and below the
/// range from which Linux picks ports for outgoing connections (32768).
pub const ADMIN_PORT: u16 = 26514;

/// The directory for state that is created beside the logs. Nothing in it is ever taken for a log.
pub const STATE_DIRECTORY: &str = ".capstan";

/// The SD-ID of the element that carries `metadata` (RFC 5424 section 7.2.2: `name@private enterprise number`;
/// 32473 is the number reserved for documentation by RFC 5612).
pub const METADATA_ELEMENT: &str = "capstan@32473";

/// The SD-ID of the element that carries stream, generation and position, if `positionElement` is on.
pub const POSITION_ELEMENT: &str = "position@32473";

/// The largest file that is read, in bytes. A ConfigMap holds at most 1 MiB.
pub const MAX_FILE_BYTES: usize = 1 << 20;

/// The name of a policy's ConfigMap.
pub fn config_map(policy: &str) -> String {
    format!("{CONFIG_MAP_PREFIX}{policy}")
}

/// Where a policy's ConfigMap is mounted.
pub fn policy_directory(policy: &str) -> String {
    format!("{POLICIES_DIRECTORY}/{policy}")
}

/// Where a Secret that a destination names is mounted; each of its keys is a file there.
pub fn secret_directory(secret: &str) -> String {
    format!("{SECRETS_DIRECTORY}/secret-{secret}")
}
