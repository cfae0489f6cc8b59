//! Looks whether anybody may still write to a file: the lease, and the scan of `/proc`.
//!
//! In: a descriptor of the old file that can only read. Out: [`Answer`]. Always: `Held` and `Unheld` are only
//! said where the kernel said so about this very file; everything else is `Unknown` with its reason. We hold no
//! lease and no writable descriptor when a probe returns.
//!
//! A lease is the better probe: the kernel counts every writer of the inode, in whatever container, with a
//! descriptor or a mapping. It works where the file is ours (or we have CAP_LEASE) and the file system grants
//! leases at all, which [`calibrate`] finds out on a scratch file. NFS, for one, answers "held" always.

use std::ffi::OsString;
use std::fs::File;

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::naming::RESERVED_PREFIX;
use super::processes::{self, Holders};
use super::reopen::{Answer, Blind};
use crate::files::directory::Directory;
use crate::files::{FileError, FileId};
use crate::sys::{LeaseReply, ask_read_lease};

/// How often a scratch file that nobody holds any more is asked for, with [`PAUSE`] between: a child that is just
/// being started by another thread shares our descriptors for a moment.
const PATIENCE: u32 = 20;

/// Time between two such questions.
const PAUSE: std::time::Duration = std::time::Duration::from_millis(10);

/// Whether leases tell writers on a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leases {
    /// They do.
    Work,
    /// They do not, or it could not be found out.
    Fail(Blind),
}

/// Tries leases on a scratch file in `directory`, which is on the volume in question and ours to write to.
///
/// # Errors
///
/// The scratch file could not be made; try again later.
pub fn calibrate(directory: &Directory) -> Result<Leases, FileError> {
    let (writer, reader) = scratch(directory)?;
    let held = probe_lease(&reader, Leases::Work);
    drop(writer);
    let unheld = (0..PATIENCE).find_map(|_| match probe_lease(&reader, Leases::Work) {
        Answer::Held => {
            std::thread::sleep(PAUSE);
            None
        }
        answer => Some(answer),
    });
    Ok(match (held, unheld) {
        (Answer::Held, Some(Answer::Unheld)) => Leases::Work,
        (Answer::Unknown(blind), _) | (_, Some(Answer::Unknown(blind))) => Leases::Fail(blind),
        _ => Leases::Fail(Blind::NoLeases),
    })
}

/// A file without a name, once to write and once to read. The name it has for a moment is ours alone.
fn scratch(directory: &Directory) -> Result<(File, File), FileError> {
    let (name, writer) = make_scratch(directory)?;
    let opened = directory.open_file(&name);
    let id = FileId::of(&directory.metadata(&name, &writer)?);
    directory.remove(&name, id)?;
    Ok((writer, opened?))
}

fn make_scratch(directory: &Directory) -> Result<(OsString, File), FileError> {
    let mut attempt = 0_u32;
    loop {
        // A name that is taken was left by a crash, or another thread calibrates too: take the next.
        let name = OsString::from(format!("{RESERVED_PREFIX}-lease-{}-{attempt}", std::process::id()));
        match directory.create(&name) {
            Ok(file) => return Ok((name, file)),
            Err(error) if error.is_taken() && attempt < PATIENCE => attempt += 1,
            Err(error) => return Err(error),
        }
    }
}

/// Asks the kernel for a lease on `file`, and gives it back.
pub fn probe_lease(file: &File, leases: Leases) -> Answer {
    if let Leases::Fail(blind) = leases {
        return Answer::Unknown(blind);
    }
    match rustix::fs::fcntl_getfl(file) {
        Ok(flags) if flags.intersects(OFlags::WRONLY | OFlags::RDWR) => {
            return Answer::Unknown(Blind::OwnWriter);
        }
        Ok(_) => {}
        Err(errno) => return Answer::Unknown(Blind::Refused(errno)),
    }
    match ask_read_lease(file) {
        LeaseReply::Granted => Answer::Unheld,
        LeaseReply::Refused => Answer::Held,
        LeaseReply::Failed(Errno::ACCESS) => Answer::Unknown(Blind::NotOurs),
        LeaseReply::Failed(errno) => Answer::Unknown(Blind::Refused(errno)),
    }
}

/// Who, of all that may mount a volume, is visible to us in `/proc`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Visibility {
    /// The volume is private to the pod, and the pod shares one PID namespace with us.
    Everyone,
    /// Others may have the file open without being seen.
    Some,
}

/// Looks through the descriptors of all processes.
pub fn probe_processes(file: &File, visibility: Visibility) -> Answer {
    match processes::holders(file) {
        Ok(holders) => answer_of(&holders, visibility),
        Err(_) => Answer::Unknown(Blind::NoProc),
    }
}

