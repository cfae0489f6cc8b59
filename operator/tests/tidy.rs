//! Keeps the house as its plan says: what is marked pure stays pure, and files stay small enough to be read.
#![allow(clippy::unwrap_used, reason = "a test ends at the first thing that is not as it should be")]

use std::fs;
use std::path::{Path, PathBuf};

/// What a pure module does without: files, sockets, runtimes, clients, and clocks of its own.
const IMPURE: [&str; 11] = [
    "std::fs",
    "std::net::Tcp",
    "std::process",
    "std::thread",
    "tokio::",
    "hyper::",
    "kube::Client",
    "kube::Api",
    "Instant::now",
    "SystemTime",
    "Timestamp::now",
];

/// Above this many lines without tests, a file is likely to be more than one thing.
const LONGEST: usize = 320;

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn all_sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
    assert!(found.len() > 20, "the sources were not found");
    found
}

fn without_tests(text: &str) -> &str {
    text.split("\n#[cfg(test)]").next().unwrap_or_default()
}

/// The files of all modules that their parent marks with `// P`.
fn pure_modules() -> Vec<PathBuf> {
    let mut pure = Vec::new();
    for parent in all_sources() {
        for line in fs::read_to_string(&parent).unwrap().lines() {
            let Some((declaration, "P")) = line.split_once("; // ") else { continue };
            let Some(name) = declaration.strip_prefix("pub mod ") else { continue };
            let directory = if parent.ends_with("lib.rs") {
                parent.with_file_name("")
            } else {
                parent.with_extension("")
            };
            pure.push(directory.join(format!("{name}.rs")));
        }
    }
    pure
}

#[test]
fn modules_that_are_marked_pure_are_pure() {
    let modules = pure_modules();
    assert!(modules.len() >= 15, "only {} modules are marked", modules.len());
    for module in modules {
        let text = fs::read_to_string(&module).unwrap();
        let code = without_tests(&text).lines().filter(|line| !line.trim_start().starts_with("//"));
        let code = code.collect::<Vec<_>>().join("\n");
        for word in IMPURE {
            assert!(!code.contains(word), "{} is marked pure and uses {word}", module.display());
        }
    }
}

#[test]
fn every_module_says_what_it_is_and_is_short_enough_to_be_read() {
    for path in all_sources() {
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("//! "), "{} has no header", path.display());
        let lines = without_tests(&text).lines().count();
        assert!(lines <= LONGEST, "{} has {lines} lines without its tests", path.display());
    }
}
