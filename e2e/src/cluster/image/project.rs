//! This project's programs, linked statically. In: names of images and a profile of cargo; out: docker archives in
//! `target/images`, tagged with the project's version, on an empty base and for an ordinary user.
//!
//! Only the last step, linking, is different from any other build: glibc is linked statically, and everything that
//! was compiled before is used again.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::archive::Settings;
use crate::cluster::layout;
use crate::cluster::progress::say;

/// An image: what it is called, what package it comes from, and its programs, the first of which is run.
struct Image {
    name: &'static str,
    package: &'static str,
    programs: &'static [&'static str],
}

const IMAGES: [Image; 3] = [
    Image { name: "capstan-sidecar", package: "capstan-sidecar", programs: &["capstan-sidecar"] },
    Image { name: "capstan-operator", package: "capstan-operator", programs: &["capstan-operator"] },
    Image { name: "capstan-peers", package: "capstan-peers", programs: &["collector", "log-writer"] },
];

/// Whom the programs run as, if a pod does not say otherwise.
const USER: &str = "65532:65532";

/// Builds one image. Gives its archive.
pub fn build(name: &str, profile: &str) -> Result<PathBuf> {
    let known: Vec<&str> = IMAGES.iter().map(|image| image.name).collect();
    let image = IMAGES.iter().find(|image| image.name == name);
    let image = image.with_context(|| format!("there is no image {name}, only {}", known.join(", ")))?;
    let target = target();
    fs::create_dir_all(target.join("images"))?;
    for program in image.programs {
        link(image.package, program, profile)?;
    }
    let paths: Vec<PathBuf> =
        image.programs.iter().map(|program| target.join(profile).join(program)).collect();
    for path in &paths {
        check_static(path)?;
    }
    let programs: Vec<(&Path, &str)> =
        paths.iter().map(PathBuf::as_path).zip(image.programs.iter().copied()).collect();
    let tag = format!("{name}:{}", env!("CARGO_PKG_VERSION"));
    let archive = target.join("images").join(format!("{name}.tar"));
    let settings = Settings::of_program(&format!("/{}", image.programs[0]), USER);
    super::of_programs(&programs, &tag, &settings, &archive)?;
    say(&format!(
        "{tag}: {:.1} MiB, {}",
        fs::metadata(&archive)?.len() as f64 / 1_048_576.0,
        archive.display()
    ));
    Ok(archive)
}

/// The archives that are there already.
pub fn built() -> Vec<PathBuf> {
    let paths = IMAGES.iter().map(|image| target().join("images").join(format!("{}.tar", image.name)));
    paths.filter(|path| path.exists()).collect()
}

fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| layout::checkout().join("target"), PathBuf::from)
}

fn link(package: &str, program: &str, profile: &str) -> Result<()> {
    let mut cargo = Command::new("cargo");
    cargo.current_dir(layout::checkout()).args(["rustc", "--quiet", "--package", package, "--bin", program]);
    cargo.args(["--profile", profile, "--", "-C", "target-feature=+crt-static", "-C", "strip=symbols"]);
    if !cargo.status().context("cannot run cargo")?.success() {
        bail!("{program} did not compile");
    }
    Ok(())
}

/// A program that names an interpreter would not start on an empty base.
fn check_static(program: &Path) -> Result<()> {
    let bytes = fs::read(program).with_context(|| format!("cannot read {}", program.display()))?;
    let interpreter = b"/ld-linux";
    // Only the beginning counts: further in, the string is glibc's own.
    let head = &bytes[..bytes.len().min(4096)];
    if head.windows(interpreter.len()).any(|window| window == interpreter) {
        bail!("{} is linked dynamically", program.display());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_needs_a_loader_is_told_from_one_that_does_not() {
        // This test itself is linked like any program of the machine.
        let this = std::env::current_exe().unwrap();
        assert!(check_static(&this).unwrap_err().to_string().contains("dynamically"));
        let folder = tempfile::tempdir().unwrap();
        let other = folder.path().join("program");
        fs::write(&other, b"\x7fELF and no interpreter").unwrap();
        check_static(&other).unwrap();
    }

    #[test]
    fn an_unknown_image_names_those_there_are() {
        let error = build("capstan", "release").unwrap_err().to_string();
        assert!(error.contains("capstan-peers"), "{error}");
    }
}
