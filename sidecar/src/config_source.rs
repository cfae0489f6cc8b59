//! Reads the configuration: one file, or a directory with one directory per policy.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use capstan_config as config;
use jiff::Timestamp;

use crate::reload::policies::Seen;

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// It cannot be understood.
    #[error("{}: {source}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// What is wrong, field by field.
        source: config::ParseError,
    },
    /// A directory without any policy.
    #[error("{}: no policy in this directory: expected <policy>/{}", .0.display(), config::names::FILE_NAME)]
    Empty(PathBuf),
}

/// What was loaded.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The policies that can be used, at least one.
    pub configs: Vec<config::Config>,
    /// Files of other policies, which cannot.
    pub failed: Vec<(PathBuf, ConfigError)>,
}

/// Loads everything `path` leads to. An error only if no policy can be used.
pub fn load(path: &Path) -> Result<Loaded, ConfigError> {
    let at = |source| ConfigError::Io { path: path.to_owned(), source };
    if std::fs::metadata(path).map_err(at)?.is_file() {
        return Ok(Loaded { configs: vec![load_file(path)?], failed: Vec::new() });
    }
    let mut names: Vec<PathBuf> =
        std::fs::read_dir(path).map_err(at)?.flatten().map(|entry| entry.path()).collect();
    names.sort();
    let mut loaded = Loaded::default();
    for file in names.iter().map(|name| name.join(config::names::FILE_NAME)).filter(|file| file.is_file()) {
        match load_file(&file) {
            Ok(config) => loaded.configs.push(config),
            Err(error) => loaded.failed.push((file, error)),
        }
    }
    if loaded.configs.is_empty() {
        let first = loaded.failed.into_iter().next();
        return Err(first.map_or_else(|| ConfigError::Empty(path.to_owned()), |(_, error)| error));
    }
    Ok(loaded)
}

fn load_file(path: &Path) -> Result<config::Config, ConfigError> {
    let text = std::fs::read(path).map_err(|source| ConfigError::Io { path: path.to_owned(), source })?;
    config::parse(&text).map_err(|source| ConfigError::Parse { path: path.to_owned(), source })
}

/// The files of policies that `path` leads to, sorted: one per directory in it, which is called like the policy, whether
/// or not the file is there yet; or the one file, which says itself what its policy is called.
///
/// # Errors
///
/// `path` cannot be read.
pub fn files(path: &Path) -> Result<Vec<(PathBuf, Option<String>)>, ConfigError> {
    let at = |source| ConfigError::Io { path: path.to_owned(), source };
    if std::fs::metadata(path).map_err(at)?.is_file() {
        return Ok(vec![(path.to_owned(), None)]);
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(at)?.flatten() {
        // What kubelet calls `..` something is its own.
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with("..") && entry.path().is_dir() {
            files.push((entry.path().join(config::names::FILE_NAME), Some(name)));
        }
    }
    files.sort();
    Ok(files)
}

/// By which a file that was replaced or written can be told: kubelet replaces the link that leads to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    dev: u64,
    ino: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
    /// It was written just now, and might be written again without looking different.
    fresh: Option<Timestamp>,
}

/// The stamp of a file at `now`; `None` if there is none.
pub fn stamp(file: &Path, now: Timestamp) -> Option<Stamp> {
    let seen = std::fs::metadata(file).ok()?;
    Some(Stamp {
        dev: seen.dev(),
        ino: seen.ino(),
        size: seen.size(),
        modified: (seen.mtime(), seen.mtime_nsec()),
        changed: (seen.ctime(), seen.ctime_nsec()),
        fresh: (now.as_second() - seen.ctime() < 2).then_some(now),
    })
}

/// What stands at `file`.
pub fn read(file: &Path) -> Seen {
    match std::fs::read(file) {
        Ok(text) => Seen::Text(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Seen::Absent,
        Err(error) => Seen::Unreadable(error.to_string()),
    }
}
