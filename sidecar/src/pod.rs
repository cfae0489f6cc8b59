//! What a sidecar knows of the pod that it runs in: what its environment says.
//!
//! In comes a source of variables, out comes a [`Pod`]. What always holds: on a host, where there are no such
//! variables, nothing is known, and nobody needs to ask whether this is a pod.

use std::path::Path;
use std::time::Duration;

use capstan_config::names::{
    CONTAINERS_VARIABLE, GRACE_VARIABLE, NAMESPACE_VARIABLE, NODE_VARIABLE, POD_UID_VARIABLE, POD_VARIABLE,
    VOLUMES_VARIABLE, WORKLOAD_VARIABLE,
};
use capstan_config::{
    Forward, Hostname, HostnameSource, Log, MetadataSource, MetadataValue, ValueError, Volume, parse_duration,
};

/// The pod; everything is unknown on a host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pod {
    /// Its name.
    pub name: Option<String>,
    /// Its namespace.
    pub namespace: Option<String>,
    /// Its UID.
    pub uid: Option<String>,
    /// The name of its node.
    pub node: Option<String>,
    /// The name of what owns it.
    pub workload: Option<String>,
    /// The names of the app's containers, the one that is meant by default first.
    pub containers: Vec<String>,
    /// The volumes that are mounted.
    pub volumes: Vec<Volume>,
    /// Its grace period.
    pub grace: Option<Duration>,
    /// What of the environment could not be read, in sentences.
    pub problems: Vec<String>,
}

impl Pod {
    /// Reads it from this process's environment.
    pub fn of_environment() -> Pod {
        Pod::read(|name| std::env::var(name).ok())
    }

