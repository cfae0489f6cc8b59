//! Why a handshake failed, or a session was ended by an alert, in words that say what to change.
//!
//! In: errors of rustls, and what was seen on the wire. Out: a [`TlsError`] or a sentence. Pure.

use rustls::{AlertDescription, CertificateError, CipherSuite, Error, InvalidMessage, PeerIncompatible};

use super::verifier::Refusal;

/// Why there is no TLS session.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// The receiver's certificate did not pass.
    #[error(transparent)]
    Certificate(Refusal),
    /// What came back was no TLS.
    #[error("the receiver does not speak TLS on this port: it answered \"{answer}\"")]
    NotTls {
        /// The beginning of what it said, as far as it can be shown.
        answer: String,
    },
    /// No version in common.
    #[error("the receiver speaks none of the TLS versions allowed here ({allowed})")]
    NoCommonVersion {
        /// The versions that were offered.
        allowed: &'static str,
    },
    /// No cipher suite in common.
    #[error(
        "the receiver and capstan have no cipher suite in common: capstan speaks those with ECDHE and AES-GCM or \
         ChaCha20 (RFC 9662), older receivers often only RSA key exchange or CBC"
    )]
    NoCommonCipherSuite,
    /// It wants to see a certificate of ours, or another one.
    #[error("{0}")]
    ClientCertificate(String),
    /// The receiver ended the handshake with another alert.
    #[error("the receiver refused the handshake: {0}")]
    Refused(String),
    /// The receiver closed the connection in the middle of the handshake, without a word.
    #[error("the receiver closed the connection during the handshake; is this port for TLS?")]
    Closed,
    /// Anything else.
    #[error("the handshake failed: {0}")]
    Other(String),
}

/// What is known when a handshake has failed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Failed<'a> {
    /// What rustls says.
    pub error: &'a Error,
    /// The reason left by the check of the certificate.
    pub refusal: Option<&'a Refusal>,
    /// The first bytes that came from the receiver.
    pub heard: &'a [u8],
    /// The suite agreed on, if it came to that.
    pub suite: Option<CipherSuite>,
    /// The versions that were offered.
    pub allowed: &'static str,
}

impl TlsError {
    /// Finds the reason of a failed handshake.
    pub(crate) fn of(failed: Failed<'_>) -> Self {
        if let Some(refusal) = failed.refusal {
            return Self::Certificate(refusal.clone());
        }
        match failed.error {
            // The certificates themselves have passed, or there would be a refusal.
            Error::InvalidCertificate(CertificateError::BadSignature) => {
                Self::Certificate(Refusal::WithoutKey)
            }
            Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
                Self::NotTls { answer: printable(failed.heard) }
            }
            // Each record begins with its type, handshake or alert here, and the major version 3.
            Error::InvalidMessage(_) if !matches!(failed.heard, [21 | 22, 3, ..]) => {
                Self::NotTls { answer: printable(failed.heard) }
            }
            Error::AlertReceived(AlertDescription::ProtocolVersion)
            | Error::PeerIncompatible(
                PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
                | PeerIncompatible::ServerDoesNotSupportTls12Or13,
            ) => Self::NoCommonVersion { allowed: failed.allowed },
            Error::AlertReceived(
                AlertDescription::HandshakeFailure | AlertDescription::InsufficientSecurity,
            ) if failed.suite.is_none() => Self::NoCommonCipherSuite,
            // TLS 1.2 has no alert of its own for a missing certificate; servers say handshake_failure.
            Error::AlertReceived(AlertDescription::HandshakeFailure) => {
                Self::ClientCertificate(alert(AlertDescription::CertificateRequired))
            }
            Error::AlertReceived(description) if is_about_our_certificate(*description) => {
                Self::ClientCertificate(alert(*description))
            }
            Error::AlertReceived(description) => Self::Refused(alert(*description)),
            other => Self::Other(other.to_string()),
        }
    }
}

/// Alerts by which a server speaks of the client's certificate.
pub(crate) fn is_about_our_certificate(description: AlertDescription) -> bool {
    use AlertDescription as A;
    matches!(
        description,
        A::CertificateRequired
            | A::NoCertificate
            | A::BadCertificate
            | A::UnsupportedCertificate
            | A::CertificateRevoked
            | A::CertificateExpired
            | A::CertificateUnknown
            | A::UnknownCA
            | A::AccessDenied
    )
}

/// What an alert from the receiver means to whoever set up this destination.
pub(crate) fn alert(description: AlertDescription) -> String {
    use AlertDescription as A;
    match description {
        A::CertificateRequired | A::NoCertificate => {
            "the receiver wants a client certificate, and none was given or none fits".to_owned()
        }
        A::UnknownCA => "the receiver does not know the authority of our client certificate".to_owned(),
        A::CertificateExpired => "the receiver says that our client certificate has expired".to_owned(),
        A::AccessDenied => "the receiver does not permit the name in our client certificate".to_owned(),
        other if is_about_our_certificate(other) => {
            format!("the receiver does not accept our client certificate (TLS alert {other:?})")
        }
        A::UnrecognisedName => "the receiver does not know the server name it was asked for".to_owned(),
        other => format!("TLS alert {other:?}"),
    }
}

/// The first bytes as text of one line.
fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(40)]);
    text.trim_end().escape_debug().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(error: Error, heard: &[u8], suite: Option<CipherSuite>, expected: &str) {
        let allowed = "1.2, 1.3";
        let failed = Failed { error: &error, refusal: None, heard, suite, allowed };
        assert_eq!(TlsError::of(failed).to_string(), expected, "{error:?}");
    }

    #[test]
    fn an_alert_before_a_suite_is_agreed_on_is_about_suites_and_after_it_about_our_certificate() {
        let alert = Error::AlertReceived(AlertDescription::HandshakeFailure);
        check(
            alert.clone(),
            &[21, 3, 3],
            None,
            "the receiver and capstan have no cipher suite in common: capstan speaks those with ECDHE and AES-GCM or \
             ChaCha20 (RFC 9662), older receivers often only RSA key exchange or CBC",
        );
        check(
            alert,
            &[22, 3, 3],
            Some(CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256),
            "the receiver wants a client certificate, and none was given or none fits",
        );
    }

    #[test]
    fn an_answer_that_is_no_tls_is_shown() {
        let error = Error::InvalidMessage(InvalidMessage::InvalidContentType);
        let expected =
            "the receiver does not speak TLS on this port: it answered \"220 mail\\r\\n\\u{1b}[0m ready\"";
        check(error, b"220 mail\r\n\x1b[0m ready\n", None, expected);
    }

    #[test]
    fn a_version_that_is_not_allowed_is_told_with_those_that_are() {
        let expected = "the receiver speaks none of the TLS versions allowed here (1.2, 1.3)";
        check(Error::AlertReceived(AlertDescription::ProtocolVersion), &[21, 3, 1], None, expected);
        let incompatible = PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig;
        check(Error::PeerIncompatible(incompatible), &[22, 3, 3], None, expected);
    }

    #[test]
    fn other_alerts_are_named() {
        let error = Error::AlertReceived(AlertDescription::InternalError);
        check(error, &[21, 3, 3], None, "the receiver refused the handshake: TLS alert InternalError");
    }
}
