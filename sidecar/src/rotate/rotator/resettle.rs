//! Other settings while rotations are under way.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::tz::TimeZone;

use super::Rotator;
use crate::rotate::schedule::Schedule;
use crate::settings::LogSettings;

impl Rotator {
    /// Works by the settings of now. What was begun goes on by those it was begun with, unless that was given up.
    pub(super) fn take_up_settings(&mut self) {
        self.drop_dismissed();
        let settings = self.hub.settings();
        if Arc::ptr_eq(&settings, &self.settings) {
            return;
        }
        let schedules = settings.logs.iter().filter_map(|log| Some((log.full_name(), schedule_of(log)?)));
        self.schedules = schedules.collect();
        self.settings = settings;
        // What failed by the old settings may succeed by the new ones.
        self.retries.clear();
    }

    /// What no log wants any more is neither waited for nor a problem.
    fn drop_dismissed(&mut self) {
        let campaigns = &self.campaigns;
        self.waiting.retain(|waiting| {
            let begun_with = campaigns.get(&waiting.campaign).map(|campaign| &campaign.log().log.rotate);
            // What was given up and is to be done otherwise is found again, as after a restart, and begun anew.
            let is_outdated = waiting.gave_up && begun_with != Some(&waiting.feed.log().log.rotate);
            !waiting.feed.is_dismissed() && !is_outdated
        });
        if self.hub.rotation_problems().is_empty() {
            return;
        }
        let volumes = self.hub.volumes();
        let streams = volumes.iter().map(|volume| (volume, volume.streams()));
        let owned: BTreeSet<PathBuf> = streams
            .flat_map(|(volume, streams)| streams.into_iter().map(|(name, ..)| volume.absolute(&name)))
            .collect();
        self.hub.keep_rotation_problems(&owned);
    }
}

fn schedule_of(log: &LogSettings) -> Option<Schedule> {
    let schedule = log.log.rotate.as_ref()?.when.schedule.as_ref()?;
    let zone = TimeZone::get(schedule.time_zone()).ok()?;
    match Schedule::new(schedule.text(), zone) {
        Ok(schedule) => Some(schedule),
        Err(error) => {
            tracing::error!(log = log.full_name(), %error, "no rotation by time");
            None
        }
    }
}
