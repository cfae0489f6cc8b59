//! Walks the directories of the configured patterns.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::rotate::naming::is_reserved;
use crate::settings::LogSettings;

/// How deep `**` reaches.
const DEEPEST: usize = 16;

/// What a walk found.
#[derive(Debug, Default)]
pub struct Found {
    /// Wanted files by path, with the directory they are counted from and the log that owns them.
    pub files: BTreeMap<PathBuf, (PathBuf, Arc<LogSettings>)>,
    /// Directories walked: where names may come and go.
    pub directories: Vec<PathBuf>,
    /// Names that are no UTF-8, and are left alone.
    pub unreadable_names: u64,
}

/// Walks everything. The first log that wants a file owns it.
pub fn discover(logs: &[Arc<LogSettings>]) -> Found {
    let mut found = Found::default();
    for log in logs {
        for pattern in &log.log.files.include {
            let base = pattern.base();
            walk(base, base, log, &mut found, depth_of(pattern.text(), base));
        }
    }
    found.directories.sort();
    found.directories.dedup();
    found
}

/// How many directories below its base a pattern can reach.
fn depth_of(pattern: &str, base: &Path) -> usize {
    if pattern.contains("**") {
        return DEEPEST;
    }
    Path::new(pattern).components().count().saturating_sub(base.components().count())
}

fn walk(base: &Path, directory: &Path, log: &Arc<LogSettings>, found: &mut Found, depth: usize) {
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    found.directories.push(directory.to_owned());
    for entry in entries.flatten() {
        let (name, path) = (entry.file_name(), entry.path());
        // Archives, the state directory and what is being compressed are never logs.
        if is_reserved(&name) || name == OsStr::new(capstan_config::names::STATE_DIRECTORY) {
            continue;
        }
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() && depth > 1 {
            walk(base, &path, log, found, depth - 1);
        }
        // Patterns fit directories by the way; one that is named is a mistake to be told.
        if (!kind.is_dir() && log.wants(&path)) || (kind.is_dir() && log.names(&path)) {
            // Whether it is a plain file is seen when it is opened, where a refusal has its reason.
            match path.to_str() {
                Some(_) => {
                    found.files.entry(path).or_insert_with(|| (base.to_owned(), log.clone()));
                }
                None => found.unreadable_names += 1,
            }
        }
    }
}
