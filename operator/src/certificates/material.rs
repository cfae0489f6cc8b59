//! Keys and certificates as they stand in the Secret.
//!
//! `tls.crt` and `tls.key` are served; `ca.crt` has signed, and `ca.key` signs; `ca-bundle.crt` are all authorities to
//! be trusted. Where somebody else made the certificate, there is only `ca.crt` beside it, or not even that.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::ObjectMeta;
use rustls::RootCertStore;
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;

use crate::certificates::plan::Facts;
use crate::certificates::validity::{self, Validity};

/// PEM texts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Material {
    /// The certificate that is served, perhaps with those between it and its authority.
    pub leaf: String,
    /// Its key.
    pub leaf_key: String,
    /// The authority that signs.
    pub authority: Option<String>,
    /// The authority's key.
    pub authority_key: Option<String>,
    /// All authorities that are to be trusted.
    pub trusted: Option<String>,
}

const FIELDS: [&str; 5] = ["tls.crt", "tls.key", "ca.crt", "ca.key", "ca-bundle.crt"];

impl Material {
    /// Reads it; None without certificate and key.
    pub fn read(secret: &Secret) -> Option<Self> {
        let text = |key: &str| {
            let value = secret.data.as_ref()?.get(key)?;
            String::from_utf8(value.0.clone()).ok().filter(|text| !text.trim().is_empty())
        };
        let [leaf, leaf_key, authority, authority_key, trusted] = FIELDS.map(text);
        Some(Self { leaf: leaf?, leaf_key: leaf_key?, authority, authority_key, trusted })
    }

    /// The Secret that holds it, in place of the one that was seen.
    pub fn write(&self, name: &str, seen: Option<&Secret>) -> Secret {
        let texts = [
            Some(&self.leaf),
            Some(&self.leaf_key),
            self.authority.as_ref(),
            self.authority_key.as_ref(),
            self.trusted.as_ref(),
        ];
        let pairs = FIELDS.iter().zip(texts).filter_map(|(key, text)| Some(((*key).to_owned(), text?)));
        let data: BTreeMap<_, _> =
            pairs.map(|(key, text)| (key, ByteString(text.clone().into_bytes()))).collect();
        let metadata = seen.map(|seen| seen.metadata.clone()).unwrap_or_default();
        let kind = seen.and_then(|seen| seen.type_.clone()).unwrap_or_else(|| "kubernetes.io/tls".to_owned());
        Secret {
            metadata: ObjectMeta { name: Some(name.to_owned()), ..metadata },
            data: Some(data),
            type_: Some(kind),
            ..Secret::default()
        }
    }

    /// What the API server is to trust; None if nobody says.
    pub fn bundle(&self) -> Option<String> {
        self.trusted.clone().or_else(|| self.authority.clone())
    }

    /// The same without what only our own certificates need, and which stays in a Secret that somebody else took over.
    pub fn of_others(self) -> Self {
        Self { authority_key: None, trusted: None, ..self }
    }

    /// Whether who trusts these authorities trusts the certificate. Only a wrong authority says no: what this library
    /// thinks of times and algorithms is not what the API server does.
    pub fn is_trusted_by(&self, bundle: &[u8], now: Timestamp) -> bool {
        let (chain, trusted) = (certificates(&self.leaf), certificates_of(bundle));
        let Some((leaf, between)) = chain.split_first() else { return false };
        let Ok(parsed) = ParsedCertificate::try_from(leaf) else { return false };
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(trusted.iter().cloned());
        let wrong = |error| {
            use rustls::{CertificateError, Error};
            let (unknown, bad) = (CertificateError::UnknownIssuer, CertificateError::BadSignature);
            [Error::InvalidCertificate(unknown), Error::InvalidCertificate(bad)].contains(&error)
        };
        // One that has signed itself is its own authority.
        trusted.contains(leaf) || !verify(&parsed, &roots, between, now).is_err_and(wrong)
    }

    /// From when until when the certificate is valid.
    pub fn leaf_validity(&self) -> Option<Validity> {
        validity::of(certificates(&self.leaf).first()?)
    }

    /// What there is to decide by; None if it cannot be used.
    pub fn facts(&self, now: Timestamp, names: &[String], published: &[Vec<u8>]) -> Option<Facts> {
        let leaf = certificates(&self.leaf).into_iter().next()?;
        let authority = certificates(self.authority.as_deref()?).into_iter().next()?;
        let key = rcgen::KeyPair::from_pem(self.authority_key.as_deref()?).ok()?;
        let trusted = certificates(self.trusted.as_deref()?);
        // A key that does not go with its certificate, and an authority that nobody trusts, are of no use.
        let belongs = contains(&authority, &rcgen::PublicKeyData::subject_public_key_info(&key));
        let leaf_validity = validity::of(&leaf)?;
        let parsed = ParsedCertificate::try_from(&leaf).ok()?;
        let fits = |name: &String| {
            ServerName::try_from(name.as_str()).is_ok_and(|name| verify_server_name(&parsed, &name).is_ok())
        };
        (belongs && trusted.contains(&authority)).then_some(())?;
        Some(Facts {
            authority: validity::of(&authority)?,
            leaf: leaf_validity,
            signed_by_authority: is_signed_by(&parsed, &authority, leaf_validity),
            names_fit: names.iter().all(fits),
            trusted: trusted.len(),
            published: !published.is_empty()
                && published.iter().all(|bundle| certificates_of(bundle).contains(&authority)),
        })
        .filter(|_| now >= leaf_validity.from)
    }
}

/// The certificates of a PEM text, without those that cannot be read.
pub fn certificates(pem: &str) -> Vec<CertificateDer<'static>> {
    certificates_of(pem.as_bytes())
}

fn certificates_of(pem: &[u8]) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem).filter_map(Result::ok).collect()
}

fn contains(certificate: &[u8], key: &[u8]) -> bool {
    certificate.windows(key.len()).any(|window| window == key)
}

/// Whether the authority has signed it. Asked as of a moment at which it counted, since an old one is signed as well.
fn is_signed_by(leaf: &ParsedCertificate<'_>, authority: &CertificateDer<'_>, validity: Validity) -> bool {
    let mut roots = RootCertStore::empty();
    if roots.add(authority.clone().into_owned()).is_err() {
        return false;
    }
    let last = Timestamp::from_second(validity.until.as_second() - 1).unwrap_or(validity.until);
    verify(leaf, &roots, &[], last).is_ok()
}

fn verify(
    leaf: &ParsedCertificate<'_>,
    roots: &RootCertStore,
    between: &[CertificateDer<'_>],
    moment: Timestamp,
) -> Result<(), rustls::Error> {
    let algorithms = rustls::crypto::ring::default_provider().signature_verification_algorithms;
    let moment = Duration::from_secs(u64::try_from(moment.as_second()).unwrap_or_default());
    let moment = UnixTime::since_unix_epoch(moment);
    verify_server_cert_signed_by_trust_anchor(leaf, roots, between, moment, algorithms.all)
}
