//! Reads the configuration: one file, or a directory with one directory per policy.

use std::io;
use std::path::{Path, PathBuf};

use capstan_config as config;

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
