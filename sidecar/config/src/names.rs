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
