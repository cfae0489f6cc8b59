//! Syslog on the wire: a line goes in, the bytes of one framed RFC 5424 message come out.
//!
//! Everything here is pure: no clock, no file, no socket.

pub mod message;

pub mod cut;

pub mod frame;
