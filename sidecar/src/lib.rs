//! Capstan's sidecar: rotates log files without losing a line, proves that the app reopened them, and forwards
//! every line over syslog-TLS at least once.
//!
//! The data path: [`watch`] sees a file grow; [`stream`] knows which generation of which log it is; [`read`] turns
//! its bytes into lines with their places; [`syslog`] makes messages and frames of them; [`forward`] sends them,
//! closes connections for proof, and moves the cursors of [`stream`] along what is proved; [`rotate`] gives paths
//! new files, seals the old ones when nobody writes them any more, compresses them, and deletes what is confirmed.
//!
//! The files are the only queue: every destination reads them by itself, from its own cursor, so nothing grows in
//! memory when a receiver is away.

pub mod settings;

pub mod pod;

pub mod files;

pub mod watch;

pub mod stream;

pub mod read;

pub mod syslog;

pub mod forward;

pub mod rotate;

pub mod hub;

pub mod status;

pub mod control;

pub mod admin;

pub mod config_source;

pub mod reload;

pub mod app;

pub mod metrics;

pub mod sys;

pub mod cli;
