//! Where programs are: in, a name; out, a path, or an error that says how to get the program.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// A program of this workspace (`collector`, `log-writer`, `capstan-sidecar`), from the folder that the
/// running program was built into.
pub fn workspace(name: &str) -> Result<PathBuf> {
    let running = env::current_exe().context("cannot tell which program is running")?;
    // Tests and examples are one folder deeper than programs.
    let folders = running.ancestors().skip(1).take(2);
    let found = folders.map(|folder| folder.join(name)).find(|path| path.is_file());
    found
        .with_context(|| format!("{name} is not built; run `make build` (cargo build --release --workspace)"))
}

/// rsyslogd, from `$PATH` or the usual folders of system programs.
pub fn rsyslogd() -> Result<PathBuf> {
    installed("rsyslogd").context("rsyslogd is not installed; run `make setup`")
}

/// gunicorn, from `$PATH` or from the virtual environment that `make setup` makes.
pub fn gunicorn() -> Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."));
    let own = root.join(".cache/venv/bin/gunicorn");
    let found = installed("gunicorn").or_else(|| own.is_file().then_some(own));
    found.context("gunicorn is not installed; run `make setup`")
}

/// nginx, from `$PATH` or the usual folders of system programs.
pub fn nginx() -> Result<PathBuf> {
    installed("nginx").context("nginx is not installed; run `make setup`")
}

/// A program on `$PATH`, or in a folder for system programs, which is often not on the `$PATH` of a user.
fn installed(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/usr/local/sbin", "/sbin"].map(PathBuf::from);
    env::split_paths(&path).chain(system).map(|folder| folder.join(name)).find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_is_not_there_is_an_error_that_says_what_to_do() {
        let error = workspace("no-such-program").unwrap_err().to_string();
        assert!(error.contains("no-such-program is not built; run `make build`"), "{error}");
        assert!(installed("no-such-program").is_none());
        assert!(installed("sh").is_some());
    }
}
