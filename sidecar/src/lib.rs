//! Capstan sidecar.

pub mod forward;
pub mod syslog;

pub mod sys;
