//! Gives a new file the owner, group, mode, access control list and user attributes of another.
//!
//! In: two open files and what the policy sets by hand. Out: the list of what could not be carried over, which
//! is counted and never keeps a rotation from happening. Always: no step leaves the new file open to more
//! people than it ends with, if it began as `0600`.

use std::ffi::CString;
use std::fs::File;
use std::os::unix::fs::MetadataExt;

use rustix::buffer::spare_capacity;
use rustix::fs::{Gid, Mode, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

/// Where the kernel keeps a file's access control list. acl(5), xattr(7).
const ACCESS_LIST: &str = "system.posix_acl_access";

/// Most bytes that the names of a file's attributes, or the value of one, can have: XATTR_LIST_MAX, XATTR_SIZE_MAX.
const LARGEST_ATTRIBUTE_BYTES: usize = 65_536;

/// Permission bits, set-user-ID and the like.
const MODE_BITS: u32 = 0o7777;

/// What the policy says about a new file; the rest is copied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Permission bits. Given: no access control list is copied, because it would change what they mean.
    pub mode: Option<u32>,
    /// User ID of the owner.
    pub owner: Option<u32>,
    /// Group ID.
    pub group: Option<u32>,
}

/// Something that could not be carried over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotCopied {
    /// What: `owner`, `mode`, `times`, or the name of an extended attribute.
    pub what: String,
    /// What the system said.
    pub errno: Errno,
}

/// Gives `to` what `wanted` says and for the rest what `from` has.
pub fn copy(from: &File, to: &File, wanted: Wanted) -> Vec<NotCopied> {
    let mut failures = Failures::default();
    match (from.metadata(), to.metadata()) {
        (Ok(model), Ok(new)) => {
            let owner = wanted.owner.unwrap_or(model.uid());
            let group = wanted.group.unwrap_or(model.gid());
            failures.note("owner", change_owner(to, (new.uid(), new.gid()), (owner, group)));
            // A list inherited from the directory would widen the mode; the model's own is copied below.
            failures.note(ACCESS_LIST, remove_access_list(to));
            let mode = wanted.mode.unwrap_or(model.mode()) & MODE_BITS;
            failures.note("mode", rustix::fs::fchmod(to, Mode::from_raw_mode(mode)));
        }
        (Err(error), _) | (_, Err(error)) => {
            failures.note("mode", Err(Errno::from_io_error(&error).unwrap_or(Errno::IO)));
        }
    }
    if wanted.mode.is_none() {
        failures.note(ACCESS_LIST, copy_attribute(from, to, ACCESS_LIST));
    }
    copy_user_attributes(from, to, &mut failures);
    failures.0
}

/// Gives `to` the time of last modification that `from` has.
pub fn copy_modification_time(from: &File, to: &File) -> Vec<NotCopied> {
    let mut failures = Failures::default();
    let copied = rustix::fs::fstat(from).and_then(|stat| {
        let modified = Timespec { tv_sec: stat.st_mtime as _, tv_nsec: stat.st_mtime_nsec as _ };
        rustix::fs::futimens(to, &Timestamps { last_access: modified, last_modification: modified })
    });
    failures.note("times", copied);
    failures.0
}

#[derive(Default)]
struct Failures(Vec<NotCopied>);

impl Failures {
    fn note(&mut self, what: &str, result: Result<(), Errno>) {
        if let Err(errno) = result {
            self.0.push(NotCopied { what: what.to_owned(), errno });
        }
    }
}

/// Changes only what differs: an ordinary user may not even set the owner that a file already has.
fn change_owner(to: &File, (owner, group): (u32, u32), wanted: (u32, u32)) -> Result<(), Errno> {
    let owner = (wanted.0 != owner).then(|| Uid::from_raw(wanted.0));
    let group = (wanted.1 != group).then(|| Gid::from_raw(wanted.1));
    // Two calls, so that a group we are in is set even where the owner is out of reach.
    let changed_group = if group.is_some() { rustix::fs::fchown(to, None, group) } else { Ok(()) };
    let changed_owner = if owner.is_some() { rustix::fs::fchown(to, owner, None) } else { Ok(()) };
    changed_owner.and(changed_group)
}

fn remove_access_list(to: &File) -> Result<(), Errno> {
    match rustix::fs::fremovexattr(to, ACCESS_LIST) {
        Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
        other => other,
    }
}

fn copy_user_attributes(from: &File, to: &File, failures: &mut Failures) {
    let mut names = Vec::with_capacity(LARGEST_ATTRIBUTE_BYTES);
    match rustix::fs::flistxattr(from, spare_capacity(&mut names)) {
        Ok(_) => {}
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => return,
        Err(errno) => return failures.note("user attributes", Err(errno)),
    }
    for name in names.split(|byte| *byte == 0).filter(|name| name.starts_with(b"user.")) {
        // The list is split at NUL, so no name contains one.
        let Ok(name) = CString::new(name) else { continue };
        failures.note(&name.to_string_lossy(), copy_attribute(from, to, name.as_c_str()));
    }
}

