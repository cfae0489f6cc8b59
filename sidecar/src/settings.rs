//! What the program works with, derived once from the configuration files: one [`LogSettings`] per log and one
//! [`DestinationSettings`] per destination, shared by everybody who needs them.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use capstan_config as config;

/// One log of one policy.
#[derive(Debug, PartialEq)]
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
#[derive(Debug, PartialEq)]
pub struct DestinationSettings {
    /// Unique within this sidecar: the destination's name, which is one per namespace.
    pub key: String,
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
    /// The log that owns the file at `path`, as seen from the volume at `base`: the first that wants it, if the first
    /// of its patterns that matches starts from there.
    pub fn owner(&self, base: &Path, path: &Path) -> Option<Arc<LogSettings>> {
        let log = self.logs.iter().find(|log| log.wants(path))?;
        let pattern = log.log.files.include.iter().find(|pattern| pattern.matches(path))?;
        (pattern.base() == base).then(|| log.clone())
    }

    /// These settings, in which everything that is equal to what `before` had is the very same value: what did not
    /// change can be told by its address, and those who hold it need not be told.
    pub fn keeping(mut self, before: &Settings) -> Settings {
        for log in &mut self.logs {
            if let Some(same) = before.logs.iter().find(|known| *known == log) {
                *log = same.clone();
            }
        }
        for destination in &mut self.destinations {
            if let Some(same) = before.destinations.iter().find(|known| *known == destination) {
                *destination = same.clone();
            }
        }
        self
    }

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
        self.destinations.push(Arc::new(DestinationSettings { key: key.clone(), destination }));
        key
    }
}

/// What differs between two settings, by full names of logs and keys of destinations.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Logs.
    pub logs: Difference,
    /// Destinations.
    pub destinations: Difference,
}

/// Names that came, went, or mean something else.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// New ones.
    pub added: Vec<String>,
    /// Ones that are gone.
    pub removed: Vec<String>,
    /// Ones whose settings differ.
    pub changed: Vec<String>,
}

/// Compares two settings.
pub fn diff(old: &Settings, new: &Settings) -> Change {
    Change {
        logs: difference(&old.logs, &new.logs, |log| log.full_name()),
        destinations: difference(&old.destinations, &new.destinations, |to| to.key.clone()),
    }
}

fn difference<T: PartialEq>(old: &[Arc<T>], new: &[Arc<T>], name: impl Fn(&T) -> String) -> Difference {
    let find = |all: &[Arc<T>], wanted: &T| all.iter().find(|one| name(one) == name(wanted)).cloned();
    let mut difference = Difference::default();
    for one in new {
        match find(old, one) {
            None => difference.added.push(name(one)),
            Some(before) if before != *one => difference.changed.push(name(one)),
            Some(_) => {}
        }
    }
    difference.removed = old.iter().filter(|one| find(new, one).is_none()).map(|one| name(one)).collect();
    difference
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(logs: &[(&str, &str, &str)], ports: &[(&str, u16)]) -> Settings {
        let logs: Vec<_> = logs
            .iter()
            .map(|(name, include, to)| {
                serde_json::json!({"name": name, "files": {"include": [include]},
                                   "forward": {"destinations": [{"name": to}]}})
            })
            .collect();
        let destinations: Vec<_> = ports
            .iter()
            .map(|(name, port)| {
                serde_json::json!({"name": name, "syslog": {"endpoints": [{"host": "x.example", "port": port}]}})
            })
            .collect();
        let file =
            serde_json::json!({"version": 1, "policy": "web", "logs": logs, "destinations": destinations});
        Settings::from_configs(vec![config::parse(file.to_string().as_bytes()).unwrap()])
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn what_is_equal_is_the_same_value_and_the_rest_is_told() {
        let old =
            settings(&[("a", "/a/*", "x"), ("b", "/b/*", "x"), ("c", "/c/*", "y")], &[("x", 1), ("y", 2)]);
        let new =
            settings(&[("d", "/d/*", "x"), ("b", "/e/*", "x"), ("c", "/c/*", "y")], &[("x", 1), ("y", 3)]);
        let new = new.keeping(&old);
        let change = diff(&old, &new);
        let logs =
            Difference { added: names(&["web/d"]), removed: names(&["web/a"]), changed: names(&["web/b"]) };
        let destinations = Difference { changed: names(&["y"]), ..Difference::default() };
        assert_eq!(change, Change { logs, destinations });
        assert!(Arc::ptr_eq(&old.logs[2], &new.logs[2]) && !Arc::ptr_eq(&old.logs[1], &new.logs[1]));
        assert!(Arc::ptr_eq(&old.destinations[0], &new.destinations[0]));
        assert_eq!(diff(&new, &new), Change::default());
    }

    #[test]
    fn a_file_belongs_to_the_first_log_that_wants_it_and_to_one_volume() {
        let settings =
            settings(&[("a", "/var/log/app/*.log", "x"), ("b", "/var/**/*.log", "x")], &[("x", 1)]);
        let owner = |base: &str, path: &str| {
            settings.owner(Path::new(base), Path::new(path)).map(|log| log.log.name.to_string())
        };
        assert_eq!(owner("/var/log/app", "/var/log/app/x.log"), Some("a".to_owned()));
        assert_eq!(owner("/var", "/var/log/app/x.log"), None);
        assert_eq!(owner("/var", "/var/log/x.log"), Some("b".to_owned()));
        assert_eq!(owner("/var", "/var/log/x.txt"), None);
    }
}
