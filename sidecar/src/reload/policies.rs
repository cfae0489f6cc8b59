//! What is known of each policy: the configuration that is in effect, and what is wrong with its file now.
//!
//! In comes what stands where a policy's file should be, out comes whether the configuration changed. What always holds:
//! a file that cannot be used or is gone takes nothing away; only a file that can be used puts another configuration in
//! its place.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use capstan_config::{Config, ConfigHash, ConfigHashes, parse};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What stands where a policy's file should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// A file with this content.
    Text(Vec<u8>),
    /// Nothing.
    Absent,
    /// A file that cannot be read, and why.
    Unreadable(String),
}

/// What a look at a policy came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Took {
    /// Nothing new.
    Nothing,
    /// Another configuration is in effect.
    Changed,
    /// The file cannot be used, which is news.
    Failed,
}

/// A configuration in effect.
#[derive(Clone, Debug)]
pub struct Good {
    /// The configuration.
    pub config: Config,
    /// The file's content.
    pub text: Vec<u8>,
    hash: ConfigHash,
    loaded_at: Timestamp,
}

/// One policy.
#[derive(Clone, Debug, Default)]
struct Policy {
    name: String,
    /// Whether that is its name, whatever the file says.
    is_named: bool,
    good: Option<Good>,
    error: Option<String>,
}

/// What `/status` says of a policy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PolicyStatus {
    /// The hash of the file that is in effect.
    pub hash: Option<String>,
    /// The hash of the file that should be.
    pub expected: Option<String>,
    /// When it came into effect (RFC 3339).
    pub loaded_at: Option<String>,
    /// What is wrong with the file as it is now.
    pub error: Option<String>,
}

/// All policies, by the paths of their files.
#[derive(Debug, Default)]
pub struct Policies(BTreeMap<PathBuf, Policy>);

impl Policies {
    /// Takes notice of a file; without `name`, it names its policy itself. `stored` finds what was in effect before a restart; it is asked only if the file is there
    /// and cannot be used, and nothing is in effect.
    pub fn see(
        &mut self,
        (file, name): (&Path, Option<&str>),
        seen: Seen,
        now: Timestamp,
        stored: impl FnOnce(&str) -> Option<Vec<u8>>,
    ) -> Took {
        let policy = self.0.entry(file.to_owned()).or_default();
        if let Some(name) = name {
            (policy.name, policy.is_named) = (name.to_owned(), true);
        } else if policy.name.is_empty() {
            policy.name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        }
        let error = match seen {
            Seen::Text(text) => match parse(&text) {
                Ok(config) => return policy.take(config, text, now),
                Err(error) => error.to_string(),
            },
            Seen::Unreadable(error) => error,
            Seen::Absent => {
                let end = if policy.good.is_some() { "gone" } else { "not there yet" };
                return policy.fail(format!("{}: {end}", file.display()));
            }
        };
        let took = policy.fail(format!("{}: {error}", file.display()));
        if policy.good.is_none()
            && let Some((config, text)) =
                stored(&policy.name).and_then(|text| Some((parse(&text).ok()?, text)))
        {
            policy.good = Some(Good { config, hash: ConfigHash::of(&text), text, loaded_at: now });
            return Took::Changed;
        }
        took
    }

    /// The files that were seen so far.
    pub fn files(&self) -> Vec<PathBuf> {
        self.0.keys().cloned().collect()
    }

    /// What is in effect, by policy.
    pub fn good(&self) -> impl Iterator<Item = (&str, &Good)> {
        self.0.values().filter_map(|policy| Some((policy.name.as_str(), policy.good.as_ref()?)))
    }

    /// What is wrong, in sentences.
    pub fn problems(&self) -> Vec<String> {
        let any = self.good().next().is_some();
        let wrong = self.0.values().filter_map(|policy| Some((policy, policy.error.as_ref()?)));
        wrong
            .map(|(policy, error)| match (&policy.good, any) {
                (Some(_), _) => {
                    format!("policy {}: the last good configuration goes on; {error}", policy.name)
                }
                (None, true) => format!("this policy cannot be used: {error}"),
                (None, false) => format!("the configuration cannot be used: {error}"),
            })
            .collect()
    }

    /// The state of every policy, and of those that should be there.
    pub fn statuses(&self, expected: &ConfigHashes) -> BTreeMap<String, PolicyStatus> {
        let known = self.0.values().map(|policy| (policy.name.clone(), policy.status()));
        let mut statuses: BTreeMap<String, PolicyStatus> = known.collect();
        for (name, hash) in &expected.0 {
            let missing = || PolicyStatus {
                error: Some("no directory of this policy is mounted".to_owned()),
                ..PolicyStatus::default()
            };
            statuses.entry(name.to_string()).or_insert_with(missing).expected = Some(hash.to_string());
        }
        statuses
    }
}

