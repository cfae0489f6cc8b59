//! A pod around the sidecar: policies as kubelet mounts them, annotations as the downward API writes them.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use capstan_peers::child::Child;
use capstan_peers::{http, ports};
use serde_json::{Value, json};

use super::prometheus::Page;
use super::scene::Scene;
use super::{LONG, eventually};

/// A sidecar in a pod: policies as kubelet mounts them, annotations as the downward API writes them.
pub struct Pod {
    root: PathBuf,
    pub port: u16,
    pub child: Child,
}

/// A command of the sidecar's, with the pod's environment.
fn command(root: &Path, name: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_capstan-sidecar"));
    command.arg(name).arg("--config").arg(root.join("policies"));
    let volumes = json!([{"name": "logs", "kind": "emptyDir", "mountPath": root.join("logs")}]);
    command.env("CAPSTAN_POD", "web-0").env("CAPSTAN_NAMESPACE", "shop").env("CAPSTAN_NODE", "node-7");
    command.env("CAPSTAN_POD_UID", "uid-1").env("CAPSTAN_CONTAINERS", "app,proxy");
    command.env("CAPSTAN_VOLUMES", volumes.to_string());
    command
}

fn launch(root: &Path, port: u16) -> Child {
    let mut command = command(root, "run");
    command.arg("--annotations").arg(root.join("annotations"));
    command.arg("--termination-log").arg(root.join("termination-log"));
    command.arg("--listen").arg(format!("127.0.0.1:{port}"));
    let child = Child::spawn_logging("capstan-sidecar", &mut command, &root.join("sidecar.log")).unwrap();
    ports::wait_listening(port, LONG).unwrap();
    child
}

impl Pod {
    pub fn start(scene: &Scene) -> Pod {
        let (root, port) = (scene.root().to_owned(), ports::free().unwrap());
        let child = launch(&root, port);
        Pod { root, port, child }
    }

    pub fn restart(&mut self) {
        assert!(self.child.terminate(LONG).unwrap().success(), "{}", self.log());
        self.child = launch(&self.root, self.port);
    }

    /// What `kubectl exec` of a command in the sidecar's container prints.
    pub fn exec(&self, arguments: &[&str]) -> String {
        let (name, more) = arguments.split_first().unwrap();
        let ended = command(&self.root, name).args(more).output().unwrap();
        format!("{}{}", String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr))
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.root.join("sidecar.log")).unwrap_or_default()
    }

    pub fn status(&self) -> Value {
        serde_json::from_str(&http::get(self.port, "/status").unwrap().body).unwrap()
    }

    pub fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let page = http::get(self.port, "/metrics").unwrap().body;
        Page::parse(&page).sum(&format!("capstan_sidecar_{name}"), labels)
    }

    pub fn policy(&self, name: &str) -> Value {
        self.status()["policies"][name].clone()
    }

    pub fn problems(&self) -> String {
        self.status()["problems"].to_string()
    }

    /// Waits until the policy's file has been taken up, whatever that came to.
    pub fn wait_for_error(&self, policy: &str, text: &str) {
        eventually(text, || self.policy(policy)["error"].as_str().is_some_and(|error| error.contains(text)));
    }

    pub fn wait_until_good(&self, policy: &str, hash: &str) {
        eventually("the configuration", || {
            let policy = self.policy(policy);
            policy["hash"] == hash && policy["error"].is_null()
        });
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the sidecar's log:\n{}", self.log());
        }
    }
}

/// Writes the files of a policy's volume as kubelet does: a new directory, and one exchange of the link to it. Returns
/// the hash.
pub fn mount(scene: &Scene, policy: &str, content: Option<&str>) -> String {
    let volume = scene.directory("policies").join(policy);
    fs::create_dir_all(&volume).unwrap();
    let taken = |number: &u32| volume.join(format!("..2026_11_21_{number}")).exists();
    let number = (0..).find(|number| !taken(number)).unwrap();
    let (data, link) = (volume.join(format!("..2026_11_21_{number}")), volume.join("config.v1.json"));
    fs::create_dir(&data).unwrap();
    if let Some(content) = content {
        fs::write(data.join("config.v1.json"), content).unwrap();
    }
    symlink(data.file_name().unwrap(), volume.join("..data_tmp")).unwrap();
    fs::rename(volume.join("..data_tmp"), volume.join("..data")).unwrap();
    match content {
        Some(_) if !link.is_symlink() => symlink("..data/config.v1.json", link).unwrap(),
        None => drop(fs::remove_file(link)),
        Some(_) => {}
    }
    capstan_config::ConfigHash::of(content.unwrap_or_default().as_bytes()).to_string()
}
