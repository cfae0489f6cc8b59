//! What destinations name beside themselves: Secrets, which sidecars mount, and ConfigMaps with authorities to trust,
//! which the operator copies into the policy's own ConfigMap.
//!
//! In: specs. Out: names, sorted and without repetition. What always holds: certificates of authorities are no secret,
//! so a copy harms nobody, and pods that were made before their destination can trust it without a restart; a Secret is
//! never read by the operator.

use std::borrow::Borrow;
use std::collections::BTreeSet;

use capstan_config::ConfigHash;
use capstan_crds::destination::Tls;
use capstan_crds::values::KeyRef;
use capstan_crds::{LogDestination, LogDestinationSpec, LogRotationPolicySpec};

/// The destinations that a policy sends to.
pub fn destinations(spec: &LogRotationPolicySpec) -> BTreeSet<&str> {
    let forwards = spec.logs.iter().filter_map(|log| log.forward.as_ref());
    forwards.flat_map(|forward| &forward.destinations).map(|to| to.name.0.as_str()).collect()
}

/// The Secrets that a policy's sidecars mount. `find` looks a destination up by its name; one that is not there needs nothing yet.
pub fn of_policy<Found>(
    spec: &LogRotationPolicySpec,
    find: impl Fn(&str) -> Option<Found>,
) -> BTreeSet<String>
where
    Found: Borrow<LogDestination>,
{
    let found = destinations(spec).into_iter().filter_map(find);
    found.flat_map(|destination| secrets(&destination.borrow().spec)).collect()
}

/// The Secrets that a destination's files are in.
pub fn secrets(spec: &LogDestinationSpec) -> BTreeSet<String> {
    let Some(syslog) = &spec.syslog else { return BTreeSet::new() };
    let elements = syslog.structured_data.iter().flatten();
    let ids = elements.filter_map(|element| element.id.secret_key_ref.as_ref()).map(|key| &key.name);
    let certificates = syslog.tls.iter().flat_map(of_tls);
    ids.chain(certificates).map(ToString::to_string).collect()
}

fn of_tls(tls: &Tls) -> impl Iterator<Item = &capstan_crds::values::ObjectName> {
    let authority = tls.ca.as_ref().and_then(|ca| ca.secret_key_ref.as_ref()).map(|key| &key.name);
    let client = tls.client_certificate.as_ref().map(|client| &client.secret_ref.name);
    authority.into_iter().chain(client)
}

/// The key of a ConfigMap that holds the authorities to trust.
pub fn authority(spec: &LogDestinationSpec) -> Option<&KeyRef> {
    spec.syslog.as_ref()?.tls.as_ref()?.ca.as_ref()?.config_map_key_ref.as_ref()
}

/// The file in a policy's directory, and the key in its ConfigMap, that holds a destination's authorities.
///
/// Its name follows from what is in it: so other authorities are another configuration, which is pushed to the sidecars
/// like any other.
pub fn authority_file(destination: &str, pem: &str) -> String {
    format!("ca-{destination}-{}.crt", ConfigHash::of(pem.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn destination(yaml: &str) -> LogDestination {
        LogDestination::new("central", serde_yaml_ng::from_str(yaml).unwrap())
    }

    #[test]
    fn every_secret_that_a_destination_names_is_mounted_once() {
        let destination = destination(
            "syslog:
               structuredData:
               - id: { secretKeyRef: { name: shared, key: sdId } }
               - id: { value: origin }
               tls:
                 ca: { secretKeyRef: { name: ca, key: ca.crt } }
                 clientCertificate: { secretRef: { name: shared } }",
        );
        let policy: LogRotationPolicySpec = serde_yaml_ng::from_str(
            "logs:
             - { name: a, forward: { destinations: [{ name: central }, { name: unknown }] } }
             - { name: b, forward: { destinations: [{ name: central }] } }
             - { name: c }",
        )
        .unwrap();
        assert_eq!(destinations(&policy), ["central", "unknown"].into());
        let found = of_policy(&policy, |name| (name == "central").then_some(&destination));
        assert_eq!(found, ["ca", "shared"].map(str::to_owned).into());
    }

    #[test]
    fn authorities_in_a_config_map_are_copied_and_not_mounted() {
        let destination =
            destination("syslog: { tls: { ca: { configMapKeyRef: { name: ca, key: ca.crt } } } }");
        assert_eq!(secrets(&destination.spec), BTreeSet::new());
        assert_eq!(authority(&destination.spec).unwrap().name.0, "ca");
    }

    #[test]
    fn other_authorities_are_another_file() {
        let file = authority_file("central", "one");
        assert!(file.starts_with("ca-central-") && file.ends_with(".crt"), "{file}");
        assert_eq!(file, authority_file("central", "one"));
        assert_ne!(file, authority_file("central", "two"));
    }
}
