//! Whether the app still runs, in a pod whose processes are visible. When its last process is gone, as at the end of a
//! Job, there is nothing to wait for: what was sent is proved at once.

use std::time::{Duration, Instant};

use crate::pod::Pod;
use crate::rotate::process::Process;
use crate::rotate::processes::snapshot;
use crate::rotate::targets::is_sidecar;

/// How often processes are looked at, while lines are unconfirmed.
const LOOK: Duration = Duration::from_secs(1);

/// What was seen of the app.
#[derive(Debug, Default)]
pub struct Presence {
    was_there: bool,
    looked: Option<Instant>,
}

impl Presence {
    /// Looks, if it is time and `is_waiting`: something is unconfirmed. Returns whether the app is gone since the last
    /// look.
    pub fn has_left(&mut self, pod: &Pod, is_waiting: bool) -> bool {
        let is_time = self.looked.is_none_or(|at| at.elapsed() >= LOOK);
        if pod.name.is_none() || !is_waiting || !is_time {
            return false;
        }
        self.looked = Some(Instant::now());
        let Ok(mut seen) = snapshot() else { return false };
        seen.see_containers();
        let is_there = is_running(pod, &seen.processes, std::process::id());
        std::mem::replace(&mut self.was_there, is_there) && !is_there
    }
}

/// Whether any process of the app is among these. In a namespace of our own we are the first, and see nobody.
fn is_running(pod: &Pod, processes: &[Process], own_pid: u32) -> bool {
    let is_app = |process: &Process| match &process.container {
        Some(container) => pod.containers.is_empty() || pod.containers.contains(&container.name),
        None => true,
    };
    let others = processes.iter().filter(|process| process.pid != 1 && process.pid != own_pid);
    let mut others = others.filter(|process| !process.is_zombie() && !process.kernel_thread);
    own_pid != 1 && others.any(|process| is_app(process) && !is_sidecar(process))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rotate::process::Container;

    fn process(pid: u32, name: &str, container: Option<&str>, state: u8) -> Process {
        let container = container.map(|name| Container { pod: "uid".to_owned(), name: name.to_owned() });
        Process {
            pid,
            parent: 0,
            start_ticks: 0,
            started: jiff::Timestamp::UNIX_EPOCH,
            state,
            kernel_thread: false,
            user: 1000,
            effective_user: 1000,
            inner_pid: pid,
            name: name.as_bytes().to_vec(),
            command: Vec::new(),
            executable: None,
            caught: 0,
            blocked: 0,
            container,
        }
    }

    #[test]
    fn pause_sidecars_proxies_and_the_dead_are_not_the_app() {
        let pod = Pod { containers: vec!["app".to_owned()], ..Pod::default() };
        let pause = || process(1, "pause", None, b'S');
        let check = |others: Vec<Process>| {
            let all: Vec<Process> = std::iter::once(pause()).chain(others).collect();
            is_running(&pod, &all, 7)
        };
        assert!(!check(vec![process(7, "capstan-sidecar", Some("capstan"), b'S')]));
        assert!(check(vec![process(9, "python3", Some("app"), b'S')]));
        assert!(!check(vec![process(9, "python3", Some("app"), b'Z')]));
        assert!(!check(vec![process(9, "envoy", Some("istio-proxy"), b'S')]));
        assert!(check(vec![process(9, "python3", None, b'S')]), "it cannot be told, so it may be");
    }
}
