//! Capstan on a real cluster. [`cluster`] brings a whole Kubernetes up on one Linux machine and takes it down again
//! without a trace. The rest is the vocabulary of the tests, which need nothing but a KUBECONFIG and the names of
//! images.
//!
//! A test is one call of [`test::in_namespace`]: it gets a fresh namespace, applies documents as a user would,
//! waits for what should become true ([`wait::until`]), and counts again what the programs say. If it fails, what
//! a person needs to see is printed before the namespace goes.

pub mod cluster;

// The cluster as it is seen from outside.
pub mod images;
pub mod kube;

pub mod documents;
pub mod wait;

// What a test works in.
pub mod namespace;

pub mod exec;
pub mod narrate;
pub mod test;

// Capstan, installed and observed.
pub mod install;

pub mod audit;
pub mod policy;
pub mod scrape;
pub mod sidecar;

// The other side: apps, their clients, receivers, and the recount.
pub mod receiver;
pub mod workload;

pub mod recount;
pub mod requests;

// Figures.
pub mod bench;
