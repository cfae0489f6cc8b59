//! What becomes of old files that are sealed, and of those that are still open when the process stops.

use super::Rotator;
use crate::files::directory::Directory;
use crate::rotate::compressor::Job;
use crate::rotate::keep::forget_foreign;
use crate::rotate::probe::{calibrate, probe_lease};
use crate::rotate::reopen::Answer;
use crate::stream::feed::{GenerationKey, Source};
use crate::stream::ledger::{Generation, Stage};
use crate::stream::volume::{STATE_DIRECTORY, Volume};

impl Rotator {
    /// Sends archives to be compressed, deletes what is beyond its limits.
    pub(super) fn tend_archives(&mut self) {
        let volumes = self.hub.volumes();
        for volume in volumes.iter().filter(|volume| volume.is_persistent()) {
            let leases = self.leases(volume);
            for (name, log, stream) in volume.streams() {
                let gzip =
                    log.log.rotate.as_ref().is_some_and(|rotate| {
                        rotate.archive.compression == capstan_config::Compression::Gzip
                    });
                let plain = |known: &&Generation| known.ours && matches!(known.stage, Stage::Sealed(_));
                for generation in stream.generations.iter().filter(plain).filter(|_| gzip) {
                    let key = GenerationKey { stream: name.clone(), number: generation.number };
                    self.jobs.add(Job { volume: volume.clone(), key, leases });
                }
            }
            forget_foreign(volume, &self.settings);
        }
        for log in &self.settings.logs {
            self.keeper.keep(log, &volumes, &self.jobs, &self.metrics);
        }
    }
}

/// At the stop: files that nobody writes any more are read to their end, also a last line without its newline.
/// Only in memory: whether they are written again is seen at the next start.
pub fn finish_unheld(volume: &Volume) {
    let state = Directory::open(&volume.base.join(STATE_DIRECTORY));
    let Ok(leases) = state.and_then(|directory| calibrate(&directory)) else { return };
    for feed in volume.open_feeds() {
        if let Source::Open(file) = feed.source()
            && probe_lease(&file, leases) == Answer::Unheld
        {
            feed.seal();
        }
    }
    volume.look_again();
}
