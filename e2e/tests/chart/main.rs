//! The charts and the examples, without a cluster: in, the files and values; out, what Helm makes of them.
//!
//! Needs `helm` (env HELM, or on PATH) and, for alerts and dashboard, `promtool` (env PROMTOOL, or on PATH);
//! `make chart-test` sees to both.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod definitions;
mod examples;
mod helm;
mod metrics;
mod monitoring;
mod objects;
mod restricted;
mod rights;
mod values;
