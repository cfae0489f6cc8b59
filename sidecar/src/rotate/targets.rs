//! Which processes get the signal.
//!
//! In: what the policy names, and the processes there are. Out: targets, or the reason why there is none.
//! Always: a target has a handler for the signal, is what the policy names, and is neither PID 1, nor we, nor
//! another sidecar, nor a thread of the kernel, nor a zombie. The default action of USR1, USR2 and HUP is to
//! kill, so whoever has no handler is not signalled, whatever the policy says.
//!
//! Of a master and its workers only the master is chosen: the topmost of each tree *among those that catch the
//! signal*, so a shell that wraps a program does not stand in front of it. A handler is necessary and not
//! sufficient (a Go program shows one for HUP and dies of it): see [`super::breaker`].

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use regex::bytes::Regex;
use rustix::process::Signal;
use thiserror::Error;

use super::process::Process;

/// What our own program is called. The kernel's short names have exactly this length at most.
const OWN_NAME: &[u8] = b"capstan-sidecar";

/// Most processes that one policy may signal; more means that its pattern matches what was not meant.
const MOST_TARGETS: usize = 64;

/// How much later than its pid file a process may seem to have started. The kernel tells the time of boot in
/// whole seconds, and clocks are set.
const START_TOLERANCE: SignedDuration = SignedDuration::from_secs(2);

/// What a pid file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PidFile {
    /// The number in it.
    pub pid: u32,
    /// When it was written: its time of last modification.
    pub written_at: Timestamp,
}

/// What the policy names.
#[derive(Debug, Clone, Copy)]
pub struct TargetSpec<'a> {
    /// Searched for in the command line, or in the short name where there is no command line.
    pub command_pattern: Option<&'a Regex>,
    /// What the pid file says, if one is named. It and the pattern must both agree.
    pub pid_file: Option<PidFile>,
    /// The container it must run in.
    pub container: Option<Wanted<'a>>,
}

/// In which container the processes run that are named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted<'a> {
    /// Its name.
    pub name: &'a str,
    /// The pod's UID, if it is known.
    pub pod: Option<&'a str>,
    /// Whether the log asks for it. If not, processes whose container cannot be told will do.
    pub is_asked_for: bool,
}

impl Wanted<'_> {
    /// Whether a process may be signalled.
    fn admits(&self, process: &Process) -> Result<(), NoTarget> {
        let (pid, wanted) = (process.pid, self.name.to_owned());
        match &process.container {
            None if self.is_asked_for => Err(NoTarget::ContainerUnknown { pid, wanted }),
            None => Ok(()),
            Some(found) if found.name == self.name && self.pod.is_none_or(|pod| pod == found.pod) => Ok(()),
            Some(found) => Err(NoTarget::OtherContainer { pid, found: found.name.clone(), wanted }),
        }
    }
}

/// A process to signal, named so that no other can be taken for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target {
    /// Its number.
    pub pid: u32,
    /// When it started, in clock ticks since boot.
    pub start_ticks: u64,
}

/// Why nobody is signalled.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NoTarget {
    /// Neither pattern nor pid file.
    #[error("the policy names neither a command pattern nor a pid file")]
    NothingNamed,
    /// No process has such a command line.
    #[error(
        "no process matches the command pattern; without a shared PID namespace only our own are visible"
    )]
    NoMatch,
    /// The pid file's process does not exist.
    #[error("the pid file names process {pid}, which does not exist")]
    PidFileGone {
        /// The number in it.
        pid: u32,
    },
    /// The pid file is older than the process that has its number now.
    #[error("the pid file names process {pid}, which started after the file was written")]
    PidFileStale {
        /// The number in it.
        pid: u32,
    },
    /// The pid file's process is not what the pattern describes.
    #[error("the pid file names process {pid}, which does not match the command pattern")]
    PidFileMismatch {
        /// The number in it.
        pid: u32,
    },
    /// It is not seen in which container it runs.
    #[error(
        "process {pid} matches, but it cannot be seen which container it runs in, and the log asks for '{wanted}'; take container out of the log, or share the pod's process namespace"
    )]
    ContainerUnknown {
        /// The process.
        pid: u32,
        /// The container that is asked for.
        wanted: String,
    },
    /// It runs in another container.
    #[error("process {pid} matches, but runs in container '{found}' and not in '{wanted}'")]
    OtherContainer {
        /// The process.
        pid: u32,
        /// Its container.
        found: String,
        /// The container that is asked for.
        wanted: String,
    },
    /// What is named must never be signalled.
    #[error("process {pid} is never signalled: it is {protected}")]
    Protected {
        /// The process.
        pid: u32,
        /// Why.
        protected: Protected,
    },
    /// Everything named would be killed.
    #[error("process {pid} has no handler for signal {signal}, which would kill it")]
    NotCaught {
        /// The first such process.
        pid: u32,
        /// The signal's number.
        signal: i32,
    },
    /// Too many processes match.
    #[error("{count} processes match, more than the {MOST_TARGETS} that one policy may signal")]
    TooMany {
        /// How many.
        count: usize,
    },
}

