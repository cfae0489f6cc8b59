//! Syslog on the wire: a line goes in, the bytes of one framed RFC 5424 message come out.
//!
//! Everything here is pure (P): no clock, no file, no socket.

pub mod message; // P  the head of a message
pub mod cut; // P  where a message that is too long is cut
pub mod frame; // P  what stands between two messages
