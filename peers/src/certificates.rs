//! Certificates for tests: in, an empty directory; out, PEM files in it and their paths.
//!
//! Everything is made anew on each call and signed by one of two authorities that never meet, so a test
//! can ask for exactly the certificate that must be refused. Validity runs from 2020 to 2099 (except where
//! being out of date is the point), far from any clock a test machine has.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, KeyPair, KeyUsagePurpose, SanType, date_time_ymd,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// The name in the client certificate, as common name and as DNS name: what a receiver may permit.
pub const CLIENT_NAME: &str = "capstan-client";

/// A certificate with its private key (PKCS #8), both as PEM files.
#[derive(Debug, Clone)]
pub struct Identity {
    /// PEM file with the one certificate.
    pub certificate: PathBuf,
    /// PEM file with its private key.
    pub key: PathBuf,
}

impl Identity {
    /// The certificate as rustls wants it.
    pub fn chain(&self) -> Result<Vec<CertificateDer<'static>>> {
        let certificate = CertificateDer::from_pem_file(&self.certificate)
            .with_context(|| format!("cannot read {}", self.certificate.display()))?;
        Ok(vec![certificate])
    }

    /// The private key as rustls wants it.
    pub fn private_key(&self) -> Result<PrivateKeyDer<'static>> {
        PrivateKeyDer::from_pem_file(&self.key).with_context(|| format!("cannot read {}", self.key.display()))
    }

    /// The SHA-256 fingerprint in the form of RFC 5425 §4.2.2: `sha-256:` and upper-case hex pairs with colons.
    pub fn fingerprint(&self) -> Result<String> {
        let certificate = CertificateDer::from_pem_file(&self.certificate)?;
        let pairs: Vec<String> = sha256(&certificate)?.iter().map(|byte| format!("{byte:02X}")).collect();
        Ok(format!("sha-256:{}", pairs.join(":")))
    }
}

/// All the PEM files that [`create`] made.
#[derive(Debug, Clone)]
pub struct Certificates {
    /// Certificate of the authority that signed everything but `stranger` and `client_of_other_ca`.
    pub ca: PathBuf,
    /// Certificate of an authority that nobody should trust.
    pub other_ca: PathBuf,
    /// Good server certificate for localhost, 127.0.0.1 and ::1.
    pub server: Identity,
    /// Server certificate that ended in 2021.
    pub expired: Identity,
    /// Server certificate for `elsewhere.example` only.
    pub wrong_name: Identity,
    /// Server certificate with common name localhost and no subject alternative name at all.
    pub common_name_only: Identity,
    /// Server certificate for localhost, signed by the other authority.
    pub stranger: Identity,
    /// Client certificate for [`CLIENT_NAME`].
    pub client: Identity,
    /// Client certificate for [`CLIENT_NAME`], signed by the other authority.
    pub client_of_other_ca: Identity,
}

/// Makes both authorities and every certificate in `directory`, which must exist.
pub fn create(directory: &Path) -> Result<Certificates> {
    let ca = authority("Capstan test authority")?;
    let other = authority("Another authority")?;
    let write =
        |name: &str, params: CertificateParams, issuer: &Issuer| identity(directory, name, params, issuer);
    let mut expired = server("localhost", local_names()?);
    expired.not_after = date_time_ymd(2021, 1, 1);
    let elsewhere = vec![SanType::DnsName("elsewhere.example".try_into()?)];

    Ok(Certificates {
        ca: write_file(&directory.join("ca.pem"), &ca.pem())?,
        other_ca: write_file(&directory.join("other-ca.pem"), &other.pem())?,
        server: write("server", server("localhost", local_names()?), &ca)?,
        expired: write("expired", expired, &ca)?,
        wrong_name: write("wrong-name", server("elsewhere.example", elsewhere), &ca)?,
        common_name_only: write("common-name-only", server("localhost", Vec::new()), &ca)?,
        stranger: write("stranger", server("localhost", local_names()?), &other)?,
        client: write("client", client()?, &ca)?,
        client_of_other_ca: write("client-of-other-ca", client()?, &other)?,
    })
}

type Issuer = CertifiedIssuer<'static, KeyPair>;

fn authority(name: &str) -> Result<Issuer> {
    let mut params = params(name, Vec::new());
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(CertifiedIssuer::self_signed(params, KeyPair::generate()?)?)
}

fn server(common_name: &str, names: Vec<SanType>) -> CertificateParams {
    let mut params = params(common_name, names);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params
}

fn client() -> Result<CertificateParams> {
    let mut params = params(CLIENT_NAME, vec![SanType::DnsName(CLIENT_NAME.try_into()?)]);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    Ok(params)
}

fn params(common_name: &str, names: Vec<SanType>) -> CertificateParams {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    let mut params = CertificateParams::default();
    params.distinguished_name = name;
    params.subject_alt_names = names;
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2099, 1, 1);
    params.use_authority_key_identifier_extension = true;
    params
}

fn local_names() -> Result<Vec<SanType>> {
    Ok(vec![
        SanType::DnsName("localhost".try_into()?),
        SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        SanType::IpAddress(IpAddr::V6(Ipv6Addr::LOCALHOST)),
    ])
}

fn identity(directory: &Path, name: &str, params: CertificateParams, issuer: &Issuer) -> Result<Identity> {
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, issuer)?;
    Ok(Identity {
        certificate: write_file(&directory.join(format!("{name}.pem")), &certificate.pem())?,
        key: write_file(&directory.join(format!("{name}.key")), &key.serialize_pem())?,
    })
}

fn write_file(path: &Path, content: &str) -> Result<PathBuf> {
    fs::write(path, content).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path.to_path_buf())
}

/// SHA-256 out of rustls' own provider, to spare a dependency on a hash crate.
fn sha256(bytes: &[u8]) -> Result<Vec<u8>> {
    let suite = rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256;
    let suite = suite.tls13().context("the provider has no TLS 1.3 suite")?;
    Ok(suite.common.hash_provider.hash(bytes).as_ref().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_certificate_reads_back_with_a_key_that_fits() {
        let directory = tempfile::tempdir().unwrap();
        let made = create(directory.path()).unwrap();
        for identity in [
            &made.server,
            &made.expired,
            &made.wrong_name,
            &made.common_name_only,
            &made.stranger,
            &made.client,
            &made.client_of_other_ca,
        ] {
            let chain = identity.chain().unwrap();
            let key = identity.private_key().unwrap();
            let provider = rustls::crypto::ring::default_provider();
            let certified = rustls::sign::CertifiedKey::from_der(chain, key, &provider);
            assert!(certified.is_ok(), "{}", identity.certificate.display());
        }
    }

    #[test]
    fn the_fingerprint_has_thirty_two_pairs_and_differs_between_certificates() {
        let directory = tempfile::tempdir().unwrap();
        let made = create(directory.path()).unwrap();
        let one = made.server.fingerprint().unwrap();
        assert_eq!(one.split(':').count(), 33);
        assert_ne!(one, made.expired.fingerprint().unwrap());
    }
}