    /// Reads it from variables. What is empty counts as missing.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Pod {
        let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
        let mut problems = Vec::new();
        let mut note = |name: &str, error: ValueError| problems.push(format!("{name}: {error}"));
        let volumes = variable(VOLUMES_VARIABLE).map(|text| Volume::parse(&text));
        let volumes = volumes.and_then(|read| read.map_err(|error| note(VOLUMES_VARIABLE, error)).ok());
        let grace = variable(GRACE_VARIABLE).map(|text| parse_duration(&text));
        let grace = grace.and_then(|read| read.map_err(|error| note(GRACE_VARIABLE, error)).ok());
        let containers = variable(CONTAINERS_VARIABLE).unwrap_or_default();
        let containers = containers.split(',').map(str::trim).filter(|name| !name.is_empty());
        Pod {
            name: variable(POD_VARIABLE),
            namespace: variable(NAMESPACE_VARIABLE),
            uid: variable(POD_UID_VARIABLE),
            node: variable(NODE_VARIABLE),
            workload: variable(WORKLOAD_VARIABLE),
            containers: containers.map(str::to_owned).collect(),
            volumes: volumes.unwrap_or_default(),
            grace,
            problems,
        }
    }

    /// Where its volumes are mounted.
    pub fn mounts(&self) -> impl Iterator<Item = &Path> {
        self.volumes.iter().map(|volume| Path::new(&volume.mount_path))
    }

    /// The container that a log belongs to.
    pub fn container<'a>(&'a self, log: &'a Log) -> Option<&'a str> {
        log.container.as_ref().map(|name| name.as_str()).or(self.containers.first().map(String::as_str))
    }

    /// HOSTNAME of a log's messages; `host` where the pod says nothing.
    pub fn hostname(&self, forward: &Forward, host: &str) -> String {
        let known = match &forward.hostname {
            Some(Hostname::Literal(name)) => return name.clone(),
            Some(Hostname::From(HostnameSource::Pod)) => &self.name,
            Some(Hostname::From(HostnameSource::Node)) => &self.node,
            Some(Hostname::From(HostnameSource::Workload)) => &self.workload,
            None => &None,
        };
        known.as_deref().unwrap_or(host).to_owned()
    }

    /// What a log's messages say about their origin, as names and values. What is not known is left out.
    pub fn metadata(&self, log: &Log, forward: &Forward) -> Vec<(String, String)> {
        let value = |value: &MetadataValue| match value {
            MetadataValue::Literal(value) => Some(value.clone()),
            MetadataValue::From(source) => self.known(log, *source).map(str::to_owned),
        };
        let params = forward.metadata.iter();
        params.filter_map(|param| Some((param.name.clone(), value(&param.value)?))).collect()
    }

    fn known<'a>(&'a self, log: &'a Log, source: MetadataSource) -> Option<&'a str> {
        match source {
            MetadataSource::Namespace => self.namespace.as_deref(),
            MetadataSource::Pod => self.name.as_deref(),
            MetadataSource::PodUid => self.uid.as_deref(),
            MetadataSource::Container => self.container(log),
            MetadataSource::Node => self.node.as_deref(),
            MetadataSource::Workload => self.workload.as_deref(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = r#"{"version": 1, "policy": "web", "logs": [
        {"name": "a", "files": {"include": ["/a/*.log"]}, "forward": {"destinations": [{"name": "to"}],
         "hostnameFrom": "Workload", "metadata": [{"name": "c", "from": "Container"}, {"name": "n", "from": "Namespace"},
         {"name": "e", "value": "x"}, {"name": "u", "from": "PodUid"}]}},
        {"name": "b", "files": {"include": ["/b/*.log"]}, "container": "other", "forward": {"destinations": [{"name": "to"}],
         "hostname": "fixed", "metadata": [{"name": "c", "from": "Container"}]}},
        {"name": "c", "files": {"include": ["/c/*.log"]}, "forward": {"destinations": [{"name": "to"}]}}],
        "destinations": [{"name": "to", "syslog": {"endpoints": [{"host": "x.example"}]}}]}"#;

    fn pod() -> Pod {
        Pod::read(|name| {
            let value = match name {
                "CAPSTAN_NAMESPACE" => "shop",
                "CAPSTAN_WORKLOAD" => "web",
                "CAPSTAN_CONTAINERS" => "app, proxy,",
                "CAPSTAN_POD_UID" => "",
                "CAPSTAN_GRACE" => "45s",
                "CAPSTAN_VOLUMES" => r#"[{"name":"logs","kind":"emptyDir","mountPath":"/a"}]"#,
                _ => return None,
            };
            Some(value.to_owned())
        })
    }

    fn check(pod: &Pod, index: usize, hostname: &str, metadata: &[(&str, &str)]) {
        let config = capstan_config::parse(CONFIG.as_bytes()).unwrap();
        let log = &config.logs[index];
        let forward = log.forward.as_ref().unwrap();
        assert_eq!(pod.hostname(forward, "host"), hostname);
        let expected: Vec<(String, String)> =
            metadata.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        assert_eq!(pod.metadata(log, forward), expected);
    }

    #[test]
    fn messages_carry_what_the_pod_knows_and_leave_out_the_rest() {
        check(&pod(), 0, "web", &[("c", "app"), ("n", "shop"), ("e", "x")]);
        check(&pod(), 1, "fixed", &[("c", "other")]);
        check(&pod(), 2, "host", &[]);
        assert_eq!(
            (pod().volumes[0].mount_path.as_str(), pod().grace),
            ("/a", Some(Duration::from_secs(45)))
        );
    }

    #[test]
    fn on_a_host_nothing_is_known() {
        let host = Pod::read(|_| None);
        assert_eq!(host, Pod::default());
        check(&host, 0, "host", &[("e", "x")]);
    }

    #[test]
    fn a_variable_that_is_garbled_is_told() {
        let pod = Pod::read(|name| (name == "CAPSTAN_VOLUMES").then(|| "none".to_owned()));
        assert_eq!(
            pod.problems,
            ["CAPSTAN_VOLUMES: is no list of volumes: expected ident at line 1 column 2"]
        );
    }
}
