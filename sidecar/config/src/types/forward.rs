//! Where the lines of a log are sent, and what their messages say about them.

use super::choice::choice;
use crate::units::DestinationName;

/// Where the lines of a log are sent, and what their messages say about them (RFC 5424 section 6.2).
#[derive(Debug, Clone, PartialEq)]
pub struct Forward {
    /// The destinations, at least one; version 1 of the sidecar serves exactly one per log.
    pub destinations: Vec<DestinationName>,
    /// HOSTNAME; `None` is the name of the host, which in a pod is the pod's.
    pub hostname: Option<Hostname>,
    /// APP-NAME, 1 to 48 printable ASCII characters; `None` is the policy's name.
    pub app_name: Option<String>,
    /// The facility of every message.
    pub facility: Facility,
    /// The severity of every message.
    pub severity: Severity,
    /// What every message says about its origin, in one element
    /// [`METADATA_ELEMENT`](crate::names::METADATA_ELEMENT).
    pub metadata: Vec<Metadata>,
}

/// The HOSTNAME of messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hostname {
    /// As it is: 1 to 255 printable ASCII characters.
    Literal(String),
    /// What each pod knows of itself; the host's name where it does not.
    From(HostnameSource),
}

/// A parameter of the element [`METADATA_ELEMENT`](crate::names::METADATA_ELEMENT).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    /// PARAM-NAME: 1 to 32 printable ASCII characters without `=`, space, `]` and `"`.
    pub name: String,
    /// PARAM-VALUE.
    pub value: MetadataValue,
}

/// The value of a [`Metadata`] parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MetadataValue {
    /// As it is, not yet escaped.
    Literal(String),
    /// What each pod knows of itself; the parameter is left out where it does not.
    From(MetadataSource),
}

choice! {
    /// What a pod may call itself in its messages.
    HostnameSource {
        /// The pod's name.
        Pod = "Pod",
        /// The name of the node that it runs on.
        Node = "Node",
        /// The name of what owns it, such as its Deployment.
        Workload = "Workload",
    }
    later []
}

choice! {
    /// What a pod knows of itself.
    MetadataSource {
        /// Its namespace.
        Namespace = "Namespace",
        /// Its name.
        Pod = "Pod",
        /// Its UID.
        PodUid = "PodUid",
        /// The container that the log belongs to.
        Container = "Container",
        /// The name of the node that it runs on.
        Node = "Node",
        /// The name of what owns it, such as its Deployment.
        Workload = "Workload",
    }
    later []
}

choice! {
    /// A syslog facility, in the order of its codes (RFC 5424 section 6.2.1).
    Facility {
        /// 0: kernel messages.
        Kern = "Kern",
        /// 1: user-level messages.
        User = "User",
        /// 2: mail system.
        Mail = "Mail",
        /// 3: system daemons.
        Daemon = "Daemon",
        /// 4: security and authorization.
        Auth = "Auth",
        /// 5: the syslog daemon itself.
        Syslog = "Syslog",
        /// 6: line printers.
        Lpr = "Lpr",
        /// 7: network news.
        News = "News",
        /// 8: UUCP.
        Uucp = "Uucp",
        /// 9: clock daemon (cron).
        Cron = "Cron",
        /// 10: private security and authorization.
        AuthPriv = "AuthPriv",
        /// 11: FTP.
        Ftp = "Ftp",
        /// 12: NTP.
        Ntp = "Ntp",
        /// 13: log audit.
        Audit = "Audit",
        /// 14: log alert.
        Alert = "Alert",
        /// 15: second clock daemon.
        Clock = "Clock",
        /// 16: local use 0.
        Local0 = "Local0",
        /// 17: local use 1.
        Local1 = "Local1",
        /// 18: local use 2.
        Local2 = "Local2",
        /// 19: local use 3.
        Local3 = "Local3",
        /// 20: local use 4.
        Local4 = "Local4",
        /// 21: local use 5.
        Local5 = "Local5",
        /// 22: local use 6.
        Local6 = "Local6",
        /// 23: local use 7.
        Local7 = "Local7",
    }
    later []
}

impl Facility {
    /// The numerical code, 0 to 23 (RFC 5424 table 1).
    pub const fn code(self) -> u8 {
        self as u8
    }
}

choice! {
    /// A syslog severity, in the order of its codes (RFC 5424 section 6.2.1).
    Severity {
        /// 0: system is unusable.
        Emergency = "Emergency",
        /// 1: action must be taken immediately.
        Alert = "Alert",
        /// 2: critical conditions.
        Critical = "Critical",
        /// 3: error conditions.
        Error = "Error",
        /// 4: warning conditions.
        Warning = "Warning",
        /// 5: normal but significant.
        Notice = "Notice",
        /// 6: informational.
        Info = "Info",
        /// 7: debug-level messages.
        Debug = "Debug",
    }
    later []
}

impl Severity {
    /// The numerical code, 0 to 7 (RFC 5424 table 2).
    pub const fn code(self) -> u8 {
        self as u8
    }
}
