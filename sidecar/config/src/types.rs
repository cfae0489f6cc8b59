//! The checked configuration: what the rest of the program needs to know, and nothing that still has to be
//! checked. Field by field it follows the file; the README says what each one means.

mod choice;
mod destination;
mod forward;
mod log;
mod rotate;

pub(crate) use choice::Choice;
pub use destination::{
    ClientCertificate, Delivery, Destination, Endpoint, Format, Framing, Mode, Param, SdElement, SdId,
    Syslog, Tls, TlsVersion, Transport,
};
pub use forward::{
    Facility, Forward, Hostname, HostnameSource, Metadata, MetadataSource, MetadataValue, Severity,
};
pub use log::{Files, Log, ReadFrom};
pub use rotate::{
    Archive, Compression, Fallback, Method, Naming, Process, Reopen, ReopenAction, Retention, Rotate, When,
    WhenUnconfirmed,
};

use crate::units::PolicyName;

/// One file, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The policy's name; a label of every metric.
    pub policy: PolicyName,
    /// The logs, at least one, with unique names.
    pub logs: Vec<Log>,
    /// The destinations, with unique names. Every destination that a log names is here.
    pub destinations: Vec<Destination>,
}
