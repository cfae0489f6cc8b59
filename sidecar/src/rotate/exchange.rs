//! Puts a new file in a log's place, and the log's file under its archive name, in one step.
//!
//! In: two places (directory and name) and the open file that is live now. Out: which file stands where
//! afterwards, looked up, never assumed. Always: nothing is overwritten but the empty file we made ourselves,
//! the names after a crash at any instruction are one of the states below, and the log's path never disappears
//! where the file system can exchange two names.
//!
//! | state | live name | archive name | what the next start does |
//! |---|---|---|---|
//! | nothing done | old | – | [`prepare`] |
//! | prepared | old | new, empty | [`left_over`], then [`swap`] or [`discard`] |
//! | swapped | new | old | nothing more |
//! | half (only where names cannot be exchanged) | – | old | [`restore_live`] |
//!
//! Where `RENAME_EXCHANGE` is not to be had (NFS, some FUSE), the old file is renamed over the empty file that
//! holds its archive name free, and a new one is made at the live path, unless the app was quicker and made it.
//! A second link in place of the rename would keep the path from disappearing for those microseconds, but would
//! destroy a file that the app puts there between the link and the rename.

use std::ffi::OsStr;
use std::fs::{File, Metadata};

use rustix::fs::RenameFlags;
use rustix::io::Errno;
use thiserror::Error;

use super::attributes::{self, NotCopied, Wanted};
use crate::files::directory::Directory;
use crate::files::{FileError, FileId, unfit};

/// A name in a directory.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The directory.
    pub directory: &'a Directory,
    /// One name in it.
    pub name: &'a OsStr,
}

impl Place<'_> {
    /// What stands here, if anything; not followed.
    ///
    /// # Errors
    ///
    /// As [`Directory::look`].
    pub fn look(&self) -> Result<Option<Metadata>, FileError> {
        self.directory.look(self.name)
    }

    /// Which file stands here, if any.
    ///
    /// # Errors
    ///
    /// As [`Directory::look`].
    pub fn id(&self) -> Result<Option<FileId>, FileError> {
        self.directory.id(self.name)
    }

    fn io(&self, action: &'static str, errno: Errno) -> FileError {
        self.directory.io(action, self.name, errno)
    }
}

/// The two places of one rotation. They must be on one volume.
#[derive(Debug, Clone, Copy)]
pub struct Places<'a> {
    /// The log's path.
    pub live: Place<'a>,
    /// Where its file goes.
    pub archive: Place<'a>,
}

/// A new file, standing at the archive's name until it is swapped.
#[derive(Debug)]
pub struct Prepared {
    /// The new file.
    pub new: FileId,
    /// What it could not be given.
    pub not_copied: Vec<NotCopied>,
}

/// Which way the names were changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// One system call exchanged the names.
    Exchange,
    /// The old file was renamed, then a new one made.
    Rename,
}

/// What stood where when we looked after the swap.
#[derive(Debug)]
pub struct Swapped {
    /// The file at the live path. Not the new one, if the app replaced it by one of its own.
    pub live: Option<FileId>,
    /// The file under the archive name. Not the old one, if the app replaced it just before the swap.
    pub archive: Option<FileId>,
    /// How.
    pub method: Method,
    /// What the new file could not be given; empty after an exchange, because [`prepare`] said it.
    pub not_copied: Vec<NotCopied>,
    /// Set if the change may not survive a power cut. It has happened all the same.
    pub unsynced: Option<FileError>,
}

impl Swapped {
    /// Whether exactly `old` and `new` changed places.
    pub fn is_as_planned(&self, old: FileId, new: FileId) -> bool {
        (self.live, self.archive) == (Some(new), Some(old))
    }
}

/// What stood where when we looked after undoing a swap.
#[derive(Debug)]
pub struct Undone {
    /// The file at the live path.
    pub live: Option<FileId>,
    /// The file under the archive name.
    pub archive: Option<FileId>,
    /// Bytes that somebody wrote into the new file all the same; if there are any, swap once more.
    pub new_bytes: u64,
}