/// Why a process is never signalled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Protected {
    /// The first process of its namespace; in a pod, the one that keeps the sandbox.
    #[error("the first process")]
    First,
    /// Ourselves.
    #[error("this sidecar")]
    Ourselves,
    /// Another sidecar of ours.
    #[error("a capstan sidecar")]
    Sidecar,
    /// A thread of the kernel.
    #[error("a thread of the kernel")]
    Kernel,
    /// Ended already.
    #[error("dead, and not yet waited for by its parent")]
    Zombie,
}

/// Chooses who gets `signal`, ascending by PID.
///
/// # Errors
///
/// The reason why it is nobody. Where several processes are ruled out for different reasons, a missing handler
/// is told first, because that is what the policy's author can act on.
pub fn select(
    spec: TargetSpec<'_>,
    processes: &[Process],
    own_pid: u32,
    signal: Signal,
) -> Result<Vec<Target>, NoTarget> {
    let named = named(spec, processes)?;
    let mut catching = BTreeMap::new();
    let mut refusals = Vec::new();
    for process in named {
        let admitted = spec.container.map_or(Ok(()), |wanted| wanted.admits(process));
        match admitted.and_then(|()| check(process, own_pid, signal.as_raw())) {
            Ok(()) => drop(catching.insert(process.pid, process)),
            Err(refusal) => refusals.push(refusal),
        }
    }
    let parents = processes.iter().map(|process| (process.pid, process.parent)).collect();
    let targets: Vec<Target> = catching
        .values()
        .filter(|process| !has_ancestor_in(&catching, &parents, process))
        .map(|process| Target { pid: process.pid, start_ticks: process.start_ticks })
        .collect();
    match targets.len() {
        0 => Err(most_useful(refusals)),
        count if count > MOST_TARGETS => Err(NoTarget::TooMany { count }),
        _ => Ok(targets),
    }
}

/// The processes that the policy names, whatever they are.
fn named<'a>(spec: TargetSpec<'_>, processes: &'a [Process]) -> Result<Vec<&'a Process>, NoTarget> {
    match (spec.pid_file, spec.command_pattern) {
        (None, None) => Err(NoTarget::NothingNamed),
        (None, Some(pattern)) => {
            let named: Vec<_> = processes.iter().filter(|process| matches(process, pattern)).collect();
            if named.is_empty() { Err(NoTarget::NoMatch) } else { Ok(named) }
        }
        (Some(file), pattern) => {
            let pid = file.pid;
            let process =
                processes.iter().find(|process| process.pid == pid).ok_or(NoTarget::PidFileGone { pid })?;
            if process.started > file.written_at.saturating_add(START_TOLERANCE).unwrap_or(Timestamp::MAX) {
                Err(NoTarget::PidFileStale { pid })
            } else if pattern.is_some_and(|pattern| !matches(process, pattern)) {
                Err(NoTarget::PidFileMismatch { pid })
            } else {
                Ok(vec![process])
            }
        }
    }
}

fn matches(process: &Process, pattern: &Regex) -> bool {
    pattern.is_match(if process.command.is_empty() { &process.name } else { &process.command })
}

