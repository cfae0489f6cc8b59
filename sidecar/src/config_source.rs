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

/// Loads everything `path` leads to. Of several policies, those that can be used are used, and the others are
/// told; an error only if none can.
pub fn load(path: &Path) -> Result<Vec<config::Config>, ConfigError> {
    let at = |source| ConfigError::Io { path: path.to_owned(), source };
    if std::fs::metadata(path).map_err(at)?.is_file() {
        return Ok(vec![load_file(path)?]);
    }
    let mut names: Vec<PathBuf> =
        std::fs::read_dir(path).map_err(at)?.flatten().map(|entry| entry.path()).collect();
    names.sort();
    let (mut configs, mut first_error) = (Vec::new(), None);
    for file in names.iter().map(|name| name.join(config::names::FILE_NAME)).filter(|file| file.is_file()) {
        match load_file(&file) {
            Ok(config) => configs.push(config),
            Err(error) => {
                tracing::error!(%error, "this policy cannot be used");
                first_error.get_or_insert(error);
            }
        }
    }
    match first_error {
        Some(error) if configs.is_empty() => Err(error),
        _ if configs.is_empty() => Err(ConfigError::Empty(path.to_owned())),
        _ => Ok(configs),
    }
}

fn load_file(path: &Path) -> Result<config::Config, ConfigError> {
    let text = std::fs::read(path).map_err(|source| ConfigError::Io { path: path.to_owned(), source })?;
    config::parse(&text).map_err(|source| ConfigError::Parse { path: path.to_owned(), source })
}
