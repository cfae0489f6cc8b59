//! Files by name inside one opened directory, and nowhere else.
//!
//! In: a directory to trust, then names of single files. Out: descriptors, facts, renames. Always: no symbolic
//! link is followed, no name leaves the directory, no call replaces a file, and only regular files with one
//! name are opened. So an app that may write into its log directory cannot point us at another file.

use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, Dir, Mode, OFlags, RenameFlags, ResolveFlags};
use rustix::io::Errno;

use crate::files::{FileError, FileId, Unfit, errno_of, unfit};

/// How often an `openat2` is repeated that a rename elsewhere in the tree disturbed (`EAGAIN`, openat2(2)).
const RACED_OPENS: usize = 16;

/// Mode of a file nobody else may see yet.
const PRIVATE: Mode = Mode::RUSR.union(Mode::WUSR);

/// An opened directory.
#[derive(Debug)]
pub struct Directory {
    fd: OwnedFd,
    path: PathBuf,
}

impl Directory {
    /// Opens the directory at `path`, which is trusted: a mount point, or what the configuration spells out.
    ///
    /// # Errors
    ///
    /// There is no such directory, or it may not be read.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        let fd = rustix::fs::open(path, directory_flags(), Mode::empty())
            .map_err(|errno| io("open directory", path, errno))?;
        Ok(Directory { fd, path: path.to_owned() })
    }

    /// Opens the directory at `relative` below this one. No component may be a symbolic link or `..`.
    ///
    /// # Errors
    ///
    /// [`FileError::Unfit`] where the path leaves this directory or passes a link; else what the system said.
    pub fn open_beneath(&self, relative: &Path) -> Result<Self, FileError> {
        let path = self.path.join(relative);
        let opened = match open_resolving(self.fd.as_fd(), relative) {
            // Kernels before 5.6 do not have the call, old seccomp profiles forbid it.
            Err(Errno::NOSYS | Errno::PERM) => open_walking(self.fd.as_fd(), relative),
            other => other,
        };
        let fd = opened.map_err(|errno| match errno {
            Errno::LOOP => FileError::Unfit { path: path.clone(), unfit: Unfit::SymbolicLink },
            Errno::XDEV => FileError::Unfit { path: path.clone(), unfit: Unfit::Escapes },
            errno => io("open directory", &path, errno),
        })?;
        Ok(Directory { fd, path })
    }

    /// Whether this directory still is the one at `path`.
    pub fn is_at(&self, path: &Path) -> bool {
        let here = rustix::fs::fstat(&self.fd).map(|stat| (stat.st_dev, stat.st_ino));
        let there = rustix::fs::stat(path).map(|stat| (stat.st_dev, stat.st_ino));
        here.is_ok() && here.ok() == there.ok()
    }

    /// The same directory, once more.
    ///
    /// # Errors
    ///
    /// There are no descriptors left.
    pub fn again(&self) -> Result<Self, FileError> {
        let fd = self.fd.try_clone().map_err(|error| io("open directory", &self.path, errno_of(&error)))?;
        Ok(Directory { fd, path: self.path.clone() })
    }

    /// Opens the directory called `name` in this one, after making it with `mode` if it is missing.
    ///
    /// # Errors
    ///
    /// As [`Directory::open_beneath`], or it could not be made.
    pub fn open_or_make(&self, name: &OsStr, mode: u32) -> Result<Self, FileError> {
        self.check_name(name)?;
        match rustix::fs::mkdirat(&self.fd, name, Mode::from_raw_mode(mode)) {
            Ok(()) => self.sync()?,
            Err(Errno::EXIST) => {}
            Err(errno) => return Err(self.io("make directory", name, errno)),
        }
        self.open_beneath(Path::new(name))
    }

    /// The path this directory was opened at, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What stands under `name`, without following it; `None` if nothing does.
    ///
    /// # Errors
    ///
    /// The system does not let us look.
    pub fn look(&self, name: &OsStr) -> Result<Option<Metadata>, FileError> {
        self.check_name(name)?;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::openat(&self.fd, name, flags, Mode::empty()) {
            Ok(fd) => self.metadata(name, &File::from(fd)).map(Some),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(self.io("look at", name, errno)),
        }
    }

    /// Which file stands under `name`, if any.
    ///
    /// # Errors
    ///
    /// As [`Directory::look`].
    pub fn id(&self, name: &OsStr) -> Result<Option<FileId>, FileError> {
        Ok(self.look(name)?.as_ref().map(FileId::of))
    }

    /// Opens the regular file `name` for reading.
    ///
    /// # Errors
    ///
    /// [`FileError::Unfit`] for anything else than a regular file with one name; else what the system said.
    pub fn open_file(&self, name: &OsStr) -> Result<File, FileError> {
        // Looking first keeps us from opening a FIFO or a device, which others would notice; looking again at
        // what was opened makes it certain.
        let Some(before) = self.look(name)? else { return Err(self.io("open", name, Errno::NOENT)) };
        self.check_fit(name, &before)?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&self.fd, name, flags, Mode::empty())
            .map_err(|errno| self.io("open", name, errno))?;
        let file = File::from(fd);
        self.check_fit(name, &self.metadata(name, &file)?)?;
        Ok(file)
    }

    /// Opens the regular file `name`, written by us, for reading and writing.
    ///
    /// # Errors
    ///
    /// As [`Directory::open_file`].
    pub fn open_own(&self, name: &OsStr) -> Result<File, FileError> {
        self.check_name(name)?;
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&self.fd, name, flags, Mode::empty())
            .map_err(|errno| self.io("open", name, errno))?;
        let file = File::from(fd);
        self.check_fit(name, &self.metadata(name, &file)?)?;
        Ok(file)
    }

    /// Makes the new file `name`, readable and writable for its owner only.
    ///
    /// # Errors
    ///
    /// [`FileError::is_taken`] if something has that name already; else what the system said.
    pub fn create(&self, name: &OsStr) -> Result<File, FileError> {
        self.check_name(name)?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(&self.fd, name, flags, PRIVATE)
            .map(File::from)
            .map_err(|errno| self.io("create", name, errno))
    }

    /// Removes the name `name` if it still stands for `id`; `false` if it does not.
    ///
    /// Looking and removing are two calls. What may come between is an app that moves a file to the name of one
    /// of our archives, which no app does.
    ///
    /// # Errors
    ///
    /// What the system said.
    pub fn remove(&self, name: &OsStr, id: FileId) -> Result<bool, FileError> {
        if self.id(name)? != Some(id) {
            return Ok(false);
        }
        match rustix::fs::unlinkat(&self.fd, name, AtFlags::empty()) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(self.io("remove", name, errno)),
        }
    }

    /// Gives the file `from` the name `to`, which must be free.
    ///
    /// # Errors
    ///
    /// [`FileError::is_taken`] if `to` is taken; else what the system said.
    pub fn rename_to_free(&self, from: &OsStr, to: &OsStr) -> Result<(), FileError> {
        self.check_name(from)?;
        self.check_name(to)?;
        match rustix::fs::renameat_with(&self.fd, from, &self.fd, to, RenameFlags::NOREPLACE) {
            // This file system knows no flags. A second name is refused as well if it is taken.
            Err(Errno::INVAL | Errno::NOSYS) => {
                rustix::fs::linkat(&self.fd, from, &self.fd, to, AtFlags::empty())
                    .and_then(|()| rustix::fs::unlinkat(&self.fd, from, AtFlags::empty()))
            }
            other => other,
        }
        .map_err(|errno| self.io("rename a file to", to, errno))
    }

    /// Makes names that were added, changed or removed survive a power cut. fsync(2).
    ///
    /// # Errors
    ///
    /// What the system said; a file system that cannot sync a directory (`EINVAL`) is none.
    pub fn sync(&self) -> Result<(), FileError> {
        match rustix::fs::fsync(&self.fd) {
            Ok(()) | Err(Errno::INVAL) => Ok(()),
            Err(errno) => Err(io("sync directory", &self.path, errno)),
        }
    }

    /// All names in this directory, unordered.
    ///
    /// # Errors
    ///
    /// What the system said.
    pub fn names(&self) -> Result<Vec<OsString>, FileError> {
        let failed = |errno| io("list directory", &self.path, errno);
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.fd).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(OsStr::from_bytes(name).to_owned());
            }
        }
        Ok(names)
    }

    /// An error about the file `name` of this directory.
    pub fn io(&self, action: &'static str, name: &OsStr, errno: Errno) -> FileError {
        io(action, &self.path.join(name), errno)
    }

    pub(crate) fn metadata(&self, name: &OsStr, file: &File) -> Result<Metadata, FileError> {
        file.metadata().map_err(|error| self.io("look at", name, errno_of(&error)))
    }

    fn check_name(&self, name: &OsStr) -> Result<(), FileError> {
        let mut parts = Path::new(name).components();
        match (parts.next(), parts.next()) {
            (Some(Component::Normal(part)), None) if part == name => Ok(()),
            _ => Err(FileError::Unfit { path: self.path.join(name), unfit: Unfit::Escapes }),
        }
    }

    fn check_fit(&self, name: &OsStr, metadata: &Metadata) -> Result<(), FileError> {
        match unfit(metadata) {
            Some(unfit) => Err(FileError::Unfit { path: self.path.join(name), unfit }),
            None => Ok(()),
        }
    }
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn directory_flags() -> OFlags {
    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC
}

