//! Capstan sidecar.

pub mod rotate;
pub mod sys;
