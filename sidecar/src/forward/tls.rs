//! TLS settings: from what was configured and what lies in files, to what a session starts from.
//!
//! In: [`TlsSettings`] and the host's name. Out: a [`Session`] that has read every file just now, so that a renewed
//! certificate counts from the next connection on.
//!
//! What always holds: the provider (ring) is passed on explicitly and nothing is installed for the whole process; there
//! is no switch that turns checks off; sessions are not resumed and no data is sent early (RFC 9662 section 6); an error
//! names the file and what is wrong with it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore};

pub mod certificate;

pub mod explain;

pub mod verifier;

use certificate::Fingerprint;
use verifier::{RefusalCell, Verifier};

/// How a receiver is recognised, and how we show ourselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSettings {
    /// What the receiver's certificate is checked against.
    pub trust: Trust,
    /// The certificate to show, for mutual TLS.
    pub client: Option<ClientCertificate>,
    /// The name that has to stand in the receiver's certificate; `None` for the host's.
    pub server_name: Option<String>,
    /// The oldest version that is spoken.
    pub min_version: TlsVersion,
}

/// What a receiver's certificate is checked against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// The authorities that browsers trust, as compiled in.
    PublicRoots,
    /// The authorities in a PEM file.
    CaFile(PathBuf),
    /// Certificates themselves, instead of an authority: neither names nor dates are looked at.
    Fingerprints(Vec<Fingerprint>),
}

/// PEM files with our certificate, followed by its intermediates, and its key (PKCS#1, PKCS#8 or SEC1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The certificate's file.
    pub certificate: PathBuf,
    /// The key's file.
    pub key: PathBuf,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsVersion {
    /// RFC 5246.
    #[default]
    V1_2,
    /// RFC 8446.
    V1_3,
}

/// What is wrong with the settings or a file they name; worth another try, as files get replaced.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum TlsSettingsError {
    #[error("cannot read {}: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{} is no PEM file: {reason}", path.display())]
    NoPem { path: PathBuf, reason: String },
    #[error("there is no certificate in {} (it has to be in PEM form)", path.display())]
    NoCertificate { path: PathBuf },
    #[error("certificate {number} in {} is not usable: {reason}", path.display())]
    BadCertificate { path: PathBuf, number: usize, reason: String },
    #[error("there is no private key in {} (it has to be in PEM form: PKCS#1, PKCS#8 or SEC1)", path.display())]
    NoKey { path: PathBuf },
    #[error("the private key in {} is encrypted, and there is nobody to ask for its passphrase", path.display())]
    EncryptedKey { path: PathBuf },
    #[error("the private key in {} is not usable: {reason}", path.display())]
    BadKey { path: PathBuf, reason: String },
    #[error("the private key in {} does not belong to the certificate in {}", key.display(), certificate.display())]
    OtherKey { certificate: PathBuf, key: PathBuf },
    #[error("'{name}' is neither a host name nor an IP address, so no certificate can be checked against it")]
    ServerName { name: String },
    #[error("no TLS session can be set up: {0}")]
    Other(rustls::Error),
}

/// What one connection starts from.
#[derive(Clone, Debug)]
pub struct Session {
    /// For rustls.
    pub config: Arc<ClientConfig>,
    /// The name that is asked for and checked.
    pub server_name: ServerName<'static>,
    /// The last moment at which our own certificate is valid.
    pub client_not_after: Option<Timestamp>,
    /// The versions that are offered, for messages.
    pub(crate) versions: &'static str,
    /// Where the check leaves its reason.
    pub(crate) refusal: RefusalCell,
}

impl TlsSettings {
    /// Reads all files and checks that they fit together.
    ///
    /// # Errors
    /// [`TlsSettingsError`] names the first file that cannot be used.
    pub fn load(&self, host: &str) -> Result<Session, TlsSettingsError> {
        let provider = Arc::new(ring::default_provider());
        let verifier = self.trust.verifier(&provider)?;
        let refusal = verifier.refusal();
        let (versions, shown): (&[_], _) = match self.min_version {
            TlsVersion::V1_2 => (&[&TLS13, &TLS12], "1.2, 1.3"),
            TlsVersion::V1_3 => (&[&TLS13], "1.3"),
        };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .map_err(TlsSettingsError::Other)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut client_not_after = None;
        let mut config = match &self.client {
            None => builder.with_no_client_auth(),
            Some(client) => {
                let chain = read_certificates(&client.certificate)?;
                client_not_after = chain.first().and_then(|own| certificate::not_after(own));
                let key = read_key(&client.key)?;
                builder.with_client_auth_cert(chain, key).map_err(|error| client.error(error))?
            }
        };
        config.resumption = Resumption::disabled();
        let server_name = server_name(self.server_name.as_deref().unwrap_or(host))?;
        Ok(Session { config: Arc::new(config), server_name, client_not_after, versions: shown, refusal })
    }
}

