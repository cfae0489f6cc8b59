//! The contract's defaults: what a missing field means.
//!
//! They are for people who write the file by hand. The operator writes every field, and so does
//! [`render`](crate::render()), so a later change of a default never changes a sidecar that runs.

use std::time::Duration;

use crate::types::{Archive, Compression, Delivery, Mode, Naming};
use crate::units::ByteSize;

/// `logs[].maxLineBytes`: 1 MiB.
pub const MAX_LINE: ByteSize = ByteSize(1 << 20);

/// `rotate.when.minSize`: 0, a file of any size rotates when its time has come.
pub const MIN_SIZE: ByteSize = ByteSize(0);

/// `rotate.when.timeZone`.
pub const TIME_ZONE: &str = "UTC";

/// `rotate.reopen.timeout`: 30 s, what an app that is busy with a slow request takes.
pub const REOPEN_TIMEOUT: Duration = Duration::from_secs(30);

/// `syslog.endpoints[].port` with TLS: 6514 (RFC 5425 section 4.1).
pub const TLS_PORT: u16 = 6514;

/// `syslog.maxMessageBytes`: 64 KiB. RFC 5425 section 4.3.1 only promises 8 KiB, but receivers in use take more,
/// and a cut line is a loss.
pub const MAX_MESSAGE: ByteSize = ByteSize(64 << 10);

/// `rotate.archive`: beside the log, named by time, compressed with gzip.
pub const fn archive() -> Archive {
    Archive { directory: None, naming: Naming::Timestamp, compression: Compression::Gzip }
}

/// `syslog.delivery`: a connection is closed for proof after 64 MiB or 30 s, or when idle for 5 s.
pub const fn delivery() -> Delivery {
    Delivery {
        mode: Mode::AtLeastOnce,
        replay_margin: Duration::from_secs(5),
        roll_bytes: ByteSize(64 << 20),
        roll_age: Duration::from_secs(30),
        roll_idle: Duration::from_secs(5),
        connect_timeout: Duration::from_secs(10),
        handshake_timeout: Duration::from_secs(10),
        write_timeout: Duration::from_secs(30),
        close_timeout: Duration::from_secs(10),
    }
}
