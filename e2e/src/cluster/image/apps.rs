//! Test apps from Debian packages. In: the folders of `e2e/cluster/images`, each with an `image.yaml` and perhaps a
//! `root` to lay over the packages; out: docker archives in the cache, tagged `capstan-test/NAME:1`.
//!
//! Always: an archive is made anew when anything in its folder or the script changes, and not when Debian's packages
//! do: then it is enough to delete it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use tempfile::tempdir;

use super::archive::{self, Settings};
use crate::cluster::progress::say;
use crate::cluster::{compile, layout, recipe};

/// An `image.yaml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Description {
    packages: Vec<String>,
    /// What of the packages is left out, by its path in the image.
    #[serde(default)]
    unwanted: Vec<PathBuf>,
    environment: Vec<String>,
    command: Vec<String>,
    user: String,
}

/// The names of all apps.
pub fn names() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder()).context("cannot list the images of test apps")? {
        let entry = entry?;
        if entry.path().join("image.yaml").exists() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// The archive of one app, built now if it is not there.
pub fn build(name: &str) -> Result<PathBuf> {
    let text = fs::read_to_string(folder().join(name).join("image.yaml"));
    let text = text.with_context(|| format!("there is no app {name} in {}", folder().display()))?;
    let described: Description =
        serde_yaml_ng::from_str(&text).with_context(|| format!("{name}/image.yaml"))?;
    compile::cached(&file_name(name)?, |archive| {
        say(&format!("unpacking Debian packages for the image {name}"));
        make(name, described, archive)
    })
}

/// The archives that are there already.
pub fn built() -> Result<Vec<PathBuf>> {
    let cache = compile::cache()?;
    let mut archives = Vec::new();
    for name in names()? {
        archives.push(cache.join(file_name(&name)?));
    }
    archives.retain(|archive| archive.exists());
    Ok(archives)
}

fn folder() -> PathBuf {
    layout::sources().join("images")
}

fn script() -> PathBuf {
    folder().join("root-of-packages.sh")
}

fn file_name(name: &str) -> Result<String> {
    let mut inputs = vec![("script".to_owned(), fs::read(script())?)];
    read_all(&folder().join(name), &mut inputs)?;
    // What an image says of itself follows from the paths below its own folder, wherever the checkout is.
    let base = folder().join(name).to_string_lossy().into_owned();
    let relative = |path: &str| path.strip_prefix(&base).unwrap_or(path).to_owned();
    let inputs: Vec<(String, Vec<u8>)> =
        inputs.into_iter().map(|(path, bytes)| (relative(&path), bytes)).collect();
    let inputs: Vec<(&str, &[u8])> =
        inputs.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice())).collect();
    Ok(format!("image-{name}-{}.tar", recipe::key(&inputs)))
}

/// Paths and contents of all files below the folder, sorted.
fn read_all(folder: &Path, into: &mut Vec<(String, Vec<u8>)>) -> Result<()> {
    let mut entries = fs::read_dir(folder)?.collect::<std::io::Result<Vec<_>>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        if entry.file_type()?.is_dir() {
            read_all(&entry.path(), into)?;
        } else {
            into.push((entry.path().to_string_lossy().into_owned(), fs::read(entry.path())?));
        }
    }
    Ok(())
}

fn make(name: &str, described: Description, archive: &Path) -> Result<()> {
    let folder_of_root = tempdir()?;
    let root = folder_of_root.path().join("root");
    let unpacked = Command::new(script()).arg(&root).args(&described.packages).output();
    let unpacked = unpacked.with_context(|| format!("cannot run {}", script().display()))?;
    if !unpacked.status.success() {
        let said = String::from_utf8_lossy(&unpacked.stderr);
        bail!("the packages of the image {name} could not be unpacked: {}", said.trim());
    }
    for path in described.unwanted.iter().map(|path| root.join(path)) {
        let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        removed.with_context(|| format!("image {name}: cannot leave out {}", path.display()))?;
    }
    let over = folder().join(name).join("root");
    if over.exists() {
        let copied = Command::new("cp")
            .args(["--recursive", "--no-target-directory"])
            .arg(over)
            .arg(&root)
            .status()?;
        if !copied.success() {
            bail!("the files of the image {name} could not be copied");
        }
    }
    let settings = Settings {
        entrypoint: Vec::new(),
        command: described.command,
        environment: described.environment,
        user: described.user,
    };
    archive::write(&root, &format!("capstan-test/{name}:1"), &settings, archive)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_app_is_described_and_has_a_key_of_its_own() {
        let names = names().unwrap();
        for wanted in ["busybox", "gunicorn", "nginx", "prometheus", "rsyslog"] {
            assert!(names.iter().any(|name| name == wanted), "{wanted}");
        }
        let mut files: Vec<String> = names.iter().map(|name| file_name(name).unwrap()).collect();
        files.dedup();
        assert_eq!(files.len(), names.len());
        for name in names {
            let text = fs::read_to_string(folder().join(&name).join("image.yaml")).unwrap();
            let described: Description = serde_yaml_ng::from_str(&text).unwrap();
            assert_eq!(described.user, "1000:1000", "{name} runs where pods are restricted");
        }
    }
}
