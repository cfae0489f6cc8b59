//! What the kernel's text files say about one process.
//!
//! In: the bytes of `/proc/PID/stat`, `status`, `cmdline` and `fdinfo/N`, as proc(5) describes them. Out: plain
//! values, or `None` where the text is not what the manual promises (a process that is just vanishing gives
//! half of it). Always: a name that contains spaces, brackets or line breaks changes nothing about the rest.

use jiff::Timestamp;

/// Ticks of `starttime` in a second: USER_HZ, which is 100 on every architecture this program is built for.
const TICKS_PER_SECOND: u64 = 100;

/// `PF_KTHREAD` of linux/sched.h.
const KERNEL_THREAD_FLAG: u64 = 0x0020_0000;

/// A process, as far as choosing a signal's target needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its number in our PID namespace.
    pub pid: u32,
    /// Number of its parent; 0 for the first of the namespace and for one that came from outside.
    pub parent: u32,
    /// When it started, in clock ticks since boot. With the PID, this names a process for good.
    pub start_ticks: u64,
    /// When it started, by the wall clock, to about a second.
    pub started: Timestamp,
    /// State letter: `R`, `S`, `D`, `T`, `Z`, …
    pub state: u8,
    /// Whether it is a thread of the kernel.
    pub kernel_thread: bool,
    /// Real user ID.
    pub user: u32,
    /// Effective user ID.
    pub effective_user: u32,
    /// Its number in the innermost PID namespace, which is what the process itself sees.
    pub inner_pid: u32,
    /// Short name, at most 15 bytes.
    pub name: Vec<u8>,
    /// Command line, arguments separated by spaces; empty for threads of the kernel and zombies.
    pub command: Vec<u8>,
    /// Path of the program, where we may see it.
    pub executable: Option<Vec<u8>>,
    /// Signals it has a handler for: bit n−1 for signal n.
    pub caught: u64,
    /// Signals its main thread blocks.
    pub blocked: u64,
    /// The container it runs in, where that was looked for and can be told.
    pub container: Option<Container>,
}

/// A container of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// The pod's UID.
    pub pod: String,
    /// Its name.
    pub name: String,
}

/// Reads from `/proc/PID/mountinfo` which container a process runs in: kubelet mounts each one's termination log from
/// `…/pods/<uid>/containers/<name>/<hash>`. `None` if there is no such line, or lines that disagree.
pub fn parse_container(text: &[u8]) -> Option<Container> {
    let text = String::from_utf8_lossy(text);
    let mut found = text.lines().filter_map(|line| container_of(line.split(' ').nth(3)?));
    let first = found.next()?;
    found.all(|other| other == first).then_some(first)
}

/// From the root of a mount within its file system.
fn container_of(root: &str) -> Option<Container> {
    let mut parts = root.rsplit('/');
    let is_hash = |text: &str| text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let (hash, name, containers) = (parts.next()?, parts.next()?, parts.next()?);
    let (pod, pods) = (parts.next()?, parts.next()?);
    let fits = is_hash(hash) && containers == "containers" && pods == "pods" && !name.is_empty();
    fits.then(|| Container { pod: pod.to_owned(), name: name.to_owned() })
}

impl Process {
    /// Whether it has ended and only waits for its parent to notice.
    pub fn is_zombie(&self) -> bool {
        matches!(self.state, b'Z' | b'X' | b'x')
    }

    /// Whether it has a handler for the signal with this number (1 to 64).
    pub fn catches(&self, signal: i32) -> bool {
        mask_has(self.caught, signal)
    }
}

/// Whether a mask of `/proc/PID/status` has the bit of the signal with this number (1 to 64).
pub fn mask_has(mask: u64, signal: i32) -> bool {
    (1..=64).contains(&signal) && (mask >> (signal - 1)) & 1 == 1
}

/// What `/proc/PID/stat` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stat {
    /// Short name.
    pub name: Vec<u8>,
    /// State letter.
    pub state: u8,
    /// Number of the parent.
    pub parent: u32,
    /// Whether it is a thread of the kernel.
    pub kernel_thread: bool,
    /// How many threads it has.
    pub threads: u64,
    /// When it started, in clock ticks since boot.
    pub start_ticks: u64,
}

/// Reads `/proc/PID/stat`.
pub fn parse_stat(text: &[u8]) -> Option<Stat> {
    // The name stands in brackets and may hold brackets itself: it ends at the last one.
    let open = text.iter().position(|byte| *byte == b'(')?;
    let close = text.iter().rposition(|byte| *byte == b')')?;
    let name = text.get(open + 1..close)?.to_vec();
    let rest = std::str::from_utf8(text.get(close + 1..)?).ok()?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    // proc(5) counts from 1 and the state is field 3.
    let field = |number: usize| fields.get(number - 3).copied();
    let flags: u64 = field(9)?.parse().ok()?;
    Some(Stat {
        name,
        state: *field(3)?.as_bytes().first()?,
        parent: field(4)?.parse().ok()?,
        kernel_thread: flags & KERNEL_THREAD_FLAG != 0,
        threads: field(20)?.parse().ok()?,
        start_ticks: field(22)?.parse().ok()?,
    })
}

