//! Gives one stream a new file: announces it, makes it, exchanges it, and looks at what was really exchanged.

use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;

use super::attributes::Wanted;
use super::exchange::{ExchangeError, Place, Places, Swapped, discard, prepare, swap, undo};
use super::naming::archive_name;
use crate::files::directory::Directory;
use crate::files::{FileError, FileId};
use crate::settings::LogSettings;
use crate::stream::feed::{Feed, GenerationKey, Source};
use crate::stream::open::Opened;
use crate::stream::turn::TurnError;
use crate::stream::volume::Volume;

/// Why a stream was not rotated. The app writes on to where it wrote before, so nothing is lost.
#[derive(Debug, thiserror::Error)]
pub enum ActError {
    /// A file or directory.
    #[error(transparent)]
    File(#[from] FileError),
    /// The exchange.
    #[error(transparent)]
    Exchange(#[from] ExchangeError),
    /// The ledger.
    #[error(transparent)]
    Turn(#[from] TurnError),
    /// A file that is open.
    #[error("cannot look at an open file: {0}")]
    Io(#[from] std::io::Error),
    /// The app replaced its file, and took that one away too.
    #[error("the app replaced its file meanwhile; what stands there now is looked at again")]
    Replaced,
    /// The live file is not open.
    #[error("the live file is not known yet")]
    NotOpen,
}

/// Directories and names of one rotation.
struct Scene {
    live_directory: Directory,
    archive_directory: Directory,
    live_name: std::ffi::OsString,
    archive_name: std::ffi::OsString,
    /// Of the archive, relative to the volume's base.
    archive_path: PathBuf,
}

impl Scene {
    fn places(&self) -> Places<'_> {
        Places {
            live: Place { directory: &self.live_directory, name: &self.live_name },
            archive: Place { directory: &self.archive_directory, name: &self.archive_name },
        }
    }
}

/// Rotates one stream whose live generation is `live`. Returns the feed of what was archived, which is another one if
/// the app replaced its file just before.
pub fn rotate(volume: &Volume, log: &LogSettings, live: &Feed) -> Result<Arc<Feed>, ActError> {
    let stream = &*live.key.stream;
    let Source::Open(file) = live.source() else { return Err(ActError::NotOpen) };
    let scene = scene(volume, log, stream, live.key.number)?;
    let archive_path = scene.archive_path.to_str().ok_or(ActError::NotOpen)?;
    let mode = log.log.rotate.as_ref().and_then(|rotate| rotate.mode);
    let wanted = Wanted { mode: mode.map(|mode| mode.bits()), ..Wanted::default() };
    let old = FileId::of(&file.metadata()?);
    volume.intend(stream, archive_path)?;
    let exchanged = exchange(&scene, &file, wanted)
        .and_then(|swapped| Ok((stranger(volume, &scene, &swapped, old)?, swapped)));
    let (stranger, swapped) = match exchanged {
        Ok(done) => done,
        Err(error) => {
            volume.forget_intent(stream);
            return Err(error);
        }
    };
    if let Some(error) = swapped.unsynced {
        tracing::warn!(stream, %error, "the directory could not be synced");
    }
    for missing in &swapped.not_copied {
        tracing::warn!(stream, what = missing.what, error = %missing.errno, "not copied to the new file");
    }
    let new = volume.open_log(stream);
    if let Err(error) = &new {
        tracing::warn!(stream, %error, "the new file cannot be opened yet");
    }
    let number = volume.exchanged(stream, archive_path, new.ok(), stranger)?;
    volume.feed(&GenerationKey { stream: live.key.stream.clone(), number }).ok_or(ActError::NotOpen)
}

fn scene(volume: &Volume, log: &LogSettings, stream: &str, number: u64) -> Result<Scene, ActError> {
    let stream = Path::new(stream);
    let parent = stream.parent().unwrap_or(Path::new(""));
    let live_directory = volume.directory_of(stream)?;
    let subdirectory = log.log.rotate.as_ref().and_then(|rotate| rotate.archive.directory.as_ref());
    let subdirectory = subdirectory.map_or(Path::new(""), |directory| directory.as_path());
    let mut archive_directory = volume.directory_of(stream)?;
    for component in subdirectory.components() {
        if let Component::Normal(name) = component {
            archive_directory = archive_directory.open_or_make(name, 0o750)?;
        }
    }
    let live_name = stream.file_name().unwrap_or(OsStr::new("")).to_owned();
    let archive_name = archive_name(&live_name, Timestamp::now(), number);
    let archive_path = parent.join(subdirectory).join(&archive_name);
    Ok(Scene { live_directory, archive_directory, live_name, archive_name, archive_path })
}

fn exchange(scene: &Scene, file: &std::fs::File, wanted: Wanted) -> Result<Swapped, ActError> {
    let places = scene.places();
    let prepared = prepare(places, file, wanted)?;
    let mut swapped = swap(places, prepared.new, wanted)?;
    swapped.not_copied.extend(prepared.not_copied);
    Ok(swapped)
}

/// What stands at the archive's name if it is not `old`: the app replaced its file just before the exchange, which
/// has rotated the app's new file then. The names stay: putting them back could take away what the app has opened
/// since.
fn stranger(
    volume: &Volume,
    scene: &Scene,
    swapped: &Swapped,
    old: FileId,
) -> Result<Option<Opened>, ActError> {
    if swapped.archive == Some(old) {
        return Ok(None);
    }
    let path = scene.archive_path.to_str().ok_or(ActError::NotOpen)?;
    match volume.open_log(path) {
        Ok(opened) => Ok(Some(opened)),
        Err(error) if error.is_absent() => Err(ActError::Replaced),
        Err(error) => Err(error.into()),
    }
}

/// Puts the names back after nobody reopened. Returns false if the new file is in use after all: then the names
/// stay, for some workers write to each file.
pub fn put_back(volume: &Volume, log: &LogSettings, old: &Feed, new: &Feed) -> Result<bool, ActError> {
    volume.set_putting_back(&old.key.stream, true);
    let done = try_put_back(volume, log, old, new);
    volume.set_putting_back(&old.key.stream, false);
    done
}

fn try_put_back(volume: &Volume, log: &LogSettings, old: &Feed, new: &Feed) -> Result<bool, ActError> {
    let (Source::Open(old_file), Source::Open(new_file)) = (old.source(), new.source()) else {
        return Err(ActError::NotOpen);
    };
    let stream = &*old.key.stream;
    let record = volume.stream(stream).ok_or(ActError::NotOpen)?;
    let archive =
        record.generation(old.key.number).map(|known| known.path.clone()).ok_or(ActError::NotOpen)?;
    let mut scene = scene(volume, log, stream, old.key.number)?;
    let archive = Path::new(&archive);
    scene.archive_directory = volume.directory_of(archive)?;
    scene.archive_name = archive.file_name().unwrap_or(OsStr::new("")).to_owned();
    let id = |file: &std::fs::File| file.metadata().map(|metadata| FileId::of(&metadata));
    let (old_id, new_id) = (id(&old_file)?, id(&new_file)?);
    let undone = match undo(scene.places(), old_id, new_id) {
        Err(ExchangeError::InUse { .. }) => return Ok(false),
        other => other?,
    };
    let opened_meanwhile =
        undone.new_bytes > 0 || crate::sys::ask_read_lease(&new_file) == crate::sys::LeaseReply::Refused;
    if opened_meanwhile {
        // Somebody opened the new file in the moment of the exchange: forward again.
        swap(scene.places(), new_id, Wanted::default())?;
        return Ok(false);
    }
    discard(scene.places(), new_id)?;
    volume.restored(stream, old.key.number)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::settings::Settings;
    use crate::stream::ledger::{Intent, Stage};
    use crate::stream::place::Placed;

    /// A volume with one log that is live, and its feed.
    fn live(directory: &Path) -> (Volume, Arc<LogSettings>, Arc<Feed>) {
        fs::write(directory.join("app.log"), "old\n").unwrap();
        let volume = Volume::open(directory).unwrap();
        let log = log(directory);
        let Placed::New(feed) = volume.place("app.log", &log, false) else { panic!("a new log") };
        (volume, log, feed)
    }

    fn log(directory: &Path) -> Arc<LogSettings> {
        let config = format!(
            r#"{{"version":1,"policy":"test","logs":[{{"name":"app","files":{{"include":["{}/app.log"]}},
            "rotate":{{"when":{{"size":"1k"}},"reopen":{{"none":{{}}}},"retention":{{"count":9}}}}}}]}}"#,
            directory.display()
        );
        Settings::from_configs(vec![capstan_config::parse(config.as_bytes()).unwrap()]).logs[0].clone()
    }

    fn replace(directory: &Path) {
        fs::rename(directory.join("app.log"), directory.join("app.log.mine")).unwrap();
        fs::write(directory.join("app.log"), "its own\n").unwrap();
    }

    /// Content and stage of each generation.
    fn generations(volume: &Volume) -> Vec<(u64, String, Stage)> {
        let stream = volume.stream("app.log").unwrap();
        let text = |path: &str| fs::read_to_string(volume.absolute(path)).unwrap();
        stream.generations.iter().map(|known| (known.number, text(&known.path), known.stage)).collect()
    }

    #[test]
    fn what_the_app_put_in_its_logs_place_just_before_is_archived_and_known() {
        let directory = tempfile::tempdir().unwrap();
        let (volume, log, feed) = live(directory.path());
        replace(directory.path());
        let archived = rotate(&volume, &log, &feed).unwrap();
        assert_eq!(archived.key.number, 2);
        let expected = [(1, "old\n", Stage::Old), (2, "its own\n", Stage::Old), (3, "", Stage::Live)];
        assert_eq!(
            generations(&volume),
            expected.map(|(number, text, stage)| (number, text.to_owned(), stage))
        );
        let stream = volume.stream("app.log").unwrap();
        assert_eq!(
            stream.generations.iter().map(|known| known.ours).collect::<Vec<_>>(),
            [false, true, false]
        );
    }

    #[test]
    fn a_crash_just_after_such_an_exchange_leaves_nothing_unknown() {
        let directory = tempfile::tempdir().unwrap();
        let (volume, log, _) = live(directory.path());
        let archive = "archive/app.log.20260101T000000Z.000001";
        volume.intend("app.log", archive).unwrap();
        assert!(matches!(volume.stream("app.log").unwrap().intent, Some(Intent { .. })));
        drop(volume);
        // What the exchange would have left.
        replace(directory.path());
        fs::create_dir_all(directory.path().join("archive")).unwrap();
        fs::rename(directory.path().join("app.log"), directory.path().join(archive)).unwrap();
        fs::write(directory.path().join("app.log"), "").unwrap();
        let volume = Volume::open(directory.path()).unwrap();
        volume.recover(|_| Some(log.clone()));
        assert!(matches!(volume.place("app.log", &log, false), Placed::New(_)));
        let expected = [(1, "old\n", Stage::Old), (2, "its own\n", Stage::Old), (3, "", Stage::Live)];
        assert_eq!(
            generations(&volume),
            expected.map(|(number, text, stage)| (number, text.to_owned(), stage))
        );
    }
}
