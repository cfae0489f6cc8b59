//! One inotify instance: one-shot watches on files, lasting ones on directories (inotify(7)).

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;

/// What happened.
#[derive(Debug, Default)]
pub struct News<T> {
    /// Files that were written; their watches are gone.
    pub written: Vec<T>,
    /// Something came or went in a watched directory, or events were lost: look at everything again.
    pub look_around: bool,
}

/// The instance. `T` names a file.
#[derive(Debug)]
pub struct Inotify<T> {
    fd: OwnedFd,
    files: HashMap<i32, T>,
    directories: HashMap<i32, ()>,
}

impl<T> Inotify<T> {
    /// Creates it.
    pub fn new() -> io::Result<Self> {
        let fd = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        Ok(Inotify { fd, files: HashMap::new(), directories: HashMap::new() })
    }

    /// To wait for readability.
    pub fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    /// Asks to be told once when `file` is next written, or closed by who may write it, whatever its name is by then. Look at its size again
    /// afterwards: it may have grown just before.
    pub fn arm(&mut self, file: &File, name: T) -> io::Result<()> {
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let flags = WatchFlags::MODIFY | WatchFlags::CLOSE_WRITE | WatchFlags::ONESHOT;
        let watch = inotify::add_watch(&self.fd, path, flags)?;
        self.files.insert(watch, name);
        Ok(())
    }

    /// Asks to be told when names come and go in a directory. Writes to its files are not watched.
    pub fn watch_directory(&mut self, path: &Path) -> io::Result<()> {
        let flags = WatchFlags::CREATE
            | WatchFlags::MOVED_TO
            | WatchFlags::MOVED_FROM
            | WatchFlags::DELETE
            | WatchFlags::DELETE_SELF
            | WatchFlags::ONLYDIR;
        let watch = inotify::add_watch(&self.fd, path, flags)?;
        self.directories.insert(watch, ());
        Ok(())
    }

    /// Reads what happened, without waiting.
    pub fn read(&mut self) -> News<T> {
        let mut news = News { written: Vec::new(), look_around: false };
        let mut buffer = [MaybeUninit::<u8>::uninit(); 4096];
        let mut reader = inotify::Reader::new(&self.fd, &mut buffer);
        loop {
            match reader.next() {
                Ok(event) => {
                    let (watch, flags) = (event.wd(), event.events());
                    if flags.contains(ReadFlags::QUEUE_OVERFLOW) {
                        news.look_around = true;
                        news.written.extend(self.files.drain().map(|(_, name)| name));
                    } else if flags.contains(ReadFlags::IGNORED) {
                        self.directories.remove(&watch);
                        self.files.remove(&watch);
                    } else if let Some(name) = self.files.remove(&watch) {
                        news.written.push(name);
                    } else if self.directories.contains_key(&watch) {
                        news.look_around = true;
                    }
                }
                Err(Errno::INTR) => {}
                Err(_) => return news,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn news_after<T>(inotify: &mut Inotify<T>, what: impl FnOnce()) -> News<T> {
        what();
        inotify.read()
    }

    #[test]
    fn a_file_is_told_once_whatever_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let (path, moved) = (dir.path().join("a"), dir.path().join("b"));
        std::fs::write(&path, "").unwrap();
        let mut writer = File::options().append(true).open(&path).unwrap();
        let reader = File::open(&path).unwrap();
        std::fs::rename(&path, &moved).unwrap();
        let mut inotify = Inotify::new().unwrap();
        inotify.arm(&reader, "it").unwrap();
        assert_eq!(news_after(&mut inotify, || ()).written, Vec::<&str>::new());
        assert_eq!(news_after(&mut inotify, || writer.write_all(b"x").unwrap()).written, ["it"]);
        assert_eq!(news_after(&mut inotify, || writer.write_all(b"x").unwrap()).written, Vec::<&str>::new());
        inotify.arm(&reader, "again").unwrap();
        assert_eq!(news_after(&mut inotify, || writer.write_all(b"x").unwrap()).written, ["again"]);
    }

    #[test]
    fn a_directory_tells_of_names_and_not_of_writes() {
        let dir = tempfile::tempdir().unwrap();
        let mut inotify = Inotify::<()>::new().unwrap();
        inotify.watch_directory(dir.path()).unwrap();
        assert!(news_after(&mut inotify, || std::fs::write(dir.path().join("a"), "").unwrap()).look_around);
        let mut writer = File::options().append(true).open(dir.path().join("a")).unwrap();
        assert!(!news_after(&mut inotify, || writer.write_all(b"x").unwrap()).look_around);
    }
}