/// What `/proc/PID/status` says beyond `stat`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Real user ID.
    pub user: u32,
    /// Effective user ID.
    pub effective_user: u32,
    /// Number in the innermost PID namespace; `None` before Linux 4.1.
    pub inner_pid: Option<u32>,
    /// Signals with a handler.
    pub caught: u64,
    /// Signals the main thread blocks.
    pub blocked: u64,
}

/// Reads `/proc/PID/status`.
pub fn parse_status(text: &[u8]) -> Option<Status> {
    let value = |key: &str| {
        text.split(|byte| *byte == b'\n').find_map(|line| {
            let value = line.strip_prefix(key.as_bytes())?.strip_prefix(b":")?;
            std::str::from_utf8(value).ok().map(str::trim)
        })
    };
    let mask = |key: &str| u64::from_str_radix(value(key)?, 16).ok();
    let mut users = value("Uid")?.split_ascii_whitespace();
    Some(Status {
        user: users.next()?.parse().ok()?,
        effective_user: users.next()?.parse().ok()?,
        inner_pid: value("NSpid").and_then(|pids| pids.split_ascii_whitespace().last()?.parse().ok()),
        caught: mask("SigCgt")?,
        blocked: mask("SigBlk")?,
    })
}

/// Turns `/proc/PID/cmdline` into one line: arguments separated by spaces, without what programs that set their
/// title leave behind it.
pub fn parse_command(text: &[u8]) -> Vec<u8> {
    let end = text.iter().rposition(|byte| !matches!(byte, 0 | b' ')).map_or(0, |last| last + 1);
    text.iter().take(end).map(|byte| if *byte == 0 { b' ' } else { *byte }).collect()
}

/// When the system booted, from `/proc/stat`.
pub fn parse_boot_time(text: &[u8]) -> Option<Timestamp> {
    let line = text.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"btime "))?;
    Timestamp::from_second(std::str::from_utf8(line).ok()?.trim().parse().ok()?).ok()
}

/// Wall time of a number of ticks since `boot`.
pub fn start_time(boot: Timestamp, ticks: u64) -> Timestamp {
    let since_boot = std::time::Duration::from_millis(ticks.saturating_mul(1_000 / TICKS_PER_SECOND));
    boot.checked_add(since_boot).unwrap_or(Timestamp::MAX)
}

/// What `/proc/PID/fdinfo/N` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DescriptorInfo {
    /// Whether it may write.
    pub writable: bool,
    /// Number of the inode as this file system counts internally; `None` before Linux 5.14.
    pub inode: Option<u64>,
}

/// Reads `/proc/PID/fdinfo/N`.
pub fn parse_descriptor(text: &[u8]) -> Option<DescriptorInfo> {
    /// `O_WRONLY` and `O_RDWR` of open(2).
    const WRITE_MODES: u64 = 0o3;
    let text = std::str::from_utf8(text).ok()?;
    let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
    let flags = u64::from_str_radix(value("flags:")?, 8).ok()?;
    let inode = value("ino:").and_then(|inode| inode.parse().ok());
    Some(DescriptorInfo { writable: flags & WRITE_MODES != 0, inode })
}

