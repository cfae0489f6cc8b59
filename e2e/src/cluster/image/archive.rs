//! A root directory as a docker archive, the same bytes for the same files. In: a directory, a tag and how to run it;
//! out: one file that `ctr images import`, `docker load` and `kind load image-archive` read.
//!
//! Always: entries are sorted and have no time, so the digest depends on names, modes, owners and contents alone.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tar::{Builder, EntryType, Header};

use crate::cluster::recipe::{hex, hex_digest};

/// How a container of the image is run, as the OCI image specification calls it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// What is run.
    pub entrypoint: Vec<String>,
    /// Its arguments, which a container may replace.
    pub command: Vec<String>,
    /// `NAME=value`.
    pub environment: Vec<String>,
    /// Numbers of user and group.
    pub user: String,
}

impl Settings {
    /// Runs one program as the user.
    pub fn of_program(path: &str, user: &str) -> Settings {
        Settings { entrypoint: vec![path.to_owned()], user: user.to_owned(), ..Settings::default() }
    }
}

/// Writes the archive.
pub fn write(root: &Path, tag: &str, settings: &Settings, archive: &Path) -> Result<()> {
    let layer = PathBuf::from(format!("{}.layer", archive.display()));
    let digest = write_layer(root, &layer).with_context(|| format!("cannot pack {}", root.display()));
    let written = digest.and_then(|digest| write_archive(&layer, &digest, tag, settings, archive));
    if layer.exists() {
        fs::remove_file(&layer)?;
    }
    written
}

/// Packs the directory, and gives the digest of the pack.
fn write_layer(root: &Path, layer: &Path) -> Result<String> {
    let hashing = Hashing { inner: BufWriter::new(File::create(layer)?), context: context() };
    let mut pack = Builder::new(hashing);
    for path in walk(root)? {
        append(&mut pack, root, &path).with_context(|| format!("cannot pack {}", path.display()))?;
    }
    let mut hashing = pack.into_inner()?;
    hashing.flush()?;
    Ok(hex(hashing.context.finish().as_ref()))
}

/// All below the directory, sorted by path, each directory before what is in it.
fn walk(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut entries = fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(|entry| entry.file_name());
    let mut all = Vec::new();
    for entry in entries {
        all.push(entry.path());
        if entry.file_type()?.is_dir() {
            all.extend(walk(&entry.path())?);
        }
    }
    Ok(all)
}

fn append(pack: &mut Builder<impl Write>, root: &Path, path: &Path) -> Result<()> {
    let name = path.strip_prefix(root)?;
    let metadata = fs::symlink_metadata(path)?;
    let kind = metadata.file_type();
    let mut header = Header::new_gnu();
    header.set_mode(metadata.mode() & 0o7777);
    header.set_uid(u64::from(metadata.uid()));
    header.set_gid(u64::from(metadata.gid()));
    header.set_mtime(0);
    header.set_size(0);
    if kind.is_dir() {
        header.set_entry_type(EntryType::Directory);
        pack.append_data(&mut header, name, io::empty())?;
    } else if kind.is_symlink() {
        header.set_entry_type(EntryType::Symlink);
        pack.append_link(&mut header, name, fs::read_link(path)?)?;
    } else if kind.is_file() {
        header.set_size(metadata.len());
        pack.append_data(&mut header, name, BufReader::new(File::open(path)?))?;
    } else {
        // Sockets, pipes and devices are the runtime's to make.
        debug_assert!(kind.is_socket() || kind.is_fifo() || kind.is_char_device() || kind.is_block_device());
    }
    Ok(())
}

fn write_archive(layer: &Path, digest: &str, tag: &str, settings: &Settings, archive: &Path) -> Result<()> {
    let config = config(digest, settings).to_string();
    let config_name = format!("{}.json", hex_digest(config.as_bytes()));
    let manifest = json!([{ "Config": config_name, "RepoTags": [tag], "Layers": ["layer.tar"] }]).to_string();

    let mut pack = Builder::new(BufWriter::new(File::create(archive)?));
    for (name, content) in [("manifest.json", &manifest), (config_name.as_str(), &config)] {
        pack.append_data(&mut plain(content.len() as u64), name, content.as_bytes())?;
    }
    let file = File::open(layer)?;
    pack.append_data(&mut plain(file.metadata()?.len()), "layer.tar", BufReader::new(file))?;
    Ok(pack.into_inner()?.flush()?)
}

fn plain(size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_mode(0o644);
    header.set_size(size);
    header
}

fn config(digest: &str, settings: &Settings) -> Value {
    let never = "1970-01-01T00:00:00Z";
    json!({
        "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
        "os": "linux",
        "created": never,
        "config": {
            "Entrypoint": settings.entrypoint,
            "Cmd": settings.command,
            "Env": settings.environment,
            "User": settings.user,
        },
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{digest}")] },
        "history": [{ "created": never }],
    })
}

fn context() -> ring::digest::Context {
    ring::digest::Context::new(&ring::digest::SHA256)
}

/// Writes on, and takes the digest of what passes.
struct Hashing<W> {
    inner: W,
    context: ring::digest::Context,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.context.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    /// The same files, made in the order given.
    fn root(names: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for name in names {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, name).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        symlink("app", root.path().join("link")).unwrap();
        root
    }

    fn pack(root: &Path) -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        let archive = folder.path().join("image.tar");
        write(root, "some/image:1", &Settings::of_program("/app", "65532"), &archive).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "the layer is not left behind");
        fs::read(&archive).unwrap()
    }

    #[test]
    fn the_same_files_give_the_same_bytes_whenever_and_in_whatever_order_they_were_made() {
        let one = root(&["app", "etc/b", "etc/a"]);
        let other = root(&["etc/a", "etc/b", "app"]);
        let late = std::time::SystemTime::now() + std::time::Duration::from_secs(1000);
        File::open(other.path().join("app")).unwrap().set_modified(late).unwrap();
        assert_eq!(pack(one.path()), pack(other.path()));
        fs::write(other.path().join("app"), "changed").unwrap();
        assert_ne!(pack(one.path()), pack(other.path()));
    }

    #[test]
    fn the_configuration_names_the_layers_digest_and_the_manifest_names_the_configuration() {
        let bytes = pack(root(&["app"]).path());
        let mut archive = tar::Archive::new(bytes.as_slice());
        let mut found = std::collections::BTreeMap::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let name = entry.path().unwrap().to_string_lossy().into_owned();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            found.insert(name, content);
        }
        let manifest: Value = serde_json::from_slice(&found["manifest.json"]).unwrap();
        let config: Value = serde_json::from_slice(&found[manifest[0]["Config"].as_str().unwrap()]).unwrap();
        let digest = crate::cluster::recipe::hex_digest(&found["layer.tar"]);
        assert_eq!(config["rootfs"]["diff_ids"][0], format!("sha256:{digest}"));
        assert_eq!(config["config"]["User"], "65532");
        assert_eq!(manifest[0]["RepoTags"][0], "some/image:1");
    }
}