fn open_resolving(beneath: BorrowedFd<'_>, relative: &Path) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_SYMLINKS;
    let open = || rustix::fs::openat2(beneath, relative, directory_flags(), Mode::empty(), resolve);
    (1..RACED_OPENS)
        .find_map(|_| Some(open()).filter(|result| result.as_ref().err() != Some(&Errno::AGAIN)))
        .unwrap_or_else(open)
}

/// Opens component by component, so that a link in the middle is refused as well as one at the end.
fn open_walking(beneath: BorrowedFd<'_>, relative: &Path) -> Result<OwnedFd, Errno> {
    let enter = |at: BorrowedFd<'_>, name: &OsStr| {
        rustix::fs::openat(at, name, directory_flags() | OFlags::NOFOLLOW, Mode::empty())
            // A link is no directory, which the kernel says first; tell the two apart for the message.
            .map_err(|errno| if errno == Errno::NOTDIR && is_link(at, name) { Errno::LOOP } else { errno })
    };
    let mut reached = enter(beneath, OsStr::new("."))?;
    for component in relative.components() {
        match component {
            Component::CurDir => {}
            Component::Normal(name) => reached = enter(reached.as_fd(), name)?,
            _ => return Err(Errno::XDEV),
        }
    }
    Ok(reached)
}

