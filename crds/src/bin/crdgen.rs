//! Writes the CRDs as YAML.
fn main() {}
