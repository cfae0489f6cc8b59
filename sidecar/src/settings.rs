//! What the program works with, derived once from the configuration files: one [`LogSettings`] per log and one
//! [`DestinationSettings`] per destination, shared by everybody who needs them.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use capstan_config as config;

/// One log of one policy.
#[derive(Debug)]
pub struct LogSettings {
    /// The policy it belongs to.
    pub policy: String,
    /// As the configuration has it.
    pub log: config::Log,
    /// Where its lines go, as keys of [`DestinationSettings`].
    pub destinations: Vec<String>,
    /// The longest replay margin among them.
    pub replay_margin: Duration,
}

/// One destination of one policy.
#[derive(Debug)]
pub struct DestinationSettings {
    /// Unique within this sidecar: the destination's name, which is one per namespace.
    pub key: String,
    /// The policy it is written in.
    pub policy: String,
    /// As the configuration has it.
    pub destination: config::Destination,
}

/// Everything a sidecar does.
#[derive(Debug, Default)]
pub struct Settings {
    /// In the order of policies and of logs within them: the first that matches a file owns it.
    pub logs: Vec<Arc<LogSettings>>,
    /// Destinations by their keys.
    pub destinations: Vec<Arc<DestinationSettings>>,
}

impl LogSettings {
    /// Whether this log wants the file at `path`. Archives never match.
    pub fn wants(&self, path: &Path) -> bool {
        let files = &self.log.files;
        files.include.iter().any(|pattern| pattern.matches(path))
            && !files.exclude.iter().any(|pattern| pattern.matches(path))
    }

    /// Whether this log wants the file at `path` by its full name.
    pub fn names(&self, path: &Path) -> bool {
        self.wants(path) && self.log.files.include.iter().any(|pattern| Path::new(pattern.text()) == path)
    }

    /// Policy and log as one name, unique within this sidecar.
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.policy, self.log.name)
    }
}

impl Settings {
    /// Combines the files of several policies. A destination that two policies name is the same one if it is
    /// equal; else the second policy's gets a key of its own.
    pub fn from_configs(configs: Vec<config::Config>) -> Settings {
        let mut settings = Settings::default();
        for config in configs {
            let policy = config.policy.to_string();
            let keys: Vec<(String, String)> = config
                .destinations
                .into_iter()
                .map(|destination| {
                    let name = destination.name.to_string();
                    let key = settings.destination_key(&policy, destination);
                    (name, key)
                })
                .collect();
            for log in config.logs {
                let names = log.forward.iter().flat_map(|forward| &forward.destinations);
                let destinations: Vec<String> = names
                    .filter_map(|name| keys.iter().find(|(known, _)| *known == name.to_string()))
                    .map(|(_, key)| key.clone())
                    .collect();
                let replay_margin = settings.longest_margin(&destinations);
                let policy = policy.clone();
                settings.logs.push(Arc::new(LogSettings { policy, log, destinations, replay_margin }));
            }
        }
        settings
    }

    fn longest_margin(&self, keys: &[String]) -> Duration {
        let wanted = self.destinations.iter().filter(|destination| keys.contains(&destination.key));
        let margins = wanted.map(|destination| destination.destination.syslog.delivery.replay_margin);
        margins.max().unwrap_or_default()
    }

    fn destination_key(&mut self, policy: &str, destination: config::Destination) -> String {
        let name = destination.name.to_string();
        let same_name = self.destinations.iter().find(|known| known.key == name);
        let key = match same_name {
            Some(known) if known.destination == destination => return name,
            Some(_) => format!("{policy}/{name}"),
            None => name,
        };
        let policy = policy.to_owned();
        self.destinations.push(Arc::new(DestinationSettings { key: key.clone(), policy, destination }));
        key
    }
}