fn is_link(at: BorrowedFd<'_>, name: &OsStr) -> bool {
    rustix::fs::readlinkat(at, name, Vec::new()).is_ok()
}

fn io(action: &'static str, path: &Path, errno: Errno) -> FileError {
    FileError::Io { action, path: path.to_owned(), errno }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn temporary() -> (tempfile::TempDir, Directory) {
        let temporary = tempfile::tempdir().unwrap();
        let directory = Directory::open(temporary.path()).unwrap();
        (temporary, directory)
    }

    fn name(text: &str) -> &OsStr {
        OsStr::new(text)
    }

    fn refused<T: std::fmt::Debug>(result: Result<T, FileError>) -> Unfit {
        match result.unwrap_err() {
            FileError::Unfit { unfit, .. } => unfit,
            other => panic!("{other}"),
        }
    }

    #[test]
    fn only_regular_files_with_one_name_are_opened() {
        let (temporary, directory) = temporary();
        let path = |name: &str| temporary.path().join(name);
        fs::write(path("log"), "x").unwrap();
        assert!(directory.open_file(name("log")).is_ok());

        symlink("log", path("link")).unwrap();
        fs::create_dir(path("folder")).unwrap();
        rustix::fs::mkfifoat(&directory, "fifo", Mode::RUSR | Mode::WUSR).unwrap();
        fs::hard_link(path("log"), path("second")).unwrap();
        assert_eq!(refused(directory.open_file(name("link"))), Unfit::SymbolicLink);
        assert_eq!(refused(directory.open_file(name("folder"))), Unfit::Directory);
        assert_eq!(refused(directory.open_file(name("fifo"))), Unfit::Special);
        assert_eq!(refused(directory.open_file(name("log"))), Unfit::HardLinked);
        assert!(directory.open_file(name("absent")).unwrap_err().is_absent());
    }

    #[test]
    fn a_name_that_is_a_path_is_refused() {
        let (_temporary, directory) = temporary();
        for bad in ["..", ".", "", "a/b", "/etc/passwd", "a/", "../a"] {
            assert_eq!(refused(directory.look(name(bad))), Unfit::Escapes, "{bad}");
            assert_eq!(refused(directory.create(name(bad))), Unfit::Escapes, "{bad}");
            assert_eq!(refused(directory.open_own(name(bad))), Unfit::Escapes, "{bad}");
            assert_eq!(refused(directory.open_or_make(name(bad), 0o700)), Unfit::Escapes, "{bad}");
            assert_eq!(refused(directory.rename_to_free(name("a"), name(bad))), Unfit::Escapes, "{bad}");
        }
    }

    fn check_beneath(open: impl Fn(&Directory, &Path) -> Result<OwnedFd, Errno>) {
        let (temporary, directory) = temporary();
        fs::create_dir_all(temporary.path().join("a/b")).unwrap();
        symlink("a", temporary.path().join("link")).unwrap();
        symlink("/etc", temporary.path().join("out")).unwrap();
        fs::write(temporary.path().join("file"), "").unwrap();
        assert!(open(&directory, Path::new("a/b")).is_ok());
        assert!(open(&directory, Path::new(".")).is_ok());
        assert_eq!(open(&directory, Path::new("link/b")).unwrap_err(), Errno::LOOP);
        assert_eq!(open(&directory, Path::new("out")).unwrap_err(), Errno::LOOP);
        assert_eq!(open(&directory, Path::new("../x")).unwrap_err(), Errno::XDEV);
        assert_eq!(open(&directory, Path::new("/etc")).unwrap_err(), Errno::XDEV);
        assert_eq!(open(&directory, Path::new("file")).unwrap_err(), Errno::NOTDIR);
        assert_eq!(open(&directory, Path::new("none")).unwrap_err(), Errno::NOENT);
    }

    #[test]
    fn no_path_leaves_its_directory_where_the_kernel_resolves_it() {
        check_beneath(|directory, path| open_resolving(directory.as_fd(), path));
    }

    #[test]
    fn no_path_leaves_its_directory_where_we_walk_it() {
        check_beneath(|directory, path| open_walking(directory.as_fd(), path));
    }

    #[test]
    fn the_message_says_what_is_wrong_with_a_path() {
        let (temporary, directory) = temporary();
        symlink("/etc", temporary.path().join("out")).unwrap();
        let message = directory.open_beneath(Path::new("out")).unwrap_err().to_string();
        assert_eq!(
            message,
            format!("{}/out: is a symbolic link, which is never followed", temporary.path().display())
        );
    }

    #[test]
    fn a_directory_is_made_once_and_opened_again() {
        let (temporary, directory) = temporary();
        directory.open_or_make(name("archive"), 0o750).unwrap().create(name("x")).unwrap();
        let again = directory.open_or_make(name("archive"), 0o750).unwrap();
        assert_eq!(again.names().unwrap(), ["x"]);
        symlink("archive", temporary.path().join("link")).unwrap();
        assert_eq!(refused(directory.open_or_make(name("link"), 0o750)), Unfit::SymbolicLink);
    }

    #[test]
    fn a_taken_name_is_never_replaced() {
        let (temporary, directory) = temporary();
        fs::write(temporary.path().join("a"), "a").unwrap();
        fs::write(temporary.path().join("b"), "b").unwrap();
        assert!(directory.create(name("a")).unwrap_err().is_taken());
        assert!(directory.rename_to_free(name("a"), name("b")).unwrap_err().is_taken());
        directory.rename_to_free(name("a"), name("c")).unwrap();
        assert_eq!(fs::read_to_string(temporary.path().join("b")).unwrap(), "b");
        assert_eq!(fs::read_to_string(temporary.path().join("c")).unwrap(), "a");
    }

    #[test]
    fn a_name_that_stands_for_another_file_is_not_removed() {
        let (temporary, directory) = temporary();
        fs::write(temporary.path().join("a"), "").unwrap();
        fs::write(temporary.path().join("b"), "").unwrap();
        let a = directory.id(name("a")).unwrap().unwrap();
        assert!(!directory.remove(name("b"), a).unwrap());
        assert!(directory.remove(name("a"), a).unwrap());
        assert!(!directory.remove(name("a"), a).unwrap());
        assert_eq!(directory.names().unwrap(), ["b"]);
    }
}
