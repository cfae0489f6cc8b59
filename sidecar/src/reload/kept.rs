//! The last good configuration, kept with the state, so that a restart with a file that cannot be used goes on with it.
//!
//! It stands beside the logs that it speaks of, in `.capstan/policy.NAME.json`, and lives and dies with them. Which
//! directories those are is what the configuration would say, so after a restart they are looked for on the volumes that
//! the pod has. Whoever may write there may write the logs, too.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use capstan_config::names::{MAX_FILE_BYTES, STATE_DIRECTORY};

/// How deep below a mount the state is looked for, and in how many directories.
const DEEPEST: usize = 5;
const MOST_DIRECTORIES: usize = 5000;

/// Keeps `text`, the file of `policy`, with the state of the volume at `base`.
///
/// # Errors
///
/// What the kernel said; what was kept before is whole then.
pub fn keep(base: &Path, policy: &str, text: &[u8]) -> io::Result<()> {
    let file = file(base, policy);
    if fs::read(&file).is_ok_and(|known| known == text) {
        return Ok(());
    }
    let aside = file.with_extension("json.new");
    let options = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).to_owned();
    let mut writer = options.open(&aside)?;
    writer.write_all(text)?;
    writer.sync_all()?;
    fs::rename(&aside, &file)
}

/// What was kept last of `policy` on the volumes mounted at `mounts`.
pub fn find<'a>(mounts: impl IntoIterator<Item = &'a Path>, policy: &str) -> Option<Vec<u8>> {
    let kept = bases(mounts).into_iter().filter_map(|base| {
        let file = file(&base, policy);
        let metadata = fs::symlink_metadata(&file).ok().filter(fs::Metadata::is_file)?;
        Some((metadata.modified().ok()?, file))
    });
    let (_, newest): (SystemTime, PathBuf) = kept.max()?;
    fs::read(newest).ok().filter(|text| text.len() <= MAX_FILE_BYTES)
}

/// The directories on these volumes that have state.
pub fn bases<'a>(mounts: impl IntoIterator<Item = &'a Path>) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut left = MOST_DIRECTORIES;
    for mount in mounts {
        search(mount, DEEPEST, &mut left, &mut found);
    }
    found
}

fn search(directory: &Path, depth: usize, left: &mut usize, found: &mut Vec<PathBuf>) {
    if directory.join(STATE_DIRECTORY).is_dir() {
        found.push(directory.to_owned());
    }
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        // Links are not followed: they may lead anywhere.
        let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if is_directory && entry.file_name() != STATE_DIRECTORY && depth > 0 && *left > 0 {
            *left -= 1;
            search(&entry.path(), depth - 1, left, found);
        }
    }
}

fn file(base: &Path, policy: &str) -> PathBuf {
    base.join(STATE_DIRECTORY).join(format!("policy.{policy}.json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_of_a_policy_is_found_wherever_it_stands() {
        let root = tempfile::tempdir().unwrap();
        let (old, new) = (root.path().join("a"), root.path().join("b/c"));
        for base in [&old, &new] {
            fs::create_dir_all(base.join(STATE_DIRECTORY)).unwrap();
        }
        keep(&old, "web", b"old").unwrap();
        let before = SystemTime::now() - std::time::Duration::from_secs(60);
        fs::File::open(file(&old, "web")).unwrap().set_modified(before).unwrap();
        keep(&new, "web", b"new").unwrap();
        keep(&new, "audit", b"other").unwrap();
        assert_eq!(find([root.path()], "web").as_deref(), Some(&b"new"[..]));
        assert_eq!(find([old.as_path()], "web").as_deref(), Some(&b"old"[..]));
        assert_eq!(find([old.as_path()], "audit"), None);
        let mut found = bases([root.path()]);
        found.sort();
        assert_eq!(found, [old, new]);
    }
}