impl Trust {
    fn verifier(&self, provider: &Arc<CryptoProvider>) -> Result<Verifier, TlsSettingsError> {
        let algorithms = provider.signature_verification_algorithms;
        let roots = match self {
            Self::Fingerprints(known) => return Ok(Verifier::of_fingerprints(known.clone(), algorithms)),
            Self::PublicRoots => RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() },
            Self::CaFile(path) => read_authorities(path)?,
        };
        let webpki =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider)).build();
        // The builder refuses an empty store and bad revocation lists; there is neither here.
        let webpki =
            webpki.map_err(|error| TlsSettingsError::Other(rustls::Error::General(error.to_string())))?;
        Ok(Verifier::of_authorities(webpki, algorithms))
    }
}

impl ClientCertificate {
    fn error(&self, error: rustls::Error) -> TlsSettingsError {
        match error {
            rustls::Error::InconsistentKeys(_) => {
                TlsSettingsError::OtherKey { certificate: self.certificate.clone(), key: self.key.clone() }
            }
            rustls::Error::InvalidCertificate(error) => TlsSettingsError::BadCertificate {
                path: self.certificate.clone(),
                number: 1,
                reason: error.to_string(),
            },
            other => TlsSettingsError::BadKey { path: self.key.clone(), reason: other.to_string() },
        }
    }
}

fn server_name(name: &str) -> Result<ServerName<'static>, TlsSettingsError> {
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    ServerName::try_from(bare.to_owned()).map_err(|_| TlsSettingsError::ServerName { name: name.to_owned() })
}

fn read_authorities(path: &Path) -> Result<RootCertStore, TlsSettingsError> {
    let mut roots = RootCertStore::empty();
    let mut first_bad = None;
    for (index, der) in read_certificates(path)?.into_iter().enumerate() {
        match roots.add(der) {
            Ok(()) => {}
            // Bundles hold odd old certificates; one is no reason to trust none of the others.
            Err(error) => {
                let (number, reason) = (index + 1, error.to_string());
                tracing::warn!(path = %path.display(), number, reason, "skipped a certificate of an authority");
                let path = path.to_owned();
                first_bad.get_or_insert(TlsSettingsError::BadCertificate { path, number, reason });
            }
        }
    }
    match first_bad {
        Some(error) if roots.is_empty() => Err(error),
        _ => Ok(roots),
    }
}

fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsSettingsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read(path)?).collect();
    match found {
        Ok(certificates) if certificates.is_empty() => {
            Err(TlsSettingsError::NoCertificate { path: path.to_owned() })
        }
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(TlsSettingsError::NoPem { path: path.to_owned(), reason: error.to_string() }),
    }
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsSettingsError> {
    let content = read(path)?;
    let path = path.to_owned();
    // RFC 7468 section 11, and the older form of RFC 1421.
    let encrypted = [&b"BEGIN ENCRYPTED PRIVATE KEY"[..], b"Proc-Type: 4,ENCRYPTED"];
    if encrypted.iter().any(|mark| memchr::memmem::find(&content, mark).is_some()) {
        return Err(TlsSettingsError::EncryptedKey { path });
    }
    PrivateKeyDer::from_pem_slice(&content).map_err(|error| match error {
        pem::Error::NoItemsFound => TlsSettingsError::NoKey { path },
        other => TlsSettingsError::NoPem { path, reason: other.to_string() },
    })
}

fn read(path: &Path) -> Result<Vec<u8>, TlsSettingsError> {
    std::fs::read(path).map_err(|source| TlsSettingsError::Unreadable { path: path.to_owned(), source })
}
