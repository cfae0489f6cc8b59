//! Starts the components in their order, and again when they end. In: the plan in the cluster's folder, and processes
//! that end; out: processes, and a file that says which run.
//!
//! Always: every orphan of the node is taken in; a component that ends is started again after a second; a stage
//! starts once the stage before it was ready, and is never stopped.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use serde::{Deserialize, Serialize};

use super::components::{Plan, Process};

/// How often processes that ended are looked for.
const LOOK: Duration = Duration::from_millis(50);

/// How long a component that ended stays so.
const PAUSE: Duration = Duration::from_secs(1);

/// Where the node's programs are, before those of the machine.
const SEARCH_PATH: &str = "/run/capstan/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A component as PID 1 sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    /// Its id inside the node; none while it is down.
    pub pid: Option<i32>,
    /// How often it ended.
    pub ends: u32,
}

/// What is running, by name; and what is to be started next.
#[derive(Debug)]
pub struct Table {
    plan: Plan,
    stage: usize,
    running: BTreeMap<String, Running>,
    due: Vec<(Instant, Process)>,
    /// The command that asks whether the stage is ready, while it runs.
    question: Option<i32>,
}

impl Table {
    /// The first stage is due at once.
    pub fn new(plan: Plan, now: Instant) -> Table {
        let mut table = Table { plan, stage: 0, running: BTreeMap::new(), due: Vec::new(), question: None };
        table.begin_stage(now);
        table
    }

    /// Takes the processes that are to be started now.
    pub fn take_due(&mut self, now: Instant) -> Vec<Process> {
        let (due, later) = std::mem::take(&mut self.due).into_iter().partition(|(at, _)| *at <= now);
        self.due = later;
        let due: Vec<(Instant, Process)> = due;
        due.into_iter().map(|(_, process)| process).collect()
    }

    /// A component was started.
    pub fn started(&mut self, name: &str, pid: i32) {
        let ends = self.running.get(name).map_or(0, |running| running.ends);
        self.running.insert(name.to_owned(), Running { pid: Some(pid), ends });
    }

    /// The command to ask now whether the stage is ready: there is a next one, and nobody asks yet.
    pub fn question(&self) -> Option<Vec<String>> {
        let last = self.stage + 1 >= self.plan.stages.len();
        (!last && self.question.is_none()).then(|| self.plan.stages[self.stage].ready.clone())
    }

    /// The question is being asked by that process.
    pub fn asked(&mut self, pid: i32) {
        self.question = Some(pid);
    }

    /// A process of the node ended, a component or any other. Gives the component's name.
    pub fn ended(&mut self, pid: i32, successfully: bool, now: Instant) -> Option<String> {
        if self.question == Some(pid) {
            self.question = None;
            if successfully {
                self.stage += 1;
                self.begin_stage(now);
            }
            return None;
        }
        let (name, running) = self.running.iter_mut().find(|(_, running)| running.pid == Some(pid))?;
        *running = Running { pid: None, ends: running.ends + 1 };
        let name = name.clone();
        let mut all = self.plan.stages.iter().flat_map(|stage| &stage.processes);
        let again = all.find(|process| process.name == name).cloned();
        self.due.extend(again.map(|process| (now + PAUSE, process)));
        Some(name)
    }

    /// A component that could not even be started is tried again like one that ended.
    pub fn failed(&mut self, process: Process, now: Instant) {
        self.due.push((now + PAUSE, process));
    }

    fn begin_stage(&mut self, now: Instant) {
        let processes = self.plan.stages.get(self.stage).into_iter().flat_map(|stage| &stage.processes);
        self.due.extend(processes.map(|process| (now, process.clone())));
    }
}

