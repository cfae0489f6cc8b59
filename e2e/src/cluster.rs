//! A real Kubernetes on one Linux machine: in, the sources in `e2e/cluster` and a folder; out, a running cluster, and
//! later nothing at all.
//!
//! The node is one process tree in mount, network, process and host-name namespaces of its own. Its PID 1 is this
//! program too, and with it everything ends that ever ran on the node: components, containers, mounts, interfaces.
//! Outside of the namespaces there are two things only: the folder, and one cgroup named after it. That cgroup is
//! also how the node is found again, so that taking it down needs no notes that a crash could have spoilt.
//!
//! The modules in the order of the work; P decides, E has effects.

/// P: where everything of one cluster is.
pub mod layout;
/// E: what is told while it works.
pub mod progress;

/// P: which Go programs there are, in which version, and when a build of them can be used again.
pub mod recipe;
/// E: the cache, and the compiler.
pub mod compile;
/// E: images of root directories, of Debian packages, and of this project's programs.
pub mod image;

/// E: authority, keys, certificates and kubeconfigs, made anew for each cluster.
pub mod certificates;
/// P: the configuration files and command lines of all components.
pub mod components;
/// E: the one thing of the node that is outside of its namespaces.
pub mod cgroups;
/// E: from a plain process to PID 1 of a node.
pub mod node;
/// P and E: starts the components in their order, and again when they end.
pub mod supervise;
/// E: the way from the machine's loopback to the API server.
pub mod relay;

/// E: a command inside the node.
pub mod inside;
/// E: waits until the cluster is what it should be.
pub mod ready;
/// E: up and down, in terms of all the above.
pub mod lifecycle;
/// E: what there is, for people.
pub mod status;
/// E: what of a cluster is left on the machine.
pub mod clean;
/// E: thousands of pods that need no node.
pub mod kwok;