impl Policy {
    fn take(&mut self, config: Config, text: Vec<u8>, now: Timestamp) -> Took {
        self.error = None;
        let hash = ConfigHash::of(&text);
        let same = self.good.as_ref().is_some_and(|good| good.text == text);
        if same {
            return Took::Nothing;
        }
        if !self.is_named {
            self.name = config.policy.to_string();
        }
        self.good = Some(Good { config, text, hash, loaded_at: now });
        Took::Changed
    }

    fn fail(&mut self, error: String) -> Took {
        let known = self.error.as_ref() == Some(&error);
        self.error = Some(error);
        if known { Took::Nothing } else { Took::Failed }
    }

    fn status(&self) -> PolicyStatus {
        let good = self.good.as_ref();
        PolicyStatus {
            hash: good.map(|good| good.hash.to_string()),
            expected: None,
            loaded_at: good.map(|good| good.loaded_at.to_string()),
            error: self.error.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(include: &str) -> Seen {
        let text = format!(
            r#"{{"version": 1, "policy": "web", "logs": [{{"name": "a", "files": {{"include": ["{include}"]}},
               "rotate": {{"when": {{"size": 1}}, "reopen": {{"none": {{}}}}, "retention": {{"count": 1}}}}}}]}}"#
        );
        Seen::Text(text.into_bytes())
    }

    fn stored(include: &str) -> Option<Vec<u8>> {
        match text(include) {
            Seen::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Takes steps with the file of policy `web`; after each, what came of it and which file is in effect.
    fn check(kept: Option<&str>, steps: &[(Seen, Took, Option<&str>, Option<&str>)]) {
        let mut policies = Policies::default();
        for (seen, took, include, error) in steps {
            let found = policies.see(
                (Path::new("/p/web/c"), Some("web")),
                seen.clone(),
                Timestamp::UNIX_EPOCH,
                |name| kept.filter(|_| name == "web").and_then(stored),
            );
            assert_eq!(found, *took, "{seen:?}");
            let good =
                policies.good().next().map(|(_, good)| good.config.logs[0].files.include[0].to_string());
            assert_eq!(good.as_deref(), *include, "{seen:?}");
            let status = &policies.statuses(&ConfigHashes::default())["web"];
            assert_eq!(status.error.as_deref(), *error, "{seen:?}");
            assert_eq!(status.hash.is_some(), good.is_some());
        }
    }

    const TORN: &str = "/p/web/c: the file ends in the middle, at line 1 column 1";

    fn torn() -> Seen {
        Seen::Text(b"{".to_vec())
    }

    #[test]
    fn what_cannot_be_used_takes_nothing_away() {
        let newer = Seen::Text(br#"{"version": 2}"#.to_vec());
        let version = "/p/web/c: version: 2 is not known to this sidecar, which reads version 1";
        check(
            None,
            &[
                (Seen::Absent, Took::Failed, None, Some("/p/web/c: not there yet")),
                (Seen::Absent, Took::Nothing, None, Some("/p/web/c: not there yet")),
                (text("/a"), Took::Changed, Some("/a"), None),
                (text("/a"), Took::Nothing, Some("/a"), None),
                (torn(), Took::Failed, Some("/a"), Some(TORN)),
                (newer, Took::Failed, Some("/a"), Some(version)),
                (Seen::Absent, Took::Failed, Some("/a"), Some("/p/web/c: gone")),
                (text("/a"), Took::Nothing, Some("/a"), None),
                (text("/b"), Took::Changed, Some("/b"), None),
            ],
        );
    }

    #[test]
    fn what_was_stored_is_used_for_a_file_that_is_there_and_for_no_other() {
        check(
            Some("/kept"),
            &[
                (Seen::Absent, Took::Failed, None, Some("/p/web/c: not there yet")),
                (torn(), Took::Changed, Some("/kept"), Some(TORN)),
                (torn(), Took::Nothing, Some("/kept"), Some(TORN)),
                (text("/a"), Took::Changed, Some("/a"), None),
            ],
        );
        check(None, &[(torn(), Took::Failed, None, Some(TORN))]);
    }

    #[test]
    fn a_file_by_itself_says_which_policy_it_is() {
        let mut policies = Policies::default();
        let mut see = |seen| {
            policies.see((Path::new("/etc/logs.json"), None), seen, Timestamp::UNIX_EPOCH, |_| None);
            policies.statuses(&ConfigHashes::default()).into_keys().collect::<Vec<_>>()
        };
        assert_eq!(see(torn()), ["logs"]);
        assert_eq!(see(text("/a")), ["web"]);
        assert_eq!(see(torn()), ["web"]);
    }

    #[test]
    fn an_expected_policy_that_is_not_mounted_is_told() {
        let statuses = Policies::default().statuses(&"audit=0123456789abcdef".parse().unwrap());
        let audit = &statuses["audit"];
        assert_eq!(audit.expected.as_deref(), Some("0123456789abcdef"));
        assert_eq!(audit.error.as_deref(), Some("no directory of this policy is mounted"));
    }
}