/// Copies one extended attribute; one that the model does not have is no failure.
fn copy_attribute(from: &File, to: &File, name: impl rustix::path::Arg + Copy) -> Result<(), Errno> {
    let mut value = Vec::with_capacity(LARGEST_ATTRIBUTE_BYTES);
    match rustix::fs::fgetxattr(from, name, spare_capacity(&mut value)) {
        Ok(_) => rustix::fs::fsetxattr(to, name, &value, XattrFlags::empty()),
        Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
        Err(errno) => Err(errno),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{OpenOptions, Permissions};
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use super::*;

    fn file(path: &Path, mode: u32) -> File {
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(path).unwrap();
        file.set_permissions(Permissions::from_mode(mode)).unwrap();
        file
    }

    fn two_files() -> (tempfile::TempDir, File, File) {
        let directory = tempfile::tempdir().unwrap();
        let from = file(&directory.path().join("from"), 0o640);
        let to = file(&directory.path().join("to"), 0o600);
        (directory, from, to)
    }

    fn attribute(file: &File, name: &str) -> Result<Vec<u8>, Errno> {
        let mut value = Vec::with_capacity(1024);
        rustix::fs::fgetxattr(file, name, spare_capacity(&mut value))?;
        Ok(value)
    }

    /// An access control list as xattr stores it (acl(5), linux/posix_acl_xattr.h): version 2, then entries of
    /// tag, permissions and ID.
    fn access_list(entries: &[(u16, u16, u32)]) -> Vec<u8> {
        let mut list = 2_u32.to_le_bytes().to_vec();
        for (tag, permissions, id) in entries {
            list.extend(tag.to_le_bytes());
            list.extend(permissions.to_le_bytes());
            list.extend(id.to_le_bytes());
        }
        list
    }

    /// owner rw, user 4242 rw, group r, mask rw, others nothing
    fn shared_list() -> Vec<u8> {
        let none = u32::MAX;
        access_list(&[(1, 6, none), (2, 6, 4242), (4, 4, none), (16, 6, none), (32, 0, none)])
    }

    /// Whether this file system has lists at all; without, there is nothing to copy and nothing to check.
    fn set_shared_list(file: &File) -> bool {
        match rustix::fs::fsetxattr(file, ACCESS_LIST, &shared_list(), XattrFlags::empty()) {
            Ok(()) => true,
            Err(Errno::OPNOTSUPP) => false,
            Err(errno) => panic!("{errno}"),
        }
    }

    #[test]
    fn mode_and_owner_follow_the_model() {
        let (_directory, from, to) = two_files();
        from.set_permissions(Permissions::from_mode(0o664)).unwrap();
        assert_eq!(copy(&from, &to, Wanted::default()), []);
        assert_eq!(to.metadata().unwrap().mode() & MODE_BITS, 0o664);
        assert_eq!(to.metadata().unwrap().uid(), from.metadata().unwrap().uid());
    }

    #[test]
    fn a_mode_of_the_policy_wins_over_the_model() {
        let (_directory, from, to) = two_files();
        assert_eq!(copy(&from, &to, Wanted { mode: Some(0o604), ..Wanted::default() }), []);
        assert_eq!(to.metadata().unwrap().mode() & MODE_BITS, 0o604);
    }

    #[test]
    fn a_foreign_owner_is_set_by_root_and_reported_by_others() {
        let (_directory, from, to) = two_files();
        let failures = copy(&from, &to, Wanted { owner: Some(4242), group: Some(4243), ..Wanted::default() });
        if rustix::process::geteuid().is_root() {
            assert_eq!(failures, []);
            assert_eq!((to.metadata().unwrap().uid(), to.metadata().unwrap().gid()), (4242, 4243));
        } else {
            assert_eq!(failures, [NotCopied { what: "owner".to_owned(), errno: Errno::PERM }]);
        }
        assert_eq!(to.metadata().unwrap().mode() & MODE_BITS, 0o640);
    }

    #[test]
    fn user_attributes_follow_the_model() {
        let (_directory, from, to) = two_files();
        for (name, value) in [("user.team", &b"shop"[..]), ("user.empty", b"")] {
            match rustix::fs::fsetxattr(&from, name, value, XattrFlags::empty()) {
                Ok(()) => {}
                Err(Errno::OPNOTSUPP) => return,
                Err(errno) => panic!("{errno}"),
            }
        }
        assert_eq!(copy(&from, &to, Wanted::default()), []);
        assert_eq!(attribute(&to, "user.team").unwrap(), b"shop");
        assert_eq!(attribute(&to, "user.empty").unwrap(), b"");
    }

    #[test]
    fn the_access_control_list_follows_the_model_unless_a_mode_is_set() {
        let (_directory, from, to) = two_files();
        if !set_shared_list(&from) {
            return;
        }
        assert_eq!(copy(&from, &to, Wanted::default()), []);
        assert_eq!(attribute(&to, ACCESS_LIST).unwrap(), shared_list());

        assert_eq!(copy(&from, &to, Wanted { mode: Some(0o640), ..Wanted::default() }), []);
        assert_eq!(attribute(&to, ACCESS_LIST), Err(Errno::NODATA));
        assert_eq!(to.metadata().unwrap().mode() & MODE_BITS, 0o640);
    }

    #[test]
    fn a_list_inherited_from_the_directory_goes_when_the_model_has_none() {
        let (_directory, from, to) = two_files();
        if !set_shared_list(&to) {
            return;
        }
        assert_eq!(copy(&from, &to, Wanted::default()), []);
        assert_eq!(attribute(&to, ACCESS_LIST), Err(Errno::NODATA));
        assert_eq!(to.metadata().unwrap().mode() & MODE_BITS, 0o640);
    }

    #[test]
    fn the_time_of_modification_follows_the_model() {
        let (_directory, from, to) = two_files();
        let old = std::time::UNIX_EPOCH + std::time::Duration::new(1_600_000_000, 5);
        from.set_modified(old).unwrap();
        assert_eq!(copy_modification_time(&from, &to), []);
        assert_eq!(to.metadata().unwrap().modified().unwrap(), old);
    }
}
