//! Enters what the watcher finds: volumes that are opened, files that are refused, files that were deleted.

use std::collections::HashSet;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use super::watcher::Watcher;
use crate::settings::LogSettings;
use crate::stream::recover::Recovered;
use crate::stream::volume::{STATE_DIRECTORY, Volume, VolumeError};

impl Watcher {
    /// Where there is state of an earlier run there may be archives to forward, also if no log file is there.
    pub(super) fn open_known(&mut self) {
        let settings = self.settings.clone();
        for pattern in settings.logs.iter().flat_map(|log| &log.log.files.include) {
            let base = pattern.base();
            if !self.bases.contains_key(base) && base.join(STATE_DIRECTORY).join("state").is_file() {
                self.volume_of(base);
            }
        }
    }

    /// Gives every stream to the log that wants it by the settings of now.
    pub(super) fn take_up_settings(&mut self) {
        let settings = self.hub.settings();
        if Arc::ptr_eq(&settings, &self.settings) && !self.is_unsettled {
            return;
        }
        let known: HashSet<String> = self.settings.logs.iter().map(|log| log.full_name()).collect();
        if !known.is_empty() {
            let new = settings.logs.iter().map(|log| log.full_name()).filter(|log| !known.contains(log));
            self.new_logs.extend(new);
        }
        self.settings = settings;
        self.is_unsettled = false;
        for volume in self.hub.volumes() {
            let settled = volume.settle(|path| self.settings.owner(&volume.base, path));
            self.is_unsettled |= settled.is_busy;
            self.tell(&volume, settled.found);
        }
        // Who has lost a file or got one sees it now.
        self.hub.wake_forwarders();
    }

    /// A live file without a name was deleted by somebody else.
    pub(super) fn find_deleted(&self) {
        for watched in self.watched.values() {
            let deleted = watched.file.metadata().is_ok_and(|metadata| metadata.nlink() == 0);
            let key = &watched.feed.key;
            let live = watched.volume.stream(&key.stream).and_then(|s| s.live().map(|live| live.number));
            if deleted && live == Some(key.number) && watched.volume.unlinked(&key.stream) {
                tracing::warn!(
                    stream = &*key.stream,
                    "deleted by somebody else; read on as long as it is held open"
                );
            }
        }
    }

    /// Says and counts it once.
    pub(super) fn refuse(&self, path: &Path, log: &LogSettings, reason: &str) {
        if self.refused.get(path).is_none_or(|known| known != reason) {
            tracing::warn!(path = %path.display(), log = log.full_name(), "refused: {reason}");
            self.metrics.refused(log);
        }
    }

    /// The volume of a base directory, opened when its first file is there.
    pub(super) fn volume_of(&mut self, base: &Path) -> Option<usize> {
        if let Some(index) = self.bases.get(base).copied() {
            let volumes = self.hub.volumes();
            if volumes.get(index).is_some_and(|volume| volume.directory.is_at(base)) {
                return Some(index);
            }
            // The app has made its directory anew. What the old one held is read as long as it is open.
            tracing::warn!(path = %base.display(), "the directory was replaced; begun anew");
        }
        let volume = match Volume::open(base) {
            Ok(volume) => Arc::new(volume),
            Err(error) => {
                self.hub.set_problem(base, error.to_string());
                if self.complained.insert(base.to_owned()) {
                    match error {
                        VolumeError::Shared(_) => tracing::warn!("{error}"),
                        other => tracing::error!(error = %other, "cannot use this directory; trying again"),
                    }
                }
                return None;
            }
        };
        self.hub.clear_problem(base);
        if !self.first_look {
            volume.end_first_look();
        }
        self.recover(&volume);
        self.hub.add_volume(volume);
        let index = self.hub.volumes().len() - 1;
        self.bases.insert(base.to_owned(), index);
        Some(index)
    }

    fn recover(&self, volume: &Volume) {
        let found = volume.recover(|path| self.settings.owner(&volume.base, path));
        self.tell(volume, found);
    }

    fn tell(&self, volume: &Volume, found: Recovered) {
        for stream in found.resumed {
            tracing::info!(stream, "a rotation that was cut short was completed or undone");
        }
        for stream in found.truncated {
            tracing::warn!(stream, "a file was truncated or replaced while the sidecar was away");
        }
        for (stream, destination, bytes) in found.lost {
            if let Some(log) = self.settings.owner(&volume.base, &volume.absolute(&stream)) {
                self.metrics.lost(&log, &destination, bytes);
            }
            tracing::error!(
                stream,
                destination,
                bytes,
                "lines went away unconfirmed while the sidecar was away"
            );
        }
    }
}
