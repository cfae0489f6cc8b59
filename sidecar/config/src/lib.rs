//! The contract between operator and sidecar: the configuration file `config.v1.json`.
//!
//! In comes the text of one file, out comes a [`Config`] whose every value is checked, or a [`ParseError`]
//! that names each field at fault and says what to write instead. [`render()`] goes the other way and writes
//! every setting explicitly, so that what it prints is also the answer to "what is in effect?".
//!
//! What always holds: the package keeps no state and opens no file, but for the machine's time zone database, in
//! which it looks up the zones of schedules; what [`render()`] writes [`parse()`] reads back equal; no key is ignored.
//!
//! The README beside this package is the reference of every field.

mod parse;

mod raw;

mod shape;

mod check;

mod types;

mod units;

mod render;

mod pod;

mod error;
mod nearest;

pub mod defaults;
pub mod names;

pub use error::{FieldError, ParseError};
pub use parse::parse;
pub use pod::{ConfigHash, ConfigHashes, TerminationMessage, Unconfirmed, Volume, VolumeKind};
pub use render::render;
pub use types::{
    Archive, ClientCertificate, Compression, Config, Delivery, Destination, Endpoint, Facility, Fallback,
    Files, Format, Forward, Framing, Hostname, HostnameSource, Log, Metadata, MetadataSource, MetadataValue,
    Method, Mode, Naming, Param, Process, ReadFrom, Reopen, ReopenAction, Retention, Rotate, SdElement, SdId,
    Severity, Syslog, Tls, TlsVersion, Transport, When, WhenUnconfirmed,
};
pub use units::{
    AbsolutePath, ByteSize, ContainerName, DestinationName, FileMode, Fingerprint, FingerprintAlgorithm,
    LogName, PathPattern, Pattern, PolicyName, RelativePath, Schedule, Signal, ValueError, format_duration,
    parse_duration,
};
