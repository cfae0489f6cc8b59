//! The custom resources of Capstan, group `capstan.dev`, version `v1alpha1`: what users write.
//!
//! One kind per file, in the order of its YAML. What is there is what a user wrote: nothing is filled in here, since
//! presets and sibling fields decide what a missing field means. Rules about one field stand in its schema, rules
//! about several in CEL, so that the API server refuses what breaks them; [`manifest`] makes the YAML beside this
//! package out of both.

pub mod destination;
pub mod manifest;
pub mod policy;
pub mod values;

pub use destination::{LogDestination, LogDestinationSpec, LogDestinationStatus};
pub use policy::{LogRotationPolicy, LogRotationPolicySpec, LogRotationPolicyStatus};

/// The API group of both kinds, and the prefix of every label and annotation.
pub const GROUP: &str = "capstan.dev";