fn check(process: &Process, own_pid: u32, signal: i32) -> Result<(), NoTarget> {
    let pid = process.pid;
    match protected(process, own_pid) {
        Some(protected) => Err(NoTarget::Protected { pid, protected }),
        None if !process.catches(signal) => Err(NoTarget::NotCaught { pid, signal }),
        None => Ok(()),
    }
}

fn protected(process: &Process, own_pid: u32) -> Option<Protected> {
    if process.pid <= 1 {
        Some(Protected::First)
    } else if process.pid == own_pid {
        Some(Protected::Ourselves)
    } else if process.kernel_thread {
        Some(Protected::Kernel)
    } else if process.is_zombie() {
        Some(Protected::Zombie)
    } else if is_sidecar(process) {
        Some(Protected::Sidecar)
    } else {
        None
    }
}

/// Whether it is a sidecar of ours. The path of a program that was replaced ends in " (deleted)", hence only the beginning of its name is compared.
pub fn is_sidecar(process: &Process) -> bool {
    let file = process.executable.as_deref().and_then(|path| path.rsplit(|byte| *byte == b'/').next());
    process.name == OWN_NAME || file.is_some_and(|file| file.starts_with(OWN_NAME))
}

fn has_ancestor_in(
    chosen: &BTreeMap<u32, &Process>,
    parents: &BTreeMap<u32, u32>,
    process: &Process,
) -> bool {
    // The list was not read at one moment, so it may hold a circle.
    let mut passed = BTreeSet::from([process.pid]);
    let mut at = process.parent;
    while passed.insert(at) {
        if chosen.contains_key(&at) {
            return true;
        }
        match parents.get(&at) {
            Some(parent) => at = *parent,
            None => return false,
        }
    }
    false
}

