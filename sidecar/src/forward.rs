//! The way to a receiver: lines leave the files, and how far they got comes back.
//!
//! In the order in which a line passes. Deciding is pure (P), reading and sending are thin (E).

pub mod clock; // P  the time of each line
pub mod track; // E  the next lines of one generation, framed
pub mod heads; // E  what stands in front of each line
pub mod in_flight; // P  what was sent, and from where to go on after a break
pub mod queue; // E  all generations of one destination, in turn
pub mod rolling; // P  when to close a connection for proof

pub mod connection; // E  one connection: push, drive, watch, close for proof
pub mod tls; // E  what it takes to trust a receiver, and to be trusted
pub mod backoff; // P  how long to wait before the next attempt
pub mod endpoint; // P  which endpoint next
pub mod dial; // E  opens connections

pub mod ahead; // E  the connection after this one
pub mod forwarder; // E  one destination's loop
pub mod ending; // E  how that loop ends
pub mod verdict; // E  what is proved is confirmed, what is not is sent again
pub mod start; // E  from settings to a running thread
pub mod status; // what is known of a destination
