//! Images without a registry or a daemon. In: root directories, Debian packages, this project's programs; out: docker
//! archives, in the cache or in `target/images`.

/// P and E: a root directory as a docker archive, the same bytes for the same files.
pub mod archive;
/// E: test apps from Debian packages.
pub mod apps;
/// E: this project's programs, linked statically.
pub mod project;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tempfile::tempdir;

use self::archive::Settings;
use super::{compile, recipe};

/// The images that a node starts with: the one that holds pods together, and all others that are built already.
pub fn for_the_node() -> Result<Vec<PathBuf>> {
    let mut archives = vec![pause()?];
    archives.extend(project::built());
    archives.extend(apps::built()?);
    Ok(archives)
}

/// The image of the process that holds a pod's namespaces.
fn pause() -> Result<PathBuf> {
    let program = compile::program(&recipe::named("pause", recipe::DEFAULT_KUBERNETES)?)?;
    let name = program.file_name().context("the program has no name")?.to_string_lossy().into_owned();
    compile::cached(&format!("{name}.tar"), |archive| {
        let settings = Settings::of_program("/pause", "65535:65535");
        of_programs(&[(&program, "pause")], "docker.io/capstan-cluster/pause:1", &settings, archive)
    })
}

/// An image of nothing but static programs, each a file and its name at the top of the image.
pub fn of_programs(programs: &[(&Path, &str)], tag: &str, settings: &Settings, archive: &Path) -> Result<()> {
    let root = tempdir()?;
    for (program, name) in programs {
        let copied = fs::copy(program, root.path().join(name));
        copied.with_context(|| format!("cannot copy {}", program.display()))?;
    }
    archive::write(root.path(), tag, settings, archive)
}