fn most_useful(refusals: Vec<NoTarget>) -> NoTarget {
    let uncaught = refusals.iter().position(|refusal| matches!(refusal, NoTarget::NotCaught { .. }));
    refusals.into_iter().nth(uncaught.unwrap_or(0)).unwrap_or(NoTarget::NoMatch)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rotate::process::Container;

    const USR1: i32 = 10;
    const CATCHES: u64 = 1 << (USR1 - 1);
    const OWN: u32 = 99;

    fn process(pid: u32, parent: u32, command: &str, caught: u64) -> Process {
        Process {
            pid,
            parent,
            start_ticks: u64::from(pid) * 100,
            started: Timestamp::from_second(1_000 + i64::from(pid)).unwrap(),
            state: b'S',
            kernel_thread: false,
            user: 1000,
            effective_user: 1000,
            inner_pid: pid,
            name: b"python3".to_vec(),
            command: command.as_bytes().to_vec(),
            executable: Some(b"/usr/bin/python3".to_vec()),
            caught,
            blocked: 0,
            container: None,
        }
    }

    fn by_pattern(pattern: &str, processes: &[Process]) -> Result<Vec<u32>, NoTarget> {
        let pattern = Regex::new(pattern).unwrap();
        let spec = TargetSpec { command_pattern: Some(&pattern), pid_file: None, container: None };
        pids(select(spec, processes, OWN, Signal::USR1))
    }

    fn by_file(pid: u32, written: i64, processes: &[Process]) -> Result<Vec<u32>, NoTarget> {
        let written_at = Timestamp::from_second(written).unwrap();
        let spec = TargetSpec {
            command_pattern: None,
            pid_file: Some(PidFile { pid, written_at }),
            container: None,
        };
        pids(select(spec, processes, OWN, Signal::USR1))
    }

    fn pids(targets: Result<Vec<Target>, NoTarget>) -> Result<Vec<u32>, NoTarget> {
        targets.map(|targets| targets.into_iter().map(|target| target.pid).collect())
    }

    fn protected(pid: u32, protected: Protected) -> Result<Vec<u32>, NoTarget> {
        Err(NoTarget::Protected { pid, protected })
    }

    #[test]
    fn only_processes_of_the_container_are_chosen() {
        let inside = |pid, container: Option<&str>| Process {
            container: container.map(|name| Container { pod: "uid".to_owned(), name: name.to_owned() }),
            ..process(pid, 1, "gunicorn: master", CATCHES)
        };
        let pattern = Regex::new("gunicorn").unwrap();
        let check = |name, is_asked_for, processes: &[Process]| {
            let container = Some(Wanted { name, pod: Some("uid"), is_asked_for });
            let spec = TargetSpec { command_pattern: Some(&pattern), pid_file: None, container };
            pids(select(spec, processes, OWN, Signal::USR1))
        };
        let known = [inside(10, Some("app")), inside(20, Some("proxy"))];
        assert_eq!(check("app", true, &known), Ok(vec![10]));
        assert_eq!(check("app", false, &known), Ok(vec![10]));
        let other = NoTarget::OtherContainer { pid: 10, found: "app".into(), wanted: "web".into() };
        assert_eq!(check("web", false, &known), Err(other));
        let unknown = [inside(10, None)];
        assert_eq!(check("app", false, &unknown), Ok(vec![10]));
        let refused = NoTarget::ContainerUnknown { pid: 10, wanted: "app".into() };
        assert_eq!(check("app", true, &unknown), Err(refused));
        let elsewhere = Some(Wanted { name: "app", pod: Some("another pod"), is_asked_for: false });
        let spec = TargetSpec { command_pattern: Some(&pattern), pid_file: None, container: elsewhere };
        assert!(select(spec, &known, OWN, Signal::USR1).is_err(), "a pod that sees the host's processes");
    }

    #[test]
    fn of_master_and_workers_only_the_master_is_chosen() {
        let processes = [
            process(10, 1, "gunicorn: master", CATCHES),
            process(11, 10, "gunicorn: worker", CATCHES),
            process(12, 10, "gunicorn: worker", CATCHES),
        ];
        assert_eq!(by_pattern("gunicorn", &processes), Ok(vec![10]));
        assert_eq!(by_pattern("worker", &processes), Ok(vec![11, 12]));
    }

    #[test]
    fn a_shell_without_handler_does_not_hide_the_master() {
        let processes = [
            process(5, 1, "sh -c gunicorn app; true", 0),
            process(10, 5, "gunicorn: master", CATCHES),
            process(11, 10, "gunicorn: worker", CATCHES),
        ];
        assert_eq!(by_pattern("gunicorn", &processes), Ok(vec![10]));
    }

    #[test]
    fn a_process_between_master_and_worker_does_not_make_two_trees() {
        let processes = [
            process(10, 1, "gunicorn: master", CATCHES),
            process(11, 10, "spawner", CATCHES),
            process(12, 11, "gunicorn: worker", CATCHES),
        ];
        assert_eq!(by_pattern("gunicorn", &processes), Ok(vec![10]));
    }

    #[test]
    fn two_trees_get_a_signal_each() {
        let processes = [
            process(10, 1, "gunicorn: master", CATCHES),
            process(11, 10, "gunicorn: worker", CATCHES),
            process(20, 1, "gunicorn: master", CATCHES),
        ];
        assert_eq!(by_pattern("gunicorn", &processes), Ok(vec![10, 20]));
    }

    #[test]
    fn who_has_no_handler_is_refused_with_that_reason() {
        let processes = [process(10, 1, "sleep 5", 0), process(1, 0, "sleep 6", CATCHES)];
        let refused = by_pattern("sleep", &processes).unwrap_err();
        assert_eq!(refused, NoTarget::NotCaught { pid: 10, signal: USR1 });
        assert_eq!(refused.to_string(), "process 10 has no handler for signal 10, which would kill it");
        let other_signal = [process(10, 1, "sleep 5", !CATCHES)];
        assert_eq!(by_pattern("sleep", &other_signal), Err(refused));
    }

    #[test]
    fn some_processes_are_never_chosen() {
        let app = || process(10, 1, "app", CATCHES);
        assert_eq!(by_pattern("app", &[process(1, 0, "app", CATCHES)]), protected(1, Protected::First));
        assert_eq!(
            by_pattern("app", &[process(OWN, 1, "app", CATCHES)]),
            protected(OWN, Protected::Ourselves)
        );
        let zombie = Process { state: b'Z', ..app() };
        assert_eq!(by_pattern("app", &[zombie]), protected(10, Protected::Zombie));
        let kernel = Process { kernel_thread: true, command: Vec::new(), name: b"app".to_vec(), ..app() };
        assert_eq!(by_pattern("app", &[kernel]), protected(10, Protected::Kernel));
        let named = Process { name: b"capstan-sidecar".to_vec(), executable: None, ..app() };
        assert_eq!(by_pattern("app", &[named]), protected(10, Protected::Sidecar));
        let renamed = Process { executable: Some(b"/bin/capstan-sidecar (deleted)".to_vec()), ..app() };
        let refused = by_pattern("app", &[renamed]).unwrap_err();
        assert_eq!(refused.to_string(), "process 10 is never signalled: it is a capstan sidecar");
    }

    #[test]
    fn a_protected_parent_does_not_hide_its_child() {
        let processes = [process(1, 0, "app", CATCHES), process(10, 1, "app", CATCHES)];
        assert_eq!(by_pattern("app", &processes), Ok(vec![10]));
    }

    #[test]
    fn nothing_named_and_nothing_found_are_told_apart() {
        let none = TargetSpec { command_pattern: None, pid_file: None, container: None };
        assert_eq!(select(none, &[], OWN, Signal::USR1), Err(NoTarget::NothingNamed));
        assert_eq!(by_pattern("app", &[process(10, 1, "other", CATCHES)]), Err(NoTarget::NoMatch));
    }

    #[test]
    fn a_pid_file_is_believed_only_if_its_process_was_there_first() {
        let processes = [process(10, 1, "app", CATCHES), process(11, 10, "app", CATCHES)];
        assert_eq!(by_file(10, 1_010, &processes), Ok(vec![10]));
        assert_eq!(by_file(11, 5_000, &processes), Ok(vec![11]));
        assert_eq!(by_file(10, 1_008, &processes), Ok(vec![10]));
        assert_eq!(by_file(10, 1_007, &processes), Err(NoTarget::PidFileStale { pid: 10 }));
        assert_eq!(by_file(12, 5_000, &processes), Err(NoTarget::PidFileGone { pid: 12 }));
    }

    #[test]
    fn a_pid_file_that_says_one_is_refused() {
        let processes = [process(1, 0, "app", CATCHES)];
        assert_eq!(by_file(1, 5_000, &processes), protected(1, Protected::First));
        assert_eq!(by_file(0, 5_000, &[process(0, 0, "app", CATCHES)]), protected(0, Protected::First));
    }

    #[test]
    fn pattern_and_pid_file_must_agree() {
        let processes = [process(10, 1, "nginx: master", CATCHES), process(20, 1, "gunicorn", CATCHES)];
        let (nginx, gunicorn) = (Regex::new("nginx").unwrap(), Regex::new("gunicorn").unwrap());
        let file = PidFile { pid: 10, written_at: Timestamp::from_second(5_000).unwrap() };
        let both = |pattern| {
            let spec = TargetSpec { command_pattern: Some(pattern), pid_file: Some(file), container: None };
            pids(select(spec, &processes, OWN, Signal::USR1))
        };
        assert_eq!(both(&nginx), Ok(vec![10]));
        assert_eq!(both(&gunicorn), Err(NoTarget::PidFileMismatch { pid: 10 }));
    }

    #[test]
    fn a_pattern_that_matches_everything_signals_nobody() {
        let processes: Vec<_> = (10..200).map(|pid| process(pid, 1, "app", CATCHES)).collect();
        assert_eq!(by_pattern("", &processes), Err(NoTarget::TooMany { count: 189 }));
    }

    #[test]
    fn a_circle_of_parents_ends() {
        let processes = [process(10, 11, "app", CATCHES), process(11, 10, "other", CATCHES)];
        assert_eq!(by_pattern("app", &processes), Ok(vec![10]));
    }
}
