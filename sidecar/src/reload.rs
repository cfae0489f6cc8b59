//! Looks at the policies' files again and again, and says when something else is to be done.
//!
//! In: the configuration file or directory, and the pod's annotations, which say what should be there. Out: new
//! [`Settings`] when a file changed that can be used; everything else is told. What always holds: nothing ends or goes
//! back because a file is bad. Files are looked at, not watched: that also works where notification does not, and costs
//! a few system calls a second.

pub mod annotations; // P  what the pod's annotations say
pub mod policies; // P  what is in effect, and what is wrong
pub mod kept; // E  the last good configuration, kept with the state

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use capstan_config::names::{CONFIG_HASH_ANNOTATION, ROTATE_AT_ANNOTATION};
use capstan_config::{Config, ConfigHashes};
use jiff::Timestamp;

use crate::config_source::{ConfigError, Stamp, files, read, stamp};
use crate::hub::Hub;
use crate::metrics::Metrics;
use crate::pod::Pod;
use crate::settings::{Settings, diff};
use policies::{Policies, Took};

/// Looks for what is to be done.
pub struct Reloader {
    config: PathBuf,
    annotations: PathBuf,
    pod: Arc<Pod>,
    hub: Arc<Hub>,
    metrics: Arc<Metrics>,
    policies: Policies,
    stamps: BTreeMap<PathBuf, Stamp>,
    settings: Arc<Settings>,
    told: Vec<String>,
    /// By volume and policy, the settings that are kept there.
    kept: BTreeSet<(PathBuf, String)>,
}

impl Reloader {
    /// Looks at `config`, and at the pod's annotations in the file `annotations`, if there is one.
    pub fn new(
        config: PathBuf,
        annotations: PathBuf,
        pod: Arc<Pod>,
        (hub, metrics): (Arc<Hub>, Arc<Metrics>),
    ) -> Reloader {
        Reloader {
            config,
            annotations,
            pod,
            hub,
            metrics,
            policies: Policies::default(),
            stamps: BTreeMap::new(),
            settings: Arc::default(),
            told: Vec::new(),
            kept: BTreeSet::new(),
        }
    }

    /// Looks once. Returns other settings, if there are any.
    pub fn look(&mut self) -> Option<Arc<Settings>> {
        let now = Timestamp::now();
        let (mut changed, missing) = self.look_at_files(now);
        self.publish(missing);
        if changed {
            let configs = self.policies.good().map(|(_, good)| good.config.clone()).collect();
            changed = self.combine(configs);
            self.kept.clear();
        }
        self.keep_last_good();
        changed.then(|| self.settings.clone())
    }

    /// Looks at every file that changed, and forgets what is known of those that did not.
    pub fn look_anew(&mut self) -> Option<Arc<Settings>> {
        self.stamps.clear();
        self.look()
    }

    fn look_at_files(&mut self, now: Timestamp) -> (bool, Option<ConfigError>) {
        let (mut there, missing) = match files(&self.config) {
            Ok(files) if files.is_empty() => (files, Some(ConfigError::Empty(self.config.clone()))),
            Ok(files) => (files, None),
            Err(error) => (Vec::new(), Some(error)),
        };
        for known in self.policies.files() {
            if !there.iter().any(|(file, _)| *file == known) {
                there.push((known, None));
            }
        }
        let mut changed = false;
        for (file, name) in there {
            let stamp = stamp(&file, now);
            if stamp.is_some() && stamp == self.stamps.get(&file).copied() {
                continue;
            }
            match stamp {
                Some(stamp) => drop(self.stamps.insert(file.clone(), stamp)),
                None => drop(self.stamps.remove(&file)),
            }
            let kept = |name: &str| kept::find(self.pod.mounts(), name);
            changed |= self.policies.see((&file, name.as_deref()), read(&file), now, kept) == Took::Changed;
        }
        (changed, missing)
    }

    /// Tells what is wrong, and what should be there.
    fn publish(&mut self, missing: Option<ConfigError>) {
        let annotations = std::fs::read_to_string(&self.annotations).unwrap_or_default();
        let mut problems = self.policies.problems();
        if let Some(missing) = missing.filter(|_| problems.is_empty()) {
            problems.push(format!("the configuration cannot be used: {missing}"));
        }
        self.metrics.families.config_valid.set(i64::from(problems.is_empty()));
        problems.extend(self.pod.problems.iter().cloned());
        let expected = annotations::value(&annotations, CONFIG_HASH_ANNOTATION).unwrap_or_default();
        let expected: ConfigHashes = expected.parse().unwrap_or_else(|error| {
            problems.push(format!("annotation {CONFIG_HASH_ANNOTATION}: {error}"));
            ConfigHashes::default()
        });
        let rotate_at =
            annotations::value(&annotations, ROTATE_AT_ANNOTATION).filter(|text| !text.is_empty());
        let rotate_at: Option<Timestamp> = rotate_at.and_then(|text| {
            let parsed = text.trim().parse().ok();
            if parsed.is_none() {
                problems.push(format!(
                    "annotation {ROTATE_AT_ANNOTATION}: {text:?} is not a time; write for example \"2026-11-21T15:00:00Z\""
                ));
            }
            parsed
        });
        for problem in problems.iter().filter(|problem| !self.told.contains(problem)) {
            tracing::error!("{problem}");
        }
        let statuses = self.policies.statuses(&expected);
        self.metrics.reloaded(&statuses);
        self.hub.set_policies(statuses, problems.clone());
        self.hub.set_rotate_at(rotate_at);
        self.told = problems;
    }

    /// Makes settings of all policies. Returns whether they differ.
    fn combine(&mut self, configs: Vec<Config>) -> bool {
        let settings = Settings::from_configs(configs).keeping(&self.settings);
        let change = diff(&self.settings, &settings);
        self.settings = Arc::new(settings);
        tracing::info!(
            logs_added = ?change.logs.added,
            logs_removed = ?change.logs.removed,
            logs_changed = ?change.logs.changed,
            destinations_added = ?change.destinations.added,
            destinations_removed = ?change.destinations.removed,
            destinations_changed = ?change.destinations.changed,
            "configuration loaded"
        );
        true
    }

    /// Keeps what is in effect beside the logs, wherever there is state by now.
    fn keep_last_good(&mut self) {
        for volume in self.hub.volumes().iter().filter(|volume| volume.is_persistent()) {
            for (policy, good) in self.policies.good() {
                let place = (volume.base.clone(), policy.to_owned());
                let patterns = good.config.logs.iter().flat_map(|log| &log.files.include);
                let is_here = patterns.into_iter().any(|pattern| pattern.base() == volume.base);
                if !is_here || !self.kept.insert(place) {
                    continue;
                }
                keep_aside(volume.base.clone(), policy.to_owned(), good.text.clone());
            }
        }
    }
}

/// A disk that stalls must not keep us from looking, nor from stopping.
fn keep_aside(base: PathBuf, policy: String, text: Vec<u8>) {
    let keep = move || {
        if let Err(error) = kept::keep(&base, &policy, &text) {
            tracing::warn!(path = %base.display(), policy, %error, "the configuration could not be kept beside the logs; a restart with a file that cannot be used will not find it");
        }
    };
    if let Err(error) = std::thread::Builder::new().name("keep".to_owned()).spawn(keep) {
        tracing::warn!(%error, "the configuration could not be kept beside the logs");
    }
}
