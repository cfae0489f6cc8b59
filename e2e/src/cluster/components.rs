//! The configuration files and command lines of all components. In: the name of the cluster's cgroup; out: files to
//! write and the plan that PID 1 carries out.
//!
//! Paths are those inside the node, where the cluster's folder is at `/run/capstan`. Controllers get far more
//! requests per second than by default: with twenty a second a thousand pods take a minute.

use serde::{Deserialize, Serialize};

use super::layout::{NODE_IP, NODE_NAME};

/// What PID 1 starts: stages in order, each after the one before is ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The stages.
    pub stages: Vec<Stage>,
}

/// Processes that start together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stage {
    /// The processes.
    pub processes: Vec<Process>,
    /// A command that succeeds once the stage is ready; none if nobody has to wait for it.
    pub ready: Vec<String>,
}

/// One process of the node, kept running.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its name, also of its log.
    pub name: String,
    /// Program and arguments.
    pub command: Vec<String>,
}

/// The files for the folder `etc`, by their names there.
pub fn files(cgroup: &str) -> Vec<(&'static str, String)> {
    let kubelet =
        include_str!("../../cluster/node/kubelet.yaml").replace("CLUSTER_CGROUP", &format!("/{cgroup}"));
    vec![
        ("audit.yaml", include_str!("../../cluster/node/audit.yaml").to_owned()),
        ("containerd.toml", include_str!("../../cluster/node/containerd.toml").to_owned()),
        ("Corefile", include_str!("../../cluster/node/Corefile").to_owned()),
        ("kube-proxy.yaml", include_str!("../../cluster/node/kube-proxy.yaml").to_owned()),
        ("kubelet.yaml", kubelet),
        ("resolv.conf", include_str!("../../cluster/node/resolv.conf").to_owned()),
        ("cni/10-bridge.conflist", include_str!("../../cluster/node/10-bridge.conflist").to_owned()),
    ]
}

/// The whole node.
pub fn plan() -> Plan {
    Plan {
        stages: vec![
            Stage {
                processes: vec![relay(), containerd(), etcd(), api_server()],
                ready: words("kubectl --kubeconfig=/run/capstan/pki/admin.kubeconfig get --raw=/readyz"),
            },
            Stage {
                processes: vec![kubelet(), controller_manager(), scheduler(), kube_proxy(), coredns()],
                ready: Vec::new(),
            },
        ],
    }
}

fn relay() -> Process {
    process("relay", "cluster relay")
}

fn containerd() -> Process {
    process("containerd", "containerd --config=/run/capstan/etc/containerd.toml")
}

/// The data is gone with the cluster, so nothing is synced to disk.
fn etcd() -> Process {
    process(
        "etcd",
        "etcd --name=node1 --data-dir=/var/lib/etcd --unsafe-no-fsync --log-level=warn
         --listen-client-urls=http://127.0.0.1:2379 --advertise-client-urls=http://127.0.0.1:2379
         --listen-peer-urls=http://127.0.0.1:2380 --initial-advertise-peer-urls=http://127.0.0.1:2380
         --initial-cluster=node1=http://127.0.0.1:2380",
    )
}

fn api_server() -> Process {
    let mut process = process(
        "kube-apiserver",
        "kube-apiserver --etcd-servers=http://127.0.0.1:2379 --bind-address=0.0.0.0 --secure-port=6443
         --service-cluster-ip-range=10.96.0.0/16 --allow-privileged=true
         --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction --anonymous-auth=false
         --client-ca-file=/run/capstan/pki/ca.crt
         --tls-cert-file=/run/capstan/pki/apiserver.crt --tls-private-key-file=/run/capstan/pki/apiserver.key
         --service-account-issuer=https://kubernetes.default.svc
         --service-account-key-file=/run/capstan/pki/tokens.pub
         --service-account-signing-key-file=/run/capstan/pki/tokens.key
         --kubelet-client-certificate=/run/capstan/pki/apiserver-kubelet-client.crt
         --kubelet-client-key=/run/capstan/pki/apiserver-kubelet-client.key
         --kubelet-certificate-authority=/run/capstan/pki/ca.crt
         --kubelet-preferred-address-types=InternalIP
         --requestheader-client-ca-file=/run/capstan/pki/ca.crt
         --requestheader-allowed-names=front-proxy-client
         --requestheader-username-headers=X-Remote-User --requestheader-group-headers=X-Remote-Group
         --requestheader-extra-headers-prefix=X-Remote-Extra-
         --proxy-client-cert-file=/run/capstan/pki/front-proxy-client.crt
         --proxy-client-key-file=/run/capstan/pki/front-proxy-client.key
         --audit-log-path=/var/log/audit.log --audit-policy-file=/run/capstan/etc/audit.yaml
         --max-requests-inflight=2000 --max-mutating-requests-inflight=1000",
    );
    process.command.push(format!("--advertise-address={NODE_IP}"));
    process
}

