//! The demo and the benchmarks: the sidecar beside a bare loop and beside peers from the distribution.

pub mod bare_loop;
pub mod config;
pub mod demo;
pub mod figures;
pub mod measure;
pub mod sidecar;
