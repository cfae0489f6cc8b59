//! Files that some version of the operator has written or a user may have written: they must stay readable, and mean
//! the same. `NAME.json` is read, `NAME.rendered.json` is what it means with every setting written out. Files are
//! added here, never edited.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::{Path, PathBuf};

use capstan_config::{parse, render};

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/v1")
}

/// Every file to read.
fn inputs() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory()).unwrap().map(|entry| entry.unwrap().path());
    let mut inputs: Vec<PathBuf> =
        entries.filter(|path| !path.to_str().unwrap().ends_with(".rendered.json")).collect();
    inputs.sort();
    inputs
}

#[test]
fn every_golden_file_means_what_it_meant() {
    let inputs = inputs();
    assert!(inputs.len() >= 3, "{inputs:?}");
    for path in inputs {
        let config =
            parse(&std::fs::read(&path).unwrap()).unwrap_or_else(|error| panic!("{path:?}: {error}"));
        let expected = path.with_extension("rendered.json");
        if std::env::var_os("CAPSTAN_ADD_GOLDEN").is_some() && !expected.exists() {
            std::fs::write(&expected, render(&config)).unwrap();
        }
        assert_eq!(render(&config), std::fs::read_to_string(&expected).unwrap(), "{path:?}");
    }
}

#[test]
fn what_is_rendered_means_the_same() {
    for path in inputs() {
        let config = parse(&std::fs::read(&path).unwrap()).unwrap();
        let again = parse(render(&config).as_bytes()).unwrap();
        assert_eq!(again, config, "{path:?}");
        assert_eq!(render(&again), render(&config), "{path:?}");
    }
}

const README: &str = include_str!("../README.md");

#[test]
fn the_examples_of_the_reference_are_fine() {
    let blocks = README.split("```json\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let results: Vec<_> = blocks.map(|text| parse(text.as_bytes())).collect();
    assert_eq!(results.len(), 2);
    for result in results {
        result.unwrap_or_else(|error| panic!("{error}"));
    }
}

#[test]
fn the_reference_has_every_key() {
    let rendered = include_str!("../golden/v1/everything.rendered.json");
    let keys = rendered
        .lines()
        .filter_map(|line| line.trim().strip_prefix('"')?.split_once("\": "))
        .map(|(key, _)| key);
    for key in keys {
        let named = [format!("`{key}"), format!(".{key}`"), format!(".{key}["), format!(".{key}.")];
        assert!(named.iter().any(|text| README.contains(text)), "{key}");
    }
}
