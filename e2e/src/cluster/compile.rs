//! The cache, and the compiler. In: a recipe; out: the path of the program, built now or earlier.
//!
//! Always: what stands in the cache is whole, because it gets its name by a rename after the last byte.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::layout;
use super::progress::say;
use super::recipe::{self, Recipe};

/// The folder for what takes long to make: `$XDG_CACHE_HOME/capstan` or `~/.cache/capstan`.
pub fn cache() -> Result<PathBuf> {
    let base = match std::env::var_os("XDG_CACHE_HOME") {
        Some(base) if !base.is_empty() => PathBuf::from(base),
        _ => PathBuf::from(std::env::var_os("HOME").context("neither XDG_CACHE_HOME nor HOME is set")?)
            .join(".cache"),
    };
    let cache = base.join("capstan");
    fs::create_dir_all(&cache).with_context(|| format!("cannot make the cache {}", cache.display()))?;
    Ok(cache)
}

/// Gives the cached file of that name, or lets `make` write it: it is handed a path beside it.
pub fn cached(name: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let path = cache()?.join(name);
    if path.exists() {
        return Ok(path);
    }
    let aside = cache()?.join(format!(".{name}.{}", std::process::id()));
    let made = make(&aside).and_then(|()| fs::rename(&aside, &path).context("cannot rename what was built"));
    if made.is_err() && aside.exists() {
        fs::remove_file(&aside)?;
    }
    made.map(|()| path)
}

/// The program, from the cache or compiled now.
pub fn program(recipe: &Recipe) -> Result<PathBuf> {
    let folder = layout::sources().join("go").join(recipe.module);
    let modfile = read(&folder.join(recipe.modfile))?;
    let version = recipe::version(&modfile, recipe.versioned_by)?;
    let key = key(recipe, &folder, &modfile, &version)?;
    let name = format!("{}-{key}", recipe.name);
    cached(&name, |output| {
        say(&format!("compiling {} {version}, {}", recipe.name, recipe.patience));
        compile(recipe, &folder, &version, output)
    })
}

fn key(recipe: &Recipe, folder: &Path, modfile: &str, version: &str) -> Result<String> {
    let sums = recipe.modfile.replace(".mod", ".sum");
    let sums = if folder.join(&sums).exists() { read(&folder.join(&sums))? } else { String::new() };
    let main = folder.join("main.go");
    let main = if main.exists() { read(&main)? } else { String::new() };
    let flags = recipe::arguments(recipe, version, "").join("\n");
    let inputs: [(&str, &[u8]); 5] = [
        ("module", modfile.as_bytes()),
        ("sums", sums.as_bytes()),
        ("main", main.as_bytes()),
        ("flags", flags.as_bytes()),
        ("go", &go_version()?),
    ];
    Ok(recipe::key(&inputs))
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

fn go_version() -> Result<Vec<u8>> {
    let asked = Command::new("go").args(["env", "GOVERSION", "GOOS", "GOARCH"]).output();
    let answer = asked
        .context("Go is needed to build Kubernetes, and no `go` is on PATH: install Go 1.26 or newer")?;
    if !answer.status.success() {
        bail!("`go env` failed: {}", String::from_utf8_lossy(&answer.stderr).trim());
    }
    Ok(answer.stdout)
}

/// Compiles, and says every ten seconds that it still does: the first time it takes minutes.
fn compile(recipe: &Recipe, folder: &Path, version: &str, output: &Path) -> Result<()> {
    let arguments = recipe::arguments(recipe, version, &output.to_string_lossy());
    let mut compiler = Command::new("go")
        .args(arguments)
        .current_dir(folder)
        .env("CGO_ENABLED", "0")
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot run go")?;
    let messages = compiler.stderr.take().context("the compiler has no standard error")?;
    let last = follow(recipe.name, BufReader::new(messages))?;
    let status = compiler.wait()?;
    if !status.success() {
        bail!("{} did not compile ({status}); the compiler's last lines:\n{}", recipe.name, last.join("\n"));
    }
    Ok(())
}

/// Counts the packages that the compiler names, and keeps the last lines in case that one is an error.
fn follow(name: &str, messages: impl BufRead) -> Result<Vec<String>> {
    let begin = Instant::now();
    let mut told = begin;
    let mut packages = 0;
    let mut last: Vec<String> = Vec::new();
    for line in messages.lines() {
        last.push(line?);
        packages += 1;
        if last.len() > 20 {
            last.remove(0);
        }
        if told.elapsed() >= Duration::from_secs(10) {
            told = Instant::now();
            say(&format!("  {name}: {packages} packages after {} s", begin.elapsed().as_secs()));
        }
    }
    Ok(last)
}