/// Why the two files did not change places.
#[derive(Debug, Error)]
pub enum ExchangeError {
    /// A file could not be looked at, made or renamed, or is none that may be rotated.
    #[error(transparent)]
    File(#[from] FileError),
    /// The names no longer stand for the files that were to change places; observe again.
    #[error("{path}: another file than expected stands here")]
    Displaced {
        /// The place.
        path: std::path::PathBuf,
    },
    /// The new file has been written to, so taking it away would lose lines.
    #[error("{path}: the new file has {bytes} bytes already")]
    InUse {
        /// The live path.
        path: std::path::PathBuf,
        /// Size of the new file.
        bytes: u64,
    },
}

/// Makes the new file at the archive's name, modelled on `live`, and syncs it.
///
/// No descriptor of the new file stays open, because one that can write would spoil the lease probe.
///
/// # Errors
///
/// [`FileError::is_taken`] if the archive's name is taken; else what the system said, and nothing is left behind.
pub fn prepare(places: Places<'_>, live: &File, wanted: Wanted) -> Result<Prepared, FileError> {
    let archive = places.archive;
    let (new, not_copied) = make_like(archive, live, wanted)?;
    archive.directory.sync()?;
    Ok(Prepared { new, not_copied })
}

/// The empty file that an interrupted rotation of `old` left at the archive's name. `old` itself, which may be
/// empty too, is none.
///
/// # Errors
///
/// The place cannot be looked at.
pub fn left_over(places: Places<'_>, old: FileId) -> Result<Option<FileId>, FileError> {
    let found = places.archive.look()?.filter(|metadata| unfit(metadata).is_none() && metadata.len() == 0);
    Ok(found.as_ref().map(FileId::of).filter(|id| *id != old))
}

/// Removes the new file `new` from the archive's name; `false` if it does not stand there, or is not empty.
///
/// # Errors
///
/// What the system said.
pub fn discard(places: Places<'_>, new: FileId) -> Result<bool, FileError> {
    let empty = places.archive.look()?.is_some_and(|metadata| metadata.len() == 0);
    Ok(empty && places.archive.directory.remove(places.archive.name, new)?)
}

/// Lets the new file `new`, prepared at the archive's name, and the live file change places.
///
/// # Errors
///
/// Nothing has been changed then, and the new file is removed again. A live path that is gone, or has become a
/// link or the like, is among them. One state is not undone: where names cannot be exchanged and the new file
/// could not be made, the live path is missing; [`restore_live`] tries again.
pub fn swap(places: Places<'_>, new: FileId, wanted: Wanted) -> Result<Swapped, ExchangeError> {
    let swapped = try_swap(places, new, wanted);
    if swapped.is_err() {
        // A new file that cannot be removed is found by `left_over`; the first error is the one to tell.
        if let Err(error) = discard(places, new) {
            tracing::warn!(%error, "the empty file of a failed rotation stays behind");
        }
    }
    swapped
}

fn try_swap(places: Places<'_>, new: FileId, wanted: Wanted) -> Result<Swapped, ExchangeError> {
    check_live(places.live)?;
    check_id(places.archive, new)?;
    match exchange_names(places) {
        Ok(()) => {
            let mut swapped = Swapped::look(places, Method::Exchange)?;
            swapped.unsynced = sync(places).err();
            Ok(swapped)
        }
        Err(Errno::INVAL | Errno::NOSYS) => rename_and_make(places, wanted),
        Err(errno) => Err(places.live.io("exchange with its archive", errno).into()),
    }
}

/// The way without exchange. The caller has checked that the archive's name stands for our own empty file.
fn rename_and_make(places: Places<'_>, wanted: Wanted) -> Result<Swapped, ExchangeError> {
    let Places { live, archive } = places;
    rustix::fs::renameat(live.directory, live.name, archive.directory, archive.name)
        .map_err(|errno| live.io("rename to its archive", errno))?;
    let not_copied = restore_live(places, wanted)?;
    let mut swapped = Swapped::look(places, Method::Rename)?;
    swapped.not_copied = not_copied;
    swapped.unsynced = sync(places).err();
    Ok(swapped)
}

/// Makes the live file again, modelled on the archive, if there is none: second half of a rotation without
/// exchange. Returns what it could not be given.
///
/// # Errors
///
/// What the system said; worth another try.
pub fn restore_live(places: Places<'_>, wanted: Wanted) -> Result<Vec<NotCopied>, FileError> {
    let model = places.archive.directory.open_file(places.archive.name)?;
    match make_like(places.live, &model, wanted) {
        Ok((_, not_copied)) => Ok(not_copied),
        // The app was quicker: its file is as good as ours.
        Err(error) if error.is_taken() => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Lets the files change places again. Right only while the new file is empty and nobody holds it, which the
/// caller has seen; looked at once more here, and reported afterwards.
///
/// # Errors
///
/// Nothing has been changed then. Where names cannot be exchanged this is refused (`EINVAL`): renaming the old
/// file back could destroy what somebody writes into the new one at that moment.
pub fn undo(places: Places<'_>, old: FileId, new: FileId) -> Result<Undone, ExchangeError> {
    check_id(places.archive, old)?;
    check_id(places.live, new)?;
    let bytes = size(places.live)?;
    if bytes > 0 {
        return Err(ExchangeError::InUse { path: path(places.live), bytes });
    }
    exchange_names(places).map_err(|errno| places.live.io("exchange with its archive", errno))?;
    sync(places)?;
    Ok(Undone { live: places.live.id()?, archive: places.archive.id()?, new_bytes: size(places.archive)? })
}

impl Swapped {
    fn look(places: Places<'_>, method: Method) -> Result<Self, FileError> {
        let (live, archive) = (places.live.id()?, places.archive.id()?);
        Ok(Swapped { live, archive, method, not_copied: Vec::new(), unsynced: None })
    }
}

/// Makes a new file like `model` and closes it.
fn make_like(place: Place<'_>, model: &File, wanted: Wanted) -> Result<(FileId, Vec<NotCopied>), FileError> {
    let file = place.directory.create(place.name)?;
    let not_copied = attributes::copy(model, &file, wanted);
    let id = FileId::of(&place.directory.metadata(place.name, &file)?);
    match rustix::fs::fsync(&file) {
        Ok(()) => Ok((id, not_copied)),
        Err(errno) => {
            place.directory.remove(place.name, id)?;
            Err(place.io("sync the new file", errno))
        }
    }
}

fn exchange_names(places: Places<'_>) -> Result<(), Errno> {
    let Places { live, archive } = places;
    rustix::fs::renameat_with(
        live.directory,
        live.name,
        archive.directory,
        archive.name,
        RenameFlags::EXCHANGE,
    )
}

fn check_live(live: Place<'_>) -> Result<(), FileError> {
    let Some(metadata) = live.look()? else { return Err(live.io("rotate", Errno::NOENT)) };
    match unfit(&metadata) {
        Some(unfit) => Err(FileError::Unfit { path: path(live), unfit }),
        None => Ok(()),
    }
}

fn check_id(place: Place<'_>, expected: FileId) -> Result<(), ExchangeError> {
    if place.id()? == Some(expected) { Ok(()) } else { Err(ExchangeError::Displaced { path: path(place) }) }
}

fn size(place: Place<'_>) -> Result<u64, FileError> {
    Ok(place.look()?.map_or(0, |metadata| metadata.len()))
}

fn sync(places: Places<'_>) -> Result<(), FileError> {
    places.archive.directory.sync()?;
    places.live.directory.sync()
}

fn path(place: Place<'_>) -> std::path::PathBuf {
    place.directory.path().join(place.name)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, OpenOptions, Permissions};
    use std::io::Write;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::files::Unfit;

    const LIVE: &str = "app.log";
    const ARCHIVE: &str = "app.log.20261121T074855Z.000001";

    struct Scene {
        temporary: tempfile::TempDir,
        logs: Directory,
        archives: Directory,
        old: FileId,
    }

    impl Scene {
        fn new() -> Self {
            let temporary = tempfile::tempdir().unwrap();
            let logs = Directory::open(temporary.path()).unwrap();
            let archives = logs.open_or_make(OsStr::new("archive"), 0o755).unwrap();
            fs::write(temporary.path().join(LIVE), "old\n").unwrap();
            let old = logs.id(OsStr::new(LIVE)).unwrap().unwrap();
            Scene { temporary, logs, archives, old }
        }

        fn live(&self) -> std::path::PathBuf {
            self.temporary.path().join(LIVE)
        }

        fn archive(&self) -> std::path::PathBuf {
            self.temporary.path().join("archive").join(ARCHIVE)
        }

        fn places(&self) -> Places<'_> {
            Places {
                live: Place { directory: &self.logs, name: OsStr::new(LIVE) },
                archive: Place { directory: &self.archives, name: OsStr::new(ARCHIVE) },
            }
        }

        fn open_live(&self) -> File {
            self.logs.open_file(OsStr::new(LIVE)).unwrap()
        }

        fn prepare(&self) -> FileId {
            prepare(self.places(), &self.open_live(), Wanted::default()).unwrap().new
        }

        fn texts(&self) -> (Option<String>, Option<String>) {
            (fs::read_to_string(self.live()).ok(), fs::read_to_string(self.archive()).ok())
        }
    }

    fn some(live: &str, archive: &str) -> (Option<String>, Option<String>) {
        (Some(live.to_owned()), Some(archive.to_owned()))
    }

    #[test]
    fn old_and_new_change_places_and_the_new_one_looks_like_the_old() {
        let scene = Scene::new();
        fs::set_permissions(scene.live(), Permissions::from_mode(0o664)).unwrap();
        let old = scene.old;
        let new = scene.prepare();
        let swapped = swap(scene.places(), new, Wanted::default()).unwrap();
        assert!(swapped.is_as_planned(old, new));
        assert_eq!(swapped.method, Method::Exchange);
        assert!(swapped.unsynced.is_none());
        assert_eq!(scene.texts(), some("", "old\n"));
        assert_eq!(fs::metadata(scene.live()).unwrap().mode() & 0o7777, 0o664);
    }

    #[test]
    fn a_taken_archive_name_is_left_alone() {
        let scene = Scene::new();
        fs::write(scene.archive(), "precious").unwrap();
        assert!(prepare(scene.places(), &scene.open_live(), Wanted::default()).unwrap_err().is_taken());
        assert_eq!(scene.texts(), some("old\n", "precious"));
        assert_eq!(left_over(scene.places(), scene.old).unwrap(), None);
    }

    #[test]
    fn a_rotation_interrupted_after_preparing_goes_on_or_is_taken_back() {
        let scene = Scene::new();
        let new = scene.prepare();
        assert_eq!(left_over(scene.places(), scene.old).unwrap(), Some(new));
        assert!(discard(scene.places(), new).unwrap());
        assert_eq!(left_over(scene.places(), scene.old).unwrap(), None);

        scene.prepare();
        let found = left_over(scene.places(), scene.old).unwrap().unwrap();
        swap(scene.places(), found, Wanted::default()).unwrap();
        assert_eq!(scene.texts(), some("", "old\n"));
        assert_eq!(left_over(scene.places(), scene.old).unwrap(), None);
    }

    #[test]
    fn an_empty_log_that_was_rotated_is_not_taken_for_a_left_over() {
        let scene = Scene::new();
        fs::write(scene.live(), "").unwrap();
        let new = scene.prepare();
        swap(scene.places(), new, Wanted::default()).unwrap();
        assert_eq!(left_over(scene.places(), scene.old).unwrap(), None);
    }

    #[test]
    fn a_file_that_was_written_to_is_not_discarded() {
        let scene = Scene::new();
        let new = scene.prepare();
        fs::write(scene.archive(), "late").unwrap();
        assert!(!discard(scene.places(), new).unwrap());
        assert_eq!(scene.texts(), some("old\n", "late"));
    }

    #[test]
    fn the_report_tells_when_the_app_replaced_its_file_just_before() {
        let scene = Scene::new();
        let old = scene.old;
        let new = scene.prepare();
        fs::rename(scene.live(), scene.temporary.path().join("app.log.1")).unwrap();
        fs::write(scene.live(), "its own\n").unwrap();
        let swapped = swap(scene.places(), new, Wanted::default()).unwrap();
        assert!(!swapped.is_as_planned(old, new));
        assert_eq!(swapped.live, Some(new));
        assert_ne!(swapped.archive, Some(old));
        assert_eq!(scene.texts(), some("", "its own\n"));
    }

    #[test]
    fn without_a_live_file_nothing_is_done_and_nothing_stays_behind() {
        let scene = Scene::new();
        let new = scene.prepare();
        fs::remove_file(scene.live()).unwrap();
        let Err(ExchangeError::File(error)) = swap(scene.places(), new, Wanted::default()) else { panic!() };
        assert!(error.is_absent());
        assert_eq!(scene.texts(), (None, None));
    }

    #[test]
    fn a_live_path_that_became_a_link_is_not_rotated() {
        let scene = Scene::new();
        let new = scene.prepare();
        fs::rename(scene.live(), scene.temporary.path().join("target")).unwrap();
        symlink("target", scene.live()).unwrap();
        let Err(ExchangeError::File(FileError::Unfit { unfit, .. })) =
            swap(scene.places(), new, Wanted::default())
        else {
            panic!()
        };
        assert_eq!(unfit, Unfit::SymbolicLink);
        assert_eq!(scene.texts(), (Some("old\n".to_owned()), None));
    }

    #[test]
    fn a_stranger_at_the_archives_name_is_neither_swapped_nor_removed() {
        let scene = Scene::new();
        let new = scene.prepare();
        fs::rename(scene.archive(), scene.temporary.path().join("elsewhere")).unwrap();
        fs::write(scene.archive(), "").unwrap();
        assert!(matches!(swap(scene.places(), new, Wanted::default()), Err(ExchangeError::Displaced { .. })));
        assert_eq!(scene.texts(), some("old\n", ""));
    }

    #[test]
    fn without_exchange_the_old_file_is_renamed_and_a_new_one_made() {
        let scene = Scene::new();
        fs::set_permissions(scene.live(), Permissions::from_mode(0o664)).unwrap();
        scene.prepare();
        let swapped = rename_and_make(scene.places(), Wanted::default()).unwrap();
        assert_eq!(swapped.method, Method::Rename);
        assert_eq!(scene.texts(), some("", "old\n"));
        assert_eq!(fs::metadata(scene.live()).unwrap().mode() & 0o7777, 0o664);
    }

    #[test]
    fn without_exchange_a_crash_half_way_is_completed() {
        let scene = Scene::new();
        scene.prepare();
        fs::rename(scene.live(), scene.archive()).unwrap();
        assert_eq!(left_over(scene.places(), scene.old).unwrap(), None);
        restore_live(scene.places(), Wanted::default()).unwrap();
        assert_eq!(scene.texts(), some("", "old\n"));
    }

    #[test]
    fn without_exchange_a_file_the_app_made_meanwhile_stays() {
        let scene = Scene::new();
        fs::rename(scene.live(), scene.archive()).unwrap();
        fs::write(scene.live(), "its own\n").unwrap();
        assert_eq!(restore_live(scene.places(), Wanted::default()).unwrap(), []);
        assert_eq!(scene.texts(), some("its own\n", "old\n"));
    }

    #[test]
    fn a_swap_is_undone_while_the_new_file_is_empty() {
        let scene = Scene::new();
        let old = scene.old;
        let new = scene.prepare();
        swap(scene.places(), new, Wanted::default()).unwrap();
        let undone = undo(scene.places(), old, new).unwrap();
        assert_eq!((undone.live, undone.archive, undone.new_bytes), (Some(old), Some(new), 0));
        assert!(discard(scene.places(), new).unwrap());
        assert_eq!(scene.texts(), (Some("old\n".to_owned()), None));
    }

    #[test]
    fn a_swap_is_not_undone_once_the_new_file_is_used_or_the_names_have_moved() {
        let scene = Scene::new();
        let old = scene.old;
        let new = scene.prepare();
        assert!(matches!(undo(scene.places(), old, new), Err(ExchangeError::Displaced { .. })));
        swap(scene.places(), new, Wanted::default()).unwrap();
        fs::write(scene.live(), "line\n").unwrap();
        assert!(matches!(undo(scene.places(), old, new), Err(ExchangeError::InUse { bytes: 5, .. })));
        assert_eq!(scene.texts(), some("line\n", "old\n"));
    }

    #[test]
    fn an_app_that_opens_its_log_for_every_line_always_finds_it_and_loses_nothing() {
        let scene = Scene::new();
        fs::write(scene.live(), "").unwrap();
        let stop = AtomicBool::new(false);
        let (written, archived) = std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                let mut lines = 0_u64;
                while !stop.load(Ordering::Relaxed) {
                    let mut log =
                        OpenOptions::new().append(true).open(scene.live()).expect("the path is there");
                    writeln!(log, "{lines}").unwrap();
                    lines += 1;
                }
                lines
            });
            let mut archived = Vec::new();
            for generation in 0..200 {
                let name = std::ffi::OsString::from(format!("{ARCHIVE}.{generation}"));
                let mut places = scene.places();
                places.archive.name = &name;
                let new = prepare(places, &scene.open_live(), Wanted::default()).unwrap().new;
                swap(places, new, Wanted::default()).unwrap();
                archived.push(scene.temporary.path().join("archive").join(&name));
            }
            stop.store(true, Ordering::Relaxed);
            (writer.join().unwrap(), archived)
        });
        let files = archived.into_iter().chain([scene.live()]);
        let mut seen: Vec<u64> = files
            .flat_map(|path| {
                fs::read_to_string(path).unwrap().lines().map(|l| l.parse().unwrap()).collect::<Vec<_>>()
            })
            .collect();
        seen.sort_unstable();
        assert_eq!(seen, (0..written).collect::<Vec<_>>());
    }
}
