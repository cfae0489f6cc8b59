//! The contract between operator and sidecar.
