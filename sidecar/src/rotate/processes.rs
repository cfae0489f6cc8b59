//! Looks at the processes of our PID namespace, and at which of them may write to a file.
//!
//! In: `/proc`. Out: a list of processes, or who holds a file. Always: a process that vanishes meanwhile is
//! left out, no read is longer than its bound, and a scan that could not see everything says so.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::process::{self, DescriptorInfo, Process, Stat};
use crate::files::FileId;

/// Most bytes read of one text file about a process. The longest command lines are longer; their start is enough
/// to tell programs apart.
const LONGEST_TEXT_BYTES: u64 = 65_536;

/// Most bytes read of a list of mappings: about 100,000 of them.
const LONGEST_MAPS_BYTES: u64 = 16 << 20;

/// How often the list of processes is read again to see those that were born during a scan.
const SCAN_ROUNDS: usize = 8;

/// All processes we can see, at about one moment.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The processes, ascending by PID.
    pub processes: Vec<Process>,
}

/// Who may write to a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Holders {
    /// Processes with a descriptor or a mapping that may write.
    pub writing: Vec<u32>,
    /// Processes whose descriptors we may not see.
    pub unreadable: Vec<u32>,
    /// Processes may have been missed: `/proc` hides some, or they are born faster than they are read.
    pub incomplete: bool,
}

impl Snapshot {
    /// Looks in which container each of them runs. That is apart, because a host has many processes with many mounts.
    pub fn see_containers(&mut self) {
        for process in &mut self.processes {
            process.container = read_container(process.pid);
        }
    }
}

impl Holders {
    /// Whether every process of our namespace was seen.
    pub fn saw_everyone(&self) -> bool {
        self.unreadable.is_empty() && !self.incomplete
    }
}

/// Reads all processes.
///
/// # Errors
///
/// `/proc` is not mounted, or does not say when the system booted.
pub fn snapshot() -> io::Result<Snapshot> {
    let boot = boot_time()?;
    let processes = pids()?.into_iter().filter_map(|pid| read_since(pid, boot)).collect();
    Ok(Snapshot { processes })
}

/// Reads one process; `None` if there is none with this PID.
///
/// # Errors
///
/// As [`snapshot`].
pub fn read(pid: u32) -> io::Result<Option<Process>> {
    Ok(read_since(pid, boot_time()?))
}

fn read_since(pid: u32, boot: Timestamp) -> Option<Process> {
    let folder = folder(pid);
    let stat = read_stat(pid)?;
    let status = process::parse_status(&read_text(&folder.join("status"), LONGEST_TEXT_BYTES).ok()?)?;
    // A thread of the kernel has neither, and a host has hundreds of them.
    let command = if stat.kernel_thread {
        Vec::new()
    } else {
        process::parse_command(&read_text(&folder.join("cmdline"), LONGEST_TEXT_BYTES).ok()?)
    };
    let executable = if stat.kernel_thread { None } else { fs::read_link(folder.join("exe")).ok() };
    Some(Process {
        pid,
        parent: stat.parent,
        start_ticks: stat.start_ticks,
        started: process::start_time(boot, stat.start_ticks),
        state: stat.state,
        kernel_thread: stat.kernel_thread,
        user: status.user,
        effective_user: status.effective_user,
        inner_pid: status.inner_pid.unwrap_or(pid),
        name: stat.name,
        command,
        executable: executable.map(|path| path.into_os_string().into_vec()),
        caught: status.caught,
        blocked: status.blocked,
        container: None,
    })
}

/// The container that a process runs in; that file is readable also where its user is another.
fn read_container(pid: u32) -> Option<process::Container> {
    process::parse_container(&read_text(&folder(pid).join("mountinfo"), LONGEST_MAPS_BYTES).ok()?)
}

/// Finds out which processes may write to `file`, descriptor by descriptor.
///
/// This sees one PID namespace. A container that shares the volume but not the namespace, another node on a
/// network file system, and a descriptor on its way through a socket stay unseen: whether all writers *can* be
/// seen is for the caller to know.
///
/// # Errors
///
/// `/proc` is not mounted, or our own descriptor cannot be looked at.
pub fn holders(file: &File) -> io::Result<Holders> {
    let wanted = Wanted::new(file)?;
    let mut holders = Holders { incomplete: hides_processes(), ..Holders::default() };
    let mut seen = BTreeSet::new();
    for _ in 0..SCAN_ROUNDS {
        // A child born while its parent was being read may have inherited what the parent then closed.
        let unseen: Vec<u32> = pids()?.into_iter().filter(|pid| !seen.contains(pid)).collect();
        if unseen.is_empty() {
            return Ok(holders);
        }
        for pid in unseen {
            seen.insert(pid);
            match wanted.held_by(pid) {
                Ok(true) => holders.writing.push(pid),
                Ok(false) => {}
                Err(_) if has_nothing(pid) => {}
                Err(_) => holders.unreadable.push(pid),
            }
        }
    }
    holders.incomplete = true;
    Ok(holders)
}

