//! What the tests of each package hold its sources against. In: the package's folder; out: what is not as the house
//! has it, one complaint per fault.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What a pure module does without: files, sockets, runtimes, clients, and clocks of its own.
const IMPURE: [&str; 11] = [
    "std::fs",
    "std::process",
    "std::thread",
    "std::net::Tcp",
    "std::net::Udp",
    "tokio::",
    "hyper::",
    "rustix::fs",
    "Instant::now",
    "SystemTime",
    "Timestamp::now",
];

/// Above this many lines without tests, a file is likely to be more than one thing.
const LONGEST: usize = 320;

/// A source file, its tests left out.
struct Source {
    path: PathBuf,
    text: String,
}

/// All that is wrong with the sources of a package: impure modules that their folder marks `// P`, files without a
/// header or too long to be read, and unsafe code in any file but those named.
///
/// `also_impure` are further words that its pure modules do without.
///
/// # Errors
///
/// The sources cannot be read, or there are none, or none is marked: then nothing was looked at.
pub fn complaints(package: &Path, also_impure: &[&str], may_be_unsafe: &[&str]) -> io::Result<Vec<String>> {
    let sources = sources(&package.join("src"))?;
    let pure: Vec<PathBuf> = sources.iter().flat_map(pure_modules).collect();
    if pure.is_empty() {
        return Err(io::Error::other(format!("no module is marked pure in {}", package.display())));
    }
    let mut complaints = Vec::new();
    for path in &pure {
        match sources.iter().find(|source| source.path == *path) {
            Some(source) => complaints.extend(impurities(source, also_impure)),
            None => complaints.push(format!("{} is marked pure and is not there", path.display())),
        }
    }
    for source in &sources {
        complaints.extend(untidiness(source));
        let named = may_be_unsafe.iter().any(|name| source.path.ends_with(name));
        if !named && source.code().contains("unsafe ") {
            complaints.push(format!("{} has unsafe code", source.path.display()));
        }
    }
    Ok(complaints)
}

impl Source {
    fn read(path: PathBuf) -> io::Result<Source> {
        let text = fs::read_to_string(&path)?;
        let text = text.split("\n#[cfg(test)]").next().unwrap_or_default().to_owned();
        Ok(Source { path, text })
    }

    /// Without comments.
    fn code(&self) -> String {
        let lines = self.text.lines().filter(|line| !line.trim_start().starts_with("//"));
        lines.collect::<Vec<_>>().join("\n")
    }
}

fn sources(folder: &Path) -> io::Result<Vec<Source>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            found.append(&mut sources(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(Source::read(path)?);
        }
    }
    Ok(found)
}

/// The files of the modules that this one declares and marks.
fn pure_modules(parent: &Source) -> Vec<PathBuf> {
    let folder = if parent.path.ends_with("lib.rs") {
        parent.path.with_file_name("")
    } else {
        parent.path.with_extension("")
    };
    let declared = parent.text.lines().filter_map(|line| line.split_once("; // "));
    let marked = declared.filter(|(_, mark)| *mark == "P" || mark.starts_with("P "));
    let names = marked.filter_map(|(declaration, _)| declaration.strip_prefix("pub mod "));
    names.map(|name| folder.join(format!("{name}.rs"))).collect()
}

fn impurities(source: &Source, also: &[&str]) -> Vec<String> {
    let code = source.code();
    let found = IMPURE.iter().chain(also).filter(|word| code.contains(**word));
    found.map(|word| format!("{} is marked pure and uses {word}", source.path.display())).collect()
}

fn untidiness(source: &Source) -> Vec<String> {
    let mut complaints = Vec::new();
    let path = source.path.display();
    if !source.text.starts_with("//! ") {
        complaints.push(format!("{path} has no header"));
    }
    let lines = source.text.lines().count();
    if lines > LONGEST {
        complaints.push(format!("{path} has {lines} lines without its tests"));
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaints_about(files: &[(&str, &str)]) -> io::Result<Vec<String>> {
        let package = tempfile::tempdir()?;
        for (name, text) in files {
            let path = package.path().join("src").join(name);
            fs::create_dir_all(path.parent().unwrap())?;
            fs::write(path, text)?;
        }
        complaints(package.path(), &["Client::"], &["sys.rs"])
    }

    #[test]
    fn what_is_marked_pure_is_held_to_it_wherever_it_is() {
        let lib = ("lib.rs", "//! A library.\npub mod plan; // P\npub mod act; // E\n");
        let act = ("act.rs", "//! Acts.\nuse std::fs;\n");
        let nested = ("plan.rs", "//! Plans.\npub mod due; // P when is it\n");
        let due =
            ("plan/due.rs", "//! Due.\n// std::fs in a comment\nfn f() {}\n#[cfg(test)]\nuse std::fs;\n");
        assert!(complaints_about(&[lib, act, nested, due]).unwrap().is_empty());
        let due = ("plan/due.rs", "//! Due.\nfn f() { Client::new(std::thread::current()) }\n");
        let found = complaints_about(&[lib, act, nested, due]).unwrap();
        assert_eq!(found.len(), 2, "{found:?}");
        let found = complaints_about(&[lib, act, nested]).unwrap();
        assert!(found[0].contains("due.rs is marked pure and is not there"), "{found:?}");
    }

    #[test]
    fn headers_lengths_and_unsafe_code_are_looked_at() {
        let lib = ("lib.rs", "//! A library.\npub mod plan; // P\n");
        let plan = ("plan.rs", "fn f() { unsafe {} }\n");
        let found = complaints_about(&[lib, plan]).unwrap();
        assert!(found[0].ends_with("has no header") && found[1].ends_with("unsafe code"), "{found:?}");
        let long = format!("//! Long.\n{}", "\n".repeat(LONGEST));
        let sys = ("sys.rs", "//! Calls.\nfn f() { unsafe {} }\n");
        let found = complaints_about(&[lib, ("plan.rs", &long), sys]).unwrap();
        assert!(found.len() == 1 && found[0].contains("lines without its tests"), "{found:?}");
    }

    #[test]
    fn a_package_without_marks_is_not_found_tidy() {
        assert!(complaints_about(&[("lib.rs", "//! A library.\n")]).is_err());
    }
}
