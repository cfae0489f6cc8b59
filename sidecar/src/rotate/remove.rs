//! Removes a plain archive once it is compressed and nobody can write to it.
//!
//! In: a descriptor of the file, how much of it is compressed, and the probes' answer. Out: what became of it.
//! Always: no byte goes that is not compressed: if one comes late, the name stays, or the descriptor still reads it.

use std::ffi::OsStr;
use std::fs::File;

use crate::files::directory::Directory;
use crate::files::{FileError, FileId};

/// What became of the plain file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    /// Its name is gone and nothing was written to it since it was compressed.
    Removed,
    /// Somebody still can write to it. Nothing was done.
    Held,
    /// Bytes were written after it was compressed. They are read through the descriptor that was passed, which is
    /// good for that even if the name is gone, and become a further archive.
    LateBytes {
        /// First late byte.
        from: u64,
        /// End of the file.
        to: u64,
        /// Whether the name is gone already.
        removed: bool,
    },
    /// The name stands for another file, or for none. Nothing was done.
    Replaced,
}

/// Removes the plain file `archive`, of which `covered` bytes are compressed, if nobody can write to it.
///
/// `source` is a descriptor of it; `is_unheld` asks the probes. Asking comes before looking at the size, since what
/// nobody holds cannot grow. The size is looked at once more afterwards, for a process that was just opening it.
///
/// # Errors
///
/// What the system said.
pub fn remove_source(
    directory: &Directory,
    archive: &OsStr,
    source: &File,
    covered: u64,
    is_unheld: impl FnOnce(&File) -> bool,
) -> Result<Removal, FileError> {
    if !is_unheld(source) {
        return Ok(Removal::Held);
    }
    let before = directory.metadata(archive, source)?;
    if before.len() > covered {
        return Ok(Removal::LateBytes { from: covered, to: before.len(), removed: false });
    }
    if !directory.remove(archive, FileId::of(&before))? {
        return Ok(Removal::Replaced);
    }
    directory.sync()?;
    let after = directory.metadata(archive, source)?.len();
    if after > covered {
        return Ok(Removal::LateBytes { from: covered, to: after, removed: true });
    }
    Ok(Removal::Removed)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, OpenOptions};
    use std::io::Write;

    use super::*;
    use crate::rotate::compress::Compressor;
    use crate::rotate::compress::tests::{ARCHIVE, Scene, finish};

    fn remove(scene: &Scene, covered: u64, unheld: bool) -> Removal {
        remove_source(&scene.directory, OsStr::new(ARCHIVE), &scene.source, covered, |_| unheld).unwrap()
    }

    fn append(scene: &Scene, text: &str) {
        OpenOptions::new().append(true).open(scene.path("")).unwrap().write_all(text.as_bytes()).unwrap();
    }

    #[test]
    fn the_plain_file_goes_when_nobody_holds_it_and_all_is_compressed() {
        let scene = Scene::new(b"one\n");
        let covered = scene.compress().covered;
        assert_eq!(remove(&scene, covered, false), Removal::Held);
        assert!(scene.path("").exists());
        assert_eq!(remove(&scene, covered, true), Removal::Removed);
        assert!(!scene.path("").exists());
        assert_eq!(remove(&scene, covered, true), Removal::Replaced);
    }

    #[test]
    fn late_bytes_keep_the_plain_file_and_become_a_further_archive() {
        let scene = Scene::new(b"one\n");
        let covered = scene.compress().covered;
        append(&scene, "late\n");
        assert_eq!(remove(&scene, covered, true), Removal::LateBytes { from: 4, to: 9, removed: false });
        let further = OsStr::new("app.log.20261121T074900Z.000002");
        let mut compressor = Compressor::start(&scene.directory, further, &scene.source, 4, 6).unwrap();
        assert_eq!(finish(&mut compressor).covered, 9);
        assert_eq!(remove(&scene, 9, true), Removal::Removed);
        assert_eq!(scene.directory.names().unwrap().len(), 2);
    }

    #[test]
    fn bytes_written_while_it_is_removed_are_still_there_to_be_read() {
        let scene = Scene::new(b"one\n");
        let covered = scene.compress().covered;
        let mut writer = OpenOptions::new().append(true).open(scene.path("")).unwrap();
        assert_eq!(remove(&scene, covered, true), Removal::Removed);
        writer.write_all(b"late\n").unwrap();
        // The descriptor outlives the name.
        let further = OsStr::new("app.log.20261121T074900Z.000002");
        let mut compressor = Compressor::start(&scene.directory, further, &scene.source, covered, 6).unwrap();
        assert_eq!(finish(&mut compressor).covered, 9);
    }

    #[test]
    fn another_file_under_the_name_is_not_removed() {
        let scene = Scene::new(b"one\n");
        let covered = scene.compress().covered;
        fs::rename(scene.path(""), scene.path(".moved")).unwrap();
        fs::write(scene.path(""), "another").unwrap();
        assert_eq!(remove(&scene, covered, true), Removal::Replaced);
        assert_eq!(fs::read(scene.path("")).unwrap(), b"another");
    }
}