/// The file to look for.
struct Wanted {
    id: FileId,
    /// Its inode number as `fdinfo` gives it, which overlayfs and btrfs count differently from stat(2).
    inner_inode: Option<u64>,
}

impl Wanted {
    fn new(file: &File) -> io::Result<Self> {
        let own = PathBuf::from(format!("/proc/self/fdinfo/{}", file.as_raw_fd()));
        let info = read_text(&own, LONGEST_TEXT_BYTES).ok().and_then(|text| process::parse_descriptor(&text));
        Ok(Wanted { id: FileId::of(&file.metadata()?), inner_inode: info.and_then(|info| info.inode) })
    }

    /// Whether the process may write to the file. An error means that this could not be seen.
    fn held_by(&self, pid: u32) -> io::Result<bool> {
        let folder = folder(pid);
        for entry in fs::read_dir(folder.join("fd"))? {
            let number = entry?.file_name();
            let info = match read_text(&folder.join("fdinfo").join(&number), LONGEST_TEXT_BYTES) {
                // Closed meanwhile.
                Err(error) if is_gone(&error) => continue,
                text => process::parse_descriptor(&text?).ok_or(io::ErrorKind::InvalidData)?,
            };
            if self.may_be(info) && self.is(&folder.join("fd").join(&number))? {
                return Ok(true);
            }
        }
        self.mapped_by(&folder)
    }

    /// Whether a descriptor is worth a stat(2), which may hang on somebody's dead network file system.
    fn may_be(&self, info: DescriptorInfo) -> bool {
        info.writable && (info.inode.is_none() || info.inode == self.inner_inode)
    }

    fn is(&self, descriptor: &Path) -> io::Result<bool> {
        match fs::metadata(descriptor) {
            Ok(metadata) => Ok(FileId::of(&metadata) == self.id),
            Err(error) if is_gone(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn mapped_by(&self, folder: &Path) -> io::Result<bool> {
        let text = read_text(&folder.join("maps"), LONGEST_MAPS_BYTES)?;
        if text.len() as u64 == LONGEST_MAPS_BYTES {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let inodes = [Some(self.id.inode), self.inner_inode];
        Ok(inodes.into_iter().flatten().any(|inode| process::maps_write_to(&text, inode)))
    }
}

/// Whether a process that could not be read has no descriptors at all: it is gone, a thread of the kernel, or
/// dead with all its threads.
fn has_nothing(pid: u32) -> bool {
    match read_stat(pid) {
        None => !folder(pid).exists(),
        Some(stat) => stat.kernel_thread || (matches!(stat.state, b'Z' | b'X' | b'x') && stat.threads <= 1),
    }
}

/// Reads `/proc/PID/stat`; `None` if there is no such process.
pub(super) fn read_stat(pid: u32) -> Option<Stat> {
    process::parse_stat(&read_text(&folder(pid).join("stat"), LONGEST_TEXT_BYTES).ok()?)
}

/// Signals that the process has a handler for, as a mask; `None` if there is no such process.
pub(super) fn read_caught(pid: u32) -> Option<u64> {
    let text = read_text(&folder(pid).join("status"), LONGEST_TEXT_BYTES).ok()?;
    Some(process::parse_status(&text)?.caught)
}

/// Whether `/proc` is mounted so that it hides the processes of others. proc(5), `hidepid`.
fn hides_processes() -> bool {
    let Ok(mounts) = fs::read_to_string("/proc/self/mounts") else { return true };
    mounts
        .lines()
        .map(|line| line.split(' ').collect::<Vec<_>>())
        .filter(|fields| fields.get(1) == Some(&"/proc"))
        .any(|fields| fields.get(3).is_some_and(|options| hides(options)))
}

fn hides(options: &str) -> bool {
    options
        .split(',')
        .filter_map(|option| option.strip_prefix("hidepid="))
        .any(|level| !matches!(level, "0" | "off"))
}

fn boot_time() -> io::Result<Timestamp> {
    // The line stands behind one line per processor and one per kind of interrupt.
    let text = read_text(Path::new("/proc/stat"), LONGEST_MAPS_BYTES)?;
    process::parse_boot_time(&text).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

fn pids() -> io::Result<Vec<u32>> {
    let mut pids = Vec::new();
    for entry in fs::read_dir("/proc")? {
        pids.extend(entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()));
    }
    pids.sort_unstable();
    Ok(pids)
}

fn folder(pid: u32) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}"))
}

fn read_text(path: &Path, at_most: u64) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    File::open(path)?.take(at_most).read_to_end(&mut text)?;
    Ok(text)
}

fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ESRCH)
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::{BufRead, BufReader};
    use std::process::{Child, Command, Stdio};

    use super::*;

    /// A python program that has said "ready", killed and reaped when dropped.
    pub struct Python {
        pub child: Child,
        output: BufReader<std::process::ChildStdout>,
    }

    impl Python {
        pub fn start(program: &str, arguments: &[&str]) -> Self {
            let mut child = Command::new("python3")
                .args(["-c", program])
                .args(arguments)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let output = BufReader::new(child.stdout.take().unwrap());
            let mut python = Python { child, output };
            assert_eq!(python.line(), "ready");
            python
        }

        pub fn line(&mut self) -> String {
            let mut line = String::new();
            self.output.read_line(&mut line).unwrap();
            line.trim_end().to_owned()
        }

        pub fn pid(&self) -> u32 {
            self.child.id()
        }
    }

    impl Drop for Python {
        fn drop(&mut self) {
            self.child.kill().unwrap();
            self.child.wait().unwrap();
        }
    }

    const HOLD: &str =
        "import sys; f = open(sys.argv[1], 'ab'); print('ready', flush=True); sys.stdin.read()";
    const READ: &str =
        "import sys; f = open(sys.argv[1], 'rb'); print('ready', flush=True); sys.stdin.read()";
    const MAP: &str = "
