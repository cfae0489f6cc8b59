//! The admission webhook: pods in, patches out, over TLS, from what is known already.
//!
//! What always holds: no request makes a call to the API server; whatever goes wrong, the answer lets the pod pass, but
//! for the strict path, which is there to hold pods back.

pub mod review; // P
pub mod caches; // E
pub mod server; // E
