//! Capstan sidecar.
