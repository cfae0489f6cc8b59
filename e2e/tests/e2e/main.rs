//! What Capstan does on a real cluster. Each test has a namespace of its own; all share one installation, and run at
//! the same time, so none of them may disturb the operator.

/// What tests lean on: the receiver, the requests, the recount. Needs no Capstan.
mod vocabulary;

/// Numbered requests through rotations, a deleted receiver and a killed sidecar.
mod main_path;

/// Custom resources, apps and receivers in whatever order.
mod any_order;
/// Policies and destinations change while their sidecars run.
mod changes;
/// Jobs, and pods that are deleted.
mod endings;
/// What pods get, and what is said of what they cannot get.
mod injection;
/// What the API server and the operator answer to bad input.
mod refusals;
/// Who may do what.
mod rights;

/// The examples as they stand.
mod examples;
/// Prometheus finds everybody.
mod monitoring;
