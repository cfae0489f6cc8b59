//! The few system calls that no crate offers a safe wrapper for, and the process-wide settings made at start.
//!
//! In: borrowed descriptors, which stay the caller's. Out: plain values or an [`Errno`]. Always: no pointer
//! leaves this module, and every call names its man page and why it is sound. The only module with `unsafe`.
#![allow(unsafe_code)]

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Resource, Rlimit};

/// Largest file handle a kernel gives out, in bytes: `MAX_HANDLE_SZ` of open_by_handle_at(2).
const MAX_HANDLE_BYTES: usize = 128;

/// What the kernel said to a request for a read lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseReply {
    /// The lease was granted, and has been given back: at that moment nobody had the file open for writing.
    Granted,
    /// `EAGAIN`: somebody has it open for writing, or this file system never grants a lease.
    Refused,
    /// Another error, which says nothing about writers: `EACCES` (not our file), `EINVAL` (no leases here).
    Failed(Errno),
}

/// Asks for a read lease on `file` and gives it back at once. fcntl(2), "Leases".
///
/// `file` must be open for reading only, or the kernel refuses because of us. The lease lives for a
/// microsecond because holding it would block whoever opens the file for writing meanwhile, and send us SIGIO.
pub fn ask_read_lease(file: impl AsFd) -> LeaseReply {
    match set_lease(file.as_fd(), libc::F_RDLCK) {
        Ok(()) => match set_lease(file.as_fd(), libc::F_UNLCK) {
            Ok(()) => LeaseReply::Granted,
            Err(errno) => LeaseReply::Failed(errno),
        },
        Err(Errno::AGAIN) => LeaseReply::Refused,
        Err(errno) => LeaseReply::Failed(errno),
    }
}

fn set_lease(file: BorrowedFd<'_>, kind: i32) -> Result<(), Errno> {
    // SAFETY: fcntl(2) with F_SETLEASE takes an int and touches no memory of ours; the descriptor is borrowed,
    // so it stays open for the length of the call.
    check(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, kind) })
}

/// The kernel's own name for a file: it carries the inode's generation, so a reused inode number differs.
///
/// name_to_handle_at(2). The bytes are opaque and only good for comparing within one file system; `None` where
/// the file system has no handles (overlayfs, some FUSE) or a seccomp filter forbids the call.
pub fn file_handle(file: impl AsFd) -> Option<Vec<u8>> {
    #[repr(C)]
    struct Handle {
        bytes: libc::c_uint,
        kind: libc::c_int,
        opaque: [u8; MAX_HANDLE_BYTES],
    }
    let mut handle =
        Handle { bytes: MAX_HANDLE_BYTES as libc::c_uint, kind: 0, opaque: [0; MAX_HANDLE_BYTES] };
    let mut mount: libc::c_int = 0;
    // SAFETY: `handle` begins with the two fields of struct file_handle and has room for the number of bytes it
    // announces; the empty path is NUL-terminated; the kernel writes only into `handle` and `mount`, which
    // outlive the call.
    let status = unsafe {
        libc::name_to_handle_at(
            file.as_fd().as_raw_fd(),
            c"".as_ptr(),
            (&raw mut handle).cast::<libc::file_handle>(),
            &raw mut mount,
            libc::AT_EMPTY_PATH,
        )
    };
    check(status).ok()?;
    let mut name = handle.kind.to_le_bytes().to_vec();
    name.extend_from_slice(handle.opaque.get(..handle.bytes as usize)?);
    Some(name)
}

/// Bytes handed to the kernel for sending on `socket` that the peer has not acknowledged yet. tcp(7), SIOCOUTQ.
///
/// # Errors
///
/// `EINVAL` for a listening socket, `ENOTTY` for what is no socket.
pub fn unacknowledged_bytes(socket: impl AsFd) -> Result<u32, Errno> {
    /// `SIOCOUTQ` of linux/sockios.h, which is TIOCOUTQ.
    const SIOCOUTQ: rustix::ioctl::Opcode = libc::TIOCOUTQ as rustix::ioctl::Opcode;
    // SAFETY: tcp(7): SIOCOUTQ stores one int, which is the type the getter provides room for.
    let bytes: libc::c_int =
        unsafe { rustix::ioctl::ioctl(socket, rustix::ioctl::Getter::<SIOCOUTQ, libc::c_int>::new())? };
    Ok(bytes.unsigned_abs())
}

