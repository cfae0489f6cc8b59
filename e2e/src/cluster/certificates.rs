//! Authority, keys, certificates and kubeconfigs, made anew for each cluster. In: an empty folder; out: PEM files and
//! kubeconfigs in it.
//!
//! One authority signs for everybody. Who a client is stands in its certificate, so the audit log tells components
//! and users apart.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, KeyPair, KeyUsagePurpose, SanType, date_time_ymd,
};
use serde_json::json;

use super::layout::{NODE_IP, NODE_NAME};

/// The first address of the Service network, which `kubernetes.default` has.
const API_SERVICE_IP: &str = "10.96.0.1";

/// Where the components find the API server.
const API_INSIDE: &str = "https://127.0.0.1:6443";

/// A client: name of its files, common name, organisation (its group), and whether it wants a kubeconfig.
const CLIENTS: [(&str, &str, Option<&str>, bool); 8] = [
    ("admin", "admin", Some("system:masters"), true),
    ("apiserver-kubelet-client", "kube-apiserver-kubelet-client", Some("system:masters"), false),
    ("front-proxy-client", "front-proxy-client", None, false),
    ("kube-controller-manager", "system:kube-controller-manager", None, true),
    ("kube-scheduler", "system:kube-scheduler", None, true),
    ("kubelet", "system:node:node1", Some("system:nodes"), true),
    ("kube-proxy", "system:kube-proxy", None, true),
    ("coredns", "capstan-cluster:coredns", Some("system:masters"), true),
];

/// Makes everything in `pki`, which must exist, and the administrator's kubeconfig for the API server at `outside`.
pub fn create(pki: &Path, kubeconfig: &Path, outside: &str) -> Result<()> {
    let authority = authority()?;
    write(&pki.join("ca.crt"), &authority.pem())?;
    write(&pki.join("ca.key"), &authority.key().serialize_pem())?;
    let tokens = KeyPair::generate()?;
    write(&pki.join("tokens.key"), &tokens.serialize_pem())?;
    write(&pki.join("tokens.pub"), &tokens.public_key_pem())?;

    identity(pki, "apiserver", server("kube-apiserver", &api_server_names())?, &authority)?;
    identity(pki, "kubelet-server", server(NODE_NAME, &[NODE_NAME, NODE_IP, "127.0.0.1"])?, &authority)?;
    for (file, name, group, wants_kubeconfig) in CLIENTS {
        let (certificate, key) = identity(pki, file, client(name, group), &authority)?;
        if wants_kubeconfig {
            let path = pki.join(format!("{file}.kubeconfig"));
            write(&path, &render_kubeconfig(API_INSIDE, &authority.pem(), &certificate, &key))?;
        }
        if file == "admin" {
            write(kubeconfig, &render_kubeconfig(outside, &authority.pem(), &certificate, &key))?;
        }
    }
    Ok(())
}

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Result<Authority> {
    let mut params = params("capstan-cluster", None);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    Ok(CertifiedIssuer::self_signed(params, KeyPair::generate()?)?)
}

fn api_server_names() -> Vec<&'static str> {
    let names = [
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
    ];
    [&names[..], &["localhost", "127.0.0.1", NODE_IP, API_SERVICE_IP]].concat()
}

fn server(name: &str, also: &[&str]) -> Result<CertificateParams> {
    let mut params = params(name, None);
    for name in also {
        params.subject_alt_names.push(match name.parse() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) => SanType::DnsName((*name).try_into()?),
        });
    }
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    Ok(params)
}

fn client(name: &str, group: Option<&str>) -> CertificateParams {
    let mut params = params(name, group);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params
}

fn params(name: &str, group: Option<&str>) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    if let Some(group) = group {
        params.distinguished_name.push(DnType::OrganizationName, group);
    }
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2049, 12, 31);
    params
}

/// Writes `NAME.crt` and `NAME.key`, and gives both.
fn identity(pki: &Path, name: &str, params: CertificateParams, by: &Authority) -> Result<(String, String)> {
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, by)?.pem();
    write(&pki.join(format!("{name}.crt")), &certificate)?;
    write(&pki.join(format!("{name}.key")), &key.serialize_pem())?;
    Ok((certificate, key.serialize_pem()))
}

/// A kubeconfig with one cluster, user and context, each of which is called `cluster`. JSON is YAML.
fn render_kubeconfig(server: &str, authority: &str, certificate: &str, key: &str) -> String {
    let name = "cluster";
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": name, "cluster": {
            "server": server, "certificate-authority-data": base64(authority.as_bytes()) } }],
        "users": [{ "name": name, "user": {
            "client-certificate-data": base64(certificate.as_bytes()),
            "client-key-data": base64(key.as_bytes()) } }],
        "contexts": [{ "name": name, "context": { "cluster": name, "user": name } }],
        "current-context": name,
    });
    format!("{config:#}\n")
}

fn base64(bytes: &[u8]) -> String {
    // A ByteString is written as base64: no further library for it.
    let encoded = json!(k8s_openapi::ByteString(bytes.to_vec()));
    encoded.as_str().unwrap_or_default().to_owned()
}

fn write(path: &Path, text: &str) -> Result<()> {
    let opened = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
    let mut file = opened.with_context(|| format!("cannot write {}", path.display()))?;
    Ok(file.write_all(text.as_bytes())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_client_has_a_certificate_and_the_administrator_is_told_the_way_from_outside() {
        let folder = tempfile::tempdir().unwrap();
        let admin = folder.path().join("kubeconfig");
        create(folder.path(), &admin, "https://127.0.0.1:7777").unwrap();
        for (file, ..) in CLIENTS {
            assert!(folder.path().join(format!("{file}.crt")).exists(), "{file}");
        }
        let config = kube::config::Kubeconfig::read_from(&admin).unwrap();
        let server = config.clusters[0].cluster.as_ref().unwrap().server.as_deref();
        assert_eq!(server, Some("https://127.0.0.1:7777"));
        let inner = kube::config::Kubeconfig::read_from(folder.path().join("kubelet.kubeconfig")).unwrap();
        assert_eq!(inner.clusters[0].cluster.as_ref().unwrap().server.as_deref(), Some(API_INSIDE));
    }
}