fn answer_of(holders: &Holders, visibility: Visibility) -> Answer {
    if !holders.writing.is_empty() {
        Answer::Held
    } else if visibility == Visibility::Some {
        Answer::Unknown(Blind::SharedVolume)
    } else if !holders.unreadable.is_empty() {
        Answer::Unknown(Blind::Unreadable(holders.unreadable.len()))
    } else if holders.incomplete {
        Answer::Unknown(Blind::Incomplete)
    } else {
        Answer::Unheld
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, OpenOptions};

    use super::*;
    use crate::rotate::processes::tests::Python;

    const HOLD: &str =
        "import sys; f = open(sys.argv[1], 'ab'); print('ready', flush=True); sys.stdin.read()";

    fn scene() -> (tempfile::TempDir, String, File) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        fs::write(&path, "hello").unwrap();
        let file = File::open(&path).unwrap();
        (directory, path.to_str().unwrap().to_owned(), file)
    }

    /// Children that other tests start share the descriptors of this process until they run their program.
    fn patiently(probe: impl Fn() -> Answer) -> Answer {
        let mut answer = probe();
        for _ in 0..2_000 {
            if answer != Answer::Held {
                break;
            }
            std::thread::sleep(PAUSE);
            answer = probe();
        }
        answer
    }

    #[test]
    fn leases_work_on_the_volume_of_these_tests_and_leave_no_file_behind() {
        let temporary = tempfile::tempdir().unwrap();
        let directory = Directory::open(temporary.path()).unwrap();
        assert_eq!(calibrate(&directory).unwrap(), Leases::Work);
        assert!(directory.names().unwrap().is_empty());
    }

    #[test]
    fn a_scratch_file_left_by_a_crash_does_not_matter() {
        let temporary = tempfile::tempdir().unwrap();
        let directory = Directory::open(temporary.path()).unwrap();
        let (left, _) = make_scratch(&directory).unwrap();
        assert_eq!(calibrate(&directory).unwrap(), Leases::Work);
        assert_eq!(directory.names().unwrap(), [left]);
    }

    #[test]
    fn where_no_file_can_be_made_leases_are_not_judged() {
        let temporary = tempfile::tempdir().unwrap();
        let directory = Directory::open(temporary.path()).unwrap();
        drop(temporary);
        assert!(calibrate(&directory).unwrap_err().is_absent());
    }

    #[test]
    fn a_lease_tells_a_writer_in_another_process() {
        let (_directory, path, file) = scene();
        let writer = Python::start(HOLD, &[&path]);
        assert_eq!(probe_lease(&file, Leases::Work), Answer::Held);
        drop(writer);
        assert_eq!(patiently(|| probe_lease(&file, Leases::Work)), Answer::Unheld);
    }

    #[test]
    fn a_descriptor_that_writes_is_not_used_to_probe() {
        let (_directory, path, _file) = scene();
        let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
        assert_eq!(probe_lease(&file, Leases::Work), Answer::Unknown(Blind::OwnWriter));
    }

    #[test]
    fn where_leases_fail_nothing_is_claimed() {
        let (_directory, path, file) = scene();
        let _writer = Python::start(HOLD, &[&path]);
        let leases = Leases::Fail(Blind::NoLeases);
        assert_eq!(probe_lease(&file, leases), Answer::Unknown(Blind::NoLeases));
    }

    #[test]
    fn a_lease_on_what_has_none_is_unknown() {
        let (reader, _writer) = std::io::pipe().unwrap();
        let pipe = File::from(std::os::fd::OwnedFd::from(reader));
        assert_eq!(probe_lease(&pipe, Leases::Work), Answer::Unknown(Blind::Refused(Errno::INVAL)));
    }

    #[test]
    fn the_scan_finds_a_writer_and_claims_nothing_about_strangers() {
        let (_directory, path, file) = scene();
        let writer = Python::start(HOLD, &[&path]);
        assert_eq!(probe_processes(&file, Visibility::Some), Answer::Held);
        drop(writer);
        assert_eq!(
            patiently(|| probe_processes(&file, Visibility::Some)),
            Answer::Unknown(Blind::SharedVolume)
        );
    }

    #[test]
    fn the_scan_claims_unheld_only_if_it_saw_everybody() {
        let seen = Holders::default();
        assert_eq!(answer_of(&seen, Visibility::Everyone), Answer::Unheld);
        assert_eq!(answer_of(&seen, Visibility::Some), Answer::Unknown(Blind::SharedVolume));
        let some = Holders { unreadable: vec![7, 8], ..Holders::default() };
        assert_eq!(answer_of(&some, Visibility::Everyone), Answer::Unknown(Blind::Unreadable(2)));
        let hidden = Holders { incomplete: true, ..Holders::default() };
        assert_eq!(answer_of(&hidden, Visibility::Everyone), Answer::Unknown(Blind::Incomplete));
        let held = Holders { writing: vec![9], unreadable: vec![7], incomplete: true };
        assert_eq!(answer_of(&held, Visibility::Some), Answer::Held);
    }
}