/// Ignores SIGIO from now on. sigaction(2), fcntl(2) "Leases".
///
/// The kernel sends it when somebody opens a file for writing during the microsecond in which we hold a lease,
/// and its default action would kill us.
///
/// # Errors
///
/// None that the kernel documents for this signal; passed on all the same.
pub fn ignore_sigio() -> Result<(), Errno> {
    // SAFETY: SIG_IGN installs no handler of ours, so nothing can run in signal context; signal(2) touches no
    // memory of ours.
    if unsafe { libc::signal(libc::SIGIO, libc::SIG_IGN) } == libc::SIG_ERR {
        return Err(last_error());
    }
    Ok(())
}

/// Makes this process leave no core dump and lets no process of the same user read its memory.
///
/// It holds private keys while it runs. PR_SET_DUMPABLE of prctl(2).
///
/// # Errors
///
/// Only where a seccomp filter forbids the call; harmless then.
pub fn forbid_dumps() -> Result<(), Errno> {
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
}

/// Raises the number of files this process may have open to what it is allowed at most, and returns that number
/// (`None` = no limit). getrlimit(2).
///
/// # Errors
///
/// Whatever setrlimit(2) says; the old limit then still holds.
pub fn raise_open_files() -> Result<Option<u64>, Errno> {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        rustix::process::setrlimit(Resource::Nofile, raised)?;
    }
    Ok(limit.maximum)
}

fn check(status: libc::c_int) -> Result<(), Errno> {
    if status < 0 { Err(last_error()) } else { Ok(()) }
}

fn last_error() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File, OpenOptions};
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};

    use super::*;

    /// Children that other tests start share our descriptors between fork and exec, so "granted" may take a
    /// moment to become true; "refused" never changes while we hold the writer.
    fn lease_once_children_have_started(file: &File) -> LeaseReply {
        for _ in 0..2_000 {
            match ask_read_lease(file) {
                LeaseReply::Refused => std::thread::sleep(std::time::Duration::from_millis(5)),
                reply => return reply,
            }
        }
        LeaseReply::Refused
    }

    #[test]
    fn a_lease_is_refused_while_somebody_writes_and_granted_afterwards() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let writer = OpenOptions::new().create(true).append(true).open(&path).unwrap();
        let reader = File::open(&path).unwrap();
        assert_eq!(ask_read_lease(&reader), LeaseReply::Refused);
        drop(writer);
        assert_eq!(lease_once_children_have_started(&reader), LeaseReply::Granted);
        // The lease was given back: opening for writing does not block, and a second probe works.
        drop(OpenOptions::new().append(true).open(&path).unwrap());
        assert_eq!(lease_once_children_have_started(&reader), LeaseReply::Granted);
    }

    #[test]
    fn a_lease_on_a_directory_says_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let opened = File::open(directory.path()).unwrap();
        assert_eq!(ask_read_lease(&opened), LeaseReply::Failed(Errno::INVAL));
    }

    #[test]
    fn a_file_handle_survives_a_rename_and_differs_between_files() {
        let directory = tempfile::tempdir().unwrap();
        let (one, two) = (directory.path().join("one"), directory.path().join("two"));
        fs::write(&one, b"").unwrap();
        fs::write(&two, b"").unwrap();
        let before = file_handle(File::open(&one).unwrap());
        let other = file_handle(File::open(&two).unwrap());
        fs::rename(&one, directory.path().join("three")).unwrap();
        let after = file_handle(File::open(directory.path().join("three")).unwrap());
        assert_eq!(before, after);
        assert!(before.is_none() || before != other);
    }

    #[test]
    fn a_pipe_has_no_file_handle() {
        let (reader, _writer) = std::io::pipe().unwrap();
        assert_eq!(file_handle(&reader), None);
    }

    #[test]
    fn bytes_the_peer_has_no_room_for_stay_unacknowledged() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut sender = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert_eq!(unacknowledged_bytes(&sender), Ok(0));
        sender.set_nonblocking(true).unwrap();
        // Nobody reads: write until the buffers of both sides are full.
        while sender.write(&[0; 65_536]).is_ok() {}
        assert!(unacknowledged_bytes(&sender).unwrap() > 0);
    }

    #[test]
    fn a_file_is_no_socket() {
        let file = tempfile::tempfile().unwrap();
        assert!(unacknowledged_bytes(&file).is_err());
    }

    #[test]
    fn sigio_no_longer_kills() {
        ignore_sigio().unwrap();
        let own = rustix::process::getpid();
        rustix::process::kill_process(own, rustix::process::Signal::IO).unwrap();
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap().trim();
        assert_ne!(u64::from_str_radix(ignored, 16).unwrap() & (1 << (libc::SIGIO - 1)), 0);
    }

    #[test]
    fn the_limit_of_open_files_is_raised_to_the_hard_one() {
        let maximum = raise_open_files().unwrap();
        assert_eq!(rustix::process::getrlimit(Resource::Nofile).current, maximum);
    }
}