fn controller_manager() -> Process {
    let mut process = controller("kube-controller-manager");
    process.command.extend(words(
        "--service-account-private-key-file=/run/capstan/pki/tokens.key --root-ca-file=/run/capstan/pki/ca.crt
         --cluster-signing-cert-file=/run/capstan/pki/ca.crt --cluster-signing-key-file=/run/capstan/pki/ca.key
         --use-service-account-credentials=true --flex-volume-plugin-dir=/var/lib/kubelet/volume-plugins",
    ));
    process
}

fn scheduler() -> Process {
    controller("kube-scheduler")
}

/// What controller manager and scheduler have in common.
fn controller(name: &str) -> Process {
    let kubeconfig = format!("/run/capstan/pki/{name}.kubeconfig");
    let mut process = process(name, &format!("{name} --leader-elect=false --bind-address=127.0.0.1"));
    process.command.extend(words("--kube-api-qps=500 --kube-api-burst=1000"));
    for flag in ["kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig"] {
        process.command.push(format!("--{flag}={kubeconfig}"));
    }
    process
}

fn kubelet() -> Process {
    let mut process = process(
        "kubelet",
        "kubelet --kubeconfig=/run/capstan/pki/kubelet.kubeconfig --config=/run/capstan/etc/kubelet.yaml",
    );
    process.command.extend([format!("--hostname-override={NODE_NAME}"), format!("--node-ip={NODE_IP}")]);
    process
}

fn kube_proxy() -> Process {
    let mut process = process("kube-proxy", "kube-proxy --config=/run/capstan/etc/kube-proxy.yaml");
    process.command.push(format!("--hostname-override={NODE_NAME}"));
    process
}

/// DNS runs on the node and not in a pod: one image less, and names resolve before the first pod starts.
fn coredns() -> Process {
    process("coredns", "coredns -conf /run/capstan/etc/Corefile")
}

fn process(name: &str, command: &str) -> Process {
    Process { name: name.to_owned(), command: words(command) }
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kubelet_is_told_the_clusters_own_cgroup() {
        let files = files("capstan-cluster-0badcafe");
        let kubelet = files.iter().find(|(name, _)| *name == "kubelet.yaml").unwrap();
        let config: serde_json::Value = serde_yaml_ng::from_str(&kubelet.1).unwrap();
        assert_eq!(config["cgroupRoot"], "/capstan-cluster-0badcafe");
        assert_eq!(config["clusterDNS"][0], NODE_IP);
    }

    #[test]
    fn nothing_that_needs_the_api_server_starts_before_it_is_ready() {
        let plan = plan();
        let first: Vec<&str> = plan.stages[0].processes.iter().map(|process| process.name.as_str()).collect();
        assert_eq!(first, ["relay", "containerd", "etcd", "kube-apiserver"]);
        assert_eq!(plan.stages[0].ready[0], "kubectl");
        assert_eq!(plan.stages[1].processes.len(), 5);
    }

    #[test]
    fn every_kubeconfig_that_a_command_line_names_is_the_components_own() {
        for process in plan().stages.iter().flat_map(|stage| &stage.processes) {
            for word in process.command.iter().filter(|word| word.ends_with(".kubeconfig")) {
                assert!(word.ends_with(&format!("/{}.kubeconfig", process.name)), "{word}");
            }
        }
    }
}