/// Whether `/proc/PID/maps` has a mapping of the inode that may write to the file: such a writer needs no
/// descriptor. Devices are not compared, because this file and stat(2) disagree about them on btrfs and overlayfs.
pub fn maps_write_to(text: &[u8], inode: u64) -> bool {
    text.split(|byte| *byte == b'\n').any(|line| {
        let mut fields = line.split(|byte| *byte == b' ').filter(|field| !field.is_empty());
        let permissions = fields.nth(1).unwrap_or_default();
        let mapped = fields.nth(2).and_then(|field| std::str::from_utf8(field).ok()?.parse::<u64>().ok());
        permissions.contains(&b'w') && permissions.contains(&b's') && mapped == Some(inode)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str =
        "4242 (a) R (1 b) S 17 4242 4242 0 -1 4194304 99 0 0 0 1 2 0 0 20 0 3 0 189485 3133440 382";

    #[test]
    fn a_name_with_brackets_does_not_shift_the_fields() {
        let stat = parse_stat(STAT.as_bytes()).unwrap();
        assert_eq!(stat.name, b"a) R (1 b");
        assert_eq!((stat.state, stat.parent, stat.threads, stat.start_ticks), (b'S', 17, 3, 189_485));
        assert!(!stat.kernel_thread);
    }

    const MOUNTS: &str = "618 531 0:52 / / rw,relatime master:1 - overlay overlay rw
627 618 8:1 /var/lib/kubelet/pods/0a1b/etc-hosts /etc/hosts rw - ext4 /dev/sda1 rw
628 618 8:1 /var/lib/kubelet/pods/0a1b/containers/app/1f2e3d4c /dev/termination-log rw - ext4 /dev/sda1 rw
629 618 8:1 /var/lib/kubelet/pods/0a1b/volumes/kubernetes.io~empty-dir/logs /var/log/app rw - ext4 /dev/sda1 rw
";

    #[test]
    fn the_termination_log_tells_the_container() {
        let container = |pod: &str, name: &str| Container { pod: pod.to_owned(), name: name.to_owned() };
        assert_eq!(parse_container(MOUNTS.as_bytes()), Some(container("0a1b", "app")));
        // Another root of kubelet, or a file system that begins further up.
        let short = MOUNTS.replace("/var/lib/kubelet", "/k8s");
        assert_eq!(parse_container(short.as_bytes()), Some(container("0a1b", "app")));
        let host = MOUNTS.replace("/containers/app/1f2e3d4c", "/containers/app/readme.txt");
        assert_eq!(parse_container(host.as_bytes()), None);
        let two = format!("{MOUNTS}{}", MOUNTS.replace("/app/", "/other/"));
        assert_eq!(parse_container(two.as_bytes()), None, "lines that disagree");
        assert_eq!(parse_container(b"\xff\n1 2\n"), None);
    }

    #[test]
    fn a_thread_of_the_kernel_is_recognised_by_its_flag() {
        let text = "2 (kthreadd) S 0 0 0 0 -1 2129984 0 0 0 0 0 0 0 0 20 0 1 0 5 0 0";
        assert!(parse_stat(text.as_bytes()).unwrap().kernel_thread);
    }

    #[test]
    fn half_a_text_is_no_process() {
        for end in 0..STAT.len() - " 3133440 382".len() - 6 {
            assert_eq!(parse_stat(&STAT.as_bytes()[..end]), None, "{end}");
        }
        assert_eq!(parse_status(b"Name:\tx\nUid:\t1\t1\t1\t1\n"), None);
        assert_eq!(parse_descriptor(b"pos:\t0\n"), None);
    }

    #[test]
    fn masks_and_users_come_from_the_status() {
        let text = b"Name:\tSigCgt:\nUid:\t1000\t1001\t1000\t1000\nNSpid:\t77\t5\nSigBlk:\t0000000000000001\nSigIgn:\t0\nSigCgt:\t0000000000000200\n";
        let status = parse_status(text).unwrap();
        assert_eq!((status.user, status.effective_user, status.inner_pid), (1000, 1001, Some(5)));
        assert!(mask_has(status.caught, 10));
        assert!(!mask_has(status.caught, 12));
        assert!(mask_has(status.blocked, 1));
    }

    #[test]
    fn signals_that_do_not_exist_are_in_no_mask() {
        for signal in [i32::MIN, -1, 0, 65, i32::MAX] {
            assert!(!mask_has(u64::MAX, signal), "{signal}");
        }
        assert!(mask_has(u64::MAX, 64));
    }

    #[test]
    fn a_command_line_is_one_line() {
        assert_eq!(parse_command(b"gunicorn\0-w\x002\0"), b"gunicorn -w 2");
        assert_eq!(parse_command(b"gunicorn: master [shop]\0\0\0\0"), b"gunicorn: master [shop]");
        assert_eq!(parse_command(b"nginx: master process   \0"), b"nginx: master process");
        assert_eq!(parse_command(b""), b"");
    }

    #[test]
    fn the_start_counts_from_boot() {
        let boot = parse_boot_time(b"cpu 1 2\nbtime 1700000000\nprocesses 5\n").unwrap();
        assert_eq!(start_time(boot, 250).to_string(), "2023-11-14T22:13:22.5Z");
        assert_eq!(start_time(boot, u64::MAX), Timestamp::MAX);
    }

    #[test]
    fn only_descriptors_that_may_write_are_writers() {
        let writable = |flags: &str| {
            parse_descriptor(format!("pos:\t0\nflags:\t{flags}\nmnt_id:\t24\nino:\t77\n").as_bytes()).unwrap()
        };
        assert_eq!(writable("02102001"), DescriptorInfo { writable: true, inode: Some(77) });
        assert!(writable("0100002").writable);
        assert!(!writable("0100000").writable);
        assert!(!writable("012000000").writable);
        assert_eq!(parse_descriptor(b"pos:\t0\nflags:\t01\n").unwrap().inode, None);
    }

    #[test]
    fn a_shared_mapping_that_may_write_counts_and_others_do_not() {
        let line = |permissions: &str, inode: u64| {
            format!(
                "55cd-55ce {permissions} 00000000 fe:00 {inode}                     /var/log/app log\n55-56 rw-p 0 00:00 0\n"
            )
        };
        assert!(maps_write_to(line("rw-s", 77).as_bytes(), 77));
        assert!(!maps_write_to(line("r--s", 77).as_bytes(), 77));
        assert!(!maps_write_to(line("rw-p", 77).as_bytes(), 77));
        assert!(!maps_write_to(line("rw-s", 78).as_bytes(), 77));
        assert!(!maps_write_to(b"", 0));
    }
}
