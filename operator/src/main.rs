//! `capstan-operator`: arguments, logging, run, exit code.
fn main() {}