/// Runs the plan in the folder. Never returns without error.
pub fn run(folder: &Path) -> Result<()> {
    let plan = fs::read(folder.join("plan.json")).context("cannot read the plan")?;
    let mut table = Table::new(serde_json::from_slice(&plan)?, Instant::now());
    loop {
        let mut changed = false;
        for process in table.take_due(Instant::now()) {
            changed = true;
            match start(&process.name, &process.command) {
                Ok(pid) => table.started(&process.name, pid),
                Err(error) => {
                    eprintln!("{error:#}");
                    table.failed(process, Instant::now());
                }
            }
        }
        if let Some(question) = table.question() {
            table.asked(start("ready", &question)?);
        }
        while let Some((pid, successfully)) = reap() {
            if let Some(name) = table.ended(pid, successfully, Instant::now()) {
                eprintln!("{name} ended");
                changed = true;
            }
        }
        if changed {
            fs::write(folder.join("running.json"), serde_json::to_vec(&table.running)?)?;
        }
        sleep(LOOK);
    }
}

/// Starts a process with a log of its name. It is not waited for by its handle but by [`reap`], as all others are.
fn start(name: &str, command: &[String]) -> Result<i32> {
    let (program, arguments) = command.split_first().with_context(|| format!("{name} has no command"))?;
    let log = open_log(name)?;
    let mut child = Command::new(program);
    child.args(arguments).env("PATH", SEARCH_PATH).stdout(log.try_clone()?).stderr(log);
    // Only the relay gets the socket that is this process's standard input.
    match name {
        "relay" => child.stdin(std::io::stdin().as_fd().try_clone_to_owned()?),
        _ => child.stdin(Stdio::null()),
    };
    let started = child.spawn().with_context(|| format!("cannot start {name}"))?;
    Ok(i32::try_from(started.id())?)
}

fn open_log(name: &str) -> Result<File> {
    let path = format!("/var/log/{name}.log");
    OpenOptions::new().create(true).append(true).open(&path).with_context(|| format!("cannot write {path}"))
}

/// Takes in one process that ended, whoever's child it once was.
fn reap() -> Option<(i32, bool)> {
    match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
        Ok(WaitStatus::Exited(pid, code)) => Some((pid.as_raw(), code == 0)),
        Ok(WaitStatus::Signaled(pid, ..)) => Some((pid.as_raw(), false)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::components::Stage;

    fn process(name: &str) -> Process {
        Process { name: name.to_owned(), command: vec![name.to_owned()] }
    }

    fn two_stages() -> Plan {
        let first = Stage { processes: vec![process("etcd")], ready: vec!["ask".to_owned()] };
        Plan { stages: vec![first, Stage { processes: vec![process("kubelet")], ready: Vec::new() }] }
    }

    #[test]
    fn the_second_stage_waits_for_an_answer_that_is_yes() {
        let now = Instant::now();
        let mut table = Table::new(two_stages(), now);
        assert_eq!(table.take_due(now), [process("etcd")]);
        table.started("etcd", 7);
        table.asked(8);
        assert_eq!(table.question(), None, "one question at a time");
        assert_eq!(table.ended(8, false, now), None);
        assert!(table.take_due(now).is_empty());
        assert_eq!(table.question(), Some(vec!["ask".to_owned()]));
        table.asked(9);
        table.ended(9, true, now);
        assert_eq!(table.take_due(now), [process("kubelet")]);
        assert_eq!(table.question(), None, "nothing comes after the last stage");
    }

    #[test]
    fn a_component_that_ends_is_due_again_later_and_an_orphan_is_not() {
        let now = Instant::now();
        let mut table = Table::new(two_stages(), now);
        table.take_due(now);
        table.started("etcd", 7);
        assert_eq!(table.ended(1234, true, now), None);
        assert_eq!(table.ended(7, false, now), Some("etcd".to_owned()));
        assert_eq!(table.running["etcd"], Running { pid: None, ends: 1 });
        assert!(table.take_due(now).is_empty());
        assert_eq!(table.take_due(now + PAUSE), [process("etcd")]);
        table.started("etcd", 10);
        assert_eq!(table.running["etcd"], Running { pid: Some(10), ends: 1 });
    }
}
