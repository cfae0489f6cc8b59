//! The operator: carries policies and destinations into sidecars, and sidecars into pods.
//!
//! P is pure: values in, values out. E has effects. Every replica admits pods; only the leader reconciles.

// What the process is told, and the names it uses.
pub mod names; // P
pub mod settings; // P

// Admission: pod -> pod with the sidecar.
pub mod inject; // P
pub mod inject_file; // E
pub mod references; // P
pub mod probe_pod; // P
pub mod webhook; // E
pub mod certificates; // E

// Reconciliation: policy -> configuration -> sidecars -> status.
pub mod leader; // E
pub mod presets; // P
pub mod reconcile; // E
pub mod pods; // E
pub mod feedback; // E
pub mod events; // E
pub mod controller; // E

// The outside.
pub mod metrics; // E
pub mod admin; // E
pub mod injection_test; // E
pub mod app; // E
