//! File systems that a test mounts for itself, seen by nobody else and gone with it.

use std::env;
use std::path::Path;
use std::process::Command;

const INSIDE: &str = "CAPSTAN_TEST_OWN_MOUNTS";

/// Runs the test called `name` once more, in a mount namespace of its own, and fails if that fails. Returns whether
/// this is that run: then mount and test; otherwise there is nothing left to do.
///
/// Everybody may do so: who is not root becomes root of a user namespace (user_namespaces(7)).
pub fn own_mounts(name: &str) -> bool {
    if env::var_os(INSIDE).is_some() {
        return true;
    }
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private"]);
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command.arg(env::current_exe().unwrap()).args(["--exact", name, "--nocapture", "--test-threads", "1"]);
    let output = command.env(INSIDE, "1").output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "in its own namespace:\n{out}\n{err}");
    assert!(out.contains("1 passed"), "there is no test called {name}: {out}");
    false
}

/// Mounts a tmpfs of so many KiB.
pub fn mount_tmpfs(path: &Path, kib: u64) {
    run("mount", &["-t", "tmpfs", "-o", &format!("size={kib}k"), "none", path.to_str().unwrap()]);
}

/// Makes a directory read-only for everybody, root included.
pub fn make_read_only(path: &Path) {
    let path = path.to_str().unwrap();
    run("mount", &["--bind", path, path]);
    run("mount", &["-o", "remount,bind,ro", path]);
}

/// Undoes the last mount on a path.
pub fn unmount(path: &Path) {
    run("umount", &[path.to_str().unwrap()]);
}

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}
