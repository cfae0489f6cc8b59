//! Capstan sidecar.

pub mod syslog;