import mmap, os, sys
f = os.open(sys.argv[1], os.O_RDWR)
m = mmap.mmap(f, 5, mmap.MAP_SHARED)
os.close(f)
# CPython keeps a descriptor of its own for resizing; close every one that is left.
os.closerange(3, 64)
print('ready', flush=True)
sys.stdin.read()";

    fn scene() -> (tempfile::TempDir, String, File) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        fs::write(&path, "hello").unwrap();
        let file = File::open(&path).unwrap();
        (directory, path.to_str().unwrap().to_owned(), file)
    }

    #[test]
    fn a_snapshot_has_ourselves_and_our_children() {
        let python = Python::start(
            "import signal, sys; signal.signal(signal.SIGUSR1, lambda *_: None); print('ready', flush=True); sys.stdin.read()",
            &["--marker with space"],
        );
        let processes = snapshot().unwrap().processes;
        let own = processes.iter().find(|process| process.pid == std::process::id()).unwrap();
        assert_eq!(own.user, rustix::process::getuid().as_raw());
        let child = processes.iter().find(|process| process.pid == python.pid()).unwrap();
        assert_eq!(child.parent, std::process::id());
        assert!(child.catches(libc::SIGUSR1));
        assert!(!child.catches(libc::SIGUSR2));
        assert!(child.command.ends_with(b"--marker with space"));
        assert!(child.executable.as_ref().unwrap().windows(6).any(|part| part == b"python"));
        assert!(!child.is_zombie());
        let age = Timestamp::now().duration_since(child.started);
        assert!(age.as_secs().abs() < 3_600, "{age:?}");
        assert_eq!(read(python.pid()).unwrap().unwrap().start_ticks, child.start_ticks);
    }

    #[test]
    fn a_process_that_is_gone_is_none() {
        let mut child = Command::new("true").spawn().unwrap();
        let pid = child.id();
        child.wait().unwrap();
        assert_eq!(read(pid).unwrap(), None);
    }

    #[test]
    fn a_dead_child_is_a_zombie_until_it_is_reaped() {
        let mut child = Command::new("true").stdout(Stdio::piped()).spawn().unwrap();
        let mut nothing = Vec::new();
        child.stdout.take().unwrap().read_to_end(&mut nothing).unwrap();
        while !read(child.id()).unwrap().unwrap().is_zombie() {
            std::thread::yield_now();
        }
        child.wait().unwrap();
    }

    #[test]
    fn a_snapshot_survives_processes_that_come_and_go() {
        let mut children = Vec::new();
        for _ in 0..20 {
            children.push(Command::new("true").spawn().unwrap());
            assert!(snapshot().unwrap().processes.iter().any(|process| process.pid == std::process::id()));
        }
        for mut child in children {
            child.wait().unwrap();
        }
    }

    #[test]
    fn a_process_that_has_the_file_open_for_writing_holds_it() {
        let (_directory, path, file) = scene();
        let writer = Python::start(HOLD, &[&path]);
        let reader = Python::start(READ, &[&path]);
        let found = holders(&file).unwrap();
        assert!(found.writing.contains(&writer.pid()));
        assert!(!found.writing.contains(&reader.pid()));
        let pid = writer.pid();
        drop(writer);
        assert!(!holders(&file).unwrap().writing.contains(&pid));
    }

    #[test]
    fn a_shared_mapping_holds_the_file_without_a_descriptor() {
        let (_directory, path, file) = scene();
        let writer = Python::start(MAP, &[&path]);
        assert_eq!(holders(&file).unwrap().writing, [writer.pid()]);
    }

    #[test]
    fn a_process_we_may_not_look_into_is_reported() {
        let (_directory, _path, file) = scene();
        let found = holders(&file).unwrap();
        // As root everything is readable; as an ordinary user the first process is not.
        if rustix::process::geteuid().is_root() {
            return;
        }
        assert!(!found.saw_everyone());
    }

    #[test]
    fn a_proc_that_hides_processes_is_recognised() {
        assert!(hides("rw,nosuid,hidepid=2"));
        assert!(hides("hidepid=invisible"));
        assert!(!hides("rw,hidepid=0"));
        assert!(!hides("rw,gid=5"));
    }
}
