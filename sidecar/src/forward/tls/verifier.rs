//! The check of the receiver's certificate, and why it failed, in words.
//!
//! In: the certificates that the receiver shows. Out: accepted, or a [`Refusal`], which is also kept for whoever reports
//! the failed handshake; rustls's own error carries less.
//!
//! What always holds: against an authority, path, time and name are checked by rustls's webpki. Against fingerprints,
//! which stand in place of an authority (RFC 5425 section 4.2.2), only the certificate itself counts. In both cases the
//! receiver has to prove by its signature that it holds the key.

use std::sync::{Arc, OnceLock};

use jiff::Timestamp;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};

use super::certificate::{self, Fingerprint};

/// Which check the receiver's certificate did not pass.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It names other hosts.
    #[error("the receiver's certificate is for {}, not for '{expected}'; set the server name if that is right", list(.names))]
    WrongName {
        /// The name that was asked for.
        expected: String,
        /// The names in the certificate.
        names: Vec<String>,
    },
    /// It has no Subject Alternative Name, where names stand since RFC 6125.
    #[error("the receiver's certificate has no subject alternative name, only the common name '{}', which does not count: \
             have it reissued with the name '{expected}', or trust its fingerprint {seen}", .common_name.as_deref().unwrap_or(""))]
    CommonNameOnly {
        /// The name that was asked for.
        expected: String,
        /// What stands in its subject.
        common_name: Option<String>,
        /// Its fingerprint.
        seen: Fingerprint,
    },
    /// No trusted authority signed it.
    #[error("the receiver's certificate is signed by '{}', which is not among the trusted authorities", .issuer.as_deref().unwrap_or("?"))]
    UnknownAuthority {
        /// Who signed it.
        issuer: Option<String>,
    },
    /// A trusted authority has the name of its issuer, but another key.
    #[error("the receiver's certificate names '{}' as its authority, but is not signed with the key of the trusted one", .issuer.as_deref().unwrap_or("?"))]
    BadSignature {
        /// Who is said to have signed it.
        issuer: Option<String>,
    },
    /// Its time is over, or that of an authority's between it and the trusted one.
    #[error("the receiver's certificate expired at {0}, or one that it depends on")]
    Expired(Timestamp),
    /// Its time has not come.
    #[error(
        "the receiver's certificate is not valid before {0}, or one that it depends on; is this machine's clock right?"
    )]
    NotYetValid(Timestamp),
    /// The certificate of an authority, often a self-signed one, is used by a server.
    #[error(
        "the receiver shows the certificate of an authority as its own: have one issued for a server, or trust its fingerprint {0}"
    )]
    AuthorityAsServer(Fingerprint),
    /// It is another one than those that were pinned.
    #[error("the receiver's certificate has the fingerprint {0}, which is not among the configured ones")]
    OtherFingerprint(Fingerprint),
    /// It shows a certificate, but its signature in the handshake was not made with that certificate's key.
    #[error("the receiver does not hold the key of the certificate it shows")]
    WithoutKey,
    /// Anything else.
    #[error("the receiver's certificate is not accepted: {0}")]
    Other(String),
}

/// Where the reason of a refused certificate is left.
pub(crate) type RefusalCell = Arc<OnceLock<Refusal>>;

/// What a certificate is checked against.
#[derive(Debug)]
enum Against {
    Authorities(Arc<WebPkiServerVerifier>),
    Fingerprints(Vec<Fingerprint>),
}

/// The check of one connection.
#[derive(Debug)]
pub(super) struct Verifier {
    against: Against,
    algorithms: WebPkiSupportedAlgorithms,
    refusal: RefusalCell,
}

impl Verifier {
    pub(super) fn of_authorities(
        verifier: Arc<WebPkiServerVerifier>,
        algorithms: WebPkiSupportedAlgorithms,
    ) -> Self {
        Self { against: Against::Authorities(verifier), algorithms, refusal: RefusalCell::default() }
    }

    pub(super) fn of_fingerprints(
        fingerprints: Vec<Fingerprint>,
        algorithms: WebPkiSupportedAlgorithms,
    ) -> Self {
        Self { against: Against::Fingerprints(fingerprints), algorithms, refusal: RefusalCell::default() }
    }

    /// Where to look for the reason when the handshake failed.
    pub(super) fn refusal(&self) -> RefusalCell {
        Arc::clone(&self.refusal)
    }

    fn refuse(&self, refusal: Refusal, error: CertificateError) -> Error {
        // One certificate is checked per connection, so the cell is still empty.
        self.refusal.get_or_init(|| refusal);
        Error::InvalidCertificate(error)
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match &self.against {
            Against::Authorities(verifier) => verifier
                .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
                .map_err(|error| match error {
                    Error::InvalidCertificate(error) => {
                        self.refuse(refusal(end_entity, server_name, &error), error)
                    }
                    other => other,
                }),
            Against::Fingerprints(known) if known.iter().any(|one| one.matches(end_entity)) => {
                Ok(ServerCertVerified::assertion())
            }
            Against::Fingerprints(_) => {
                let refusal = Refusal::OtherFingerprint(Fingerprint::of(end_entity));
                Err(self.refuse(refusal, CertificateError::ApplicationVerificationFailure))
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// What webpki's verdict means for this certificate.
fn refusal(der: &CertificateDer<'_>, expected: &ServerName<'_>, error: &CertificateError) -> Refusal {
    match error {
        CertificateError::NotValidForNameContext { presented, .. } if presented.is_empty() => {
            Refusal::CommonNameOnly {
                expected: expected.to_str().into_owned(),
                common_name: certificate::subject(der),
                seen: Fingerprint::of(der),
            }
        }
        CertificateError::NotValidForNameContext { presented, .. } => Refusal::WrongName {
            expected: expected.to_str().into_owned(),
            names: presented.iter().map(|name| bare_name(name)).collect(),
        },
        CertificateError::UnknownIssuer => Refusal::UnknownAuthority { issuer: certificate::issuer(der) },
        CertificateError::BadSignature => Refusal::BadSignature { issuer: certificate::issuer(der) },
        CertificateError::ExpiredContext { not_after, .. } => Refusal::Expired(timestamp(*not_after)),
        CertificateError::NotValidYetContext { not_before, .. } => {
            Refusal::NotYetValid(timestamp(*not_before))
        }
        CertificateError::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => {
            Refusal::AuthorityAsServer(Fingerprint::of(der))
        }
        other => Refusal::Other(other.to_string()),
    }
}

/// `DnsName("a.example")` and `IpAddress(1.2.3.4)`, as webpki shows names, without what is around them.
fn bare_name(shown: &str) -> String {
    let inner = shown.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')')).unwrap_or(shown);
    inner.trim_matches('"').to_owned()
}

fn timestamp(time: UnixTime) -> Timestamp {
    i64::try_from(time.as_secs())
        .ok()
        .and_then(|seconds| Timestamp::from_second(seconds).ok())
        .unwrap_or(Timestamp::MAX)
}

fn list(names: &[String]) -> String {
    let quoted: Vec<_> = names.iter().map(|name| format!("'{name}'")).collect();
    quoted.join(", ")
}
