//! The few facts about a certificate that are told to people.
//!
//! In: a certificate as DER. Out: its fingerprint, and common name and end of validity where they can be read.
//! What always holds: nothing here decides whether a certificate is trusted; odd input gives `None`.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use ring::digest;

/// The hash of a certificate in the notation of RFC 5425 section 4.2.2: `sha-256:AB:CD:…`; `sha-1` is accepted too.
#[derive(Clone, PartialEq, Eq)]
pub struct Fingerprint {
    algorithm: Algorithm,
    bytes: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Algorithm {
    Sha1,
    Sha256,
}

/// A text that is no fingerprint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{text}' is no fingerprint: write sha-256: (or sha-1:) and {wanted} pairs of hex digits, e.g. sha-256:AB:CD:…"
)]
pub struct NoFingerprint {
    text: String,
    wanted: usize,
}

impl Fingerprint {
    /// The SHA-256 fingerprint of a certificate.
    pub fn of(certificate: &[u8]) -> Self {
        Self::with(Algorithm::Sha256, certificate)
    }

    /// Whether this is the fingerprint of the certificate.
    pub fn matches(&self, certificate: &[u8]) -> bool {
        *self == Self::with(self.algorithm, certificate)
    }

    fn with(algorithm: Algorithm, certificate: &[u8]) -> Self {
        let bytes = digest::digest(algorithm.digest(), certificate).as_ref().to_vec();
        Self { algorithm, bytes }
    }
}

impl Algorithm {
    fn digest(self) -> &'static digest::Algorithm {
        match self {
            // RFC 5425 makes it mandatory; a second certificate for a given fingerprint is still out of reach.
            Self::Sha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => &digest::SHA256,
        }
    }
}

impl FromStr for Fingerprint {
    type Err = NoFingerprint;

    /// Accepts upper and lower case, with and without colons.
    fn from_str(text: &str) -> Result<Self, NoFingerprint> {
        let (name, hex) = text.trim().split_once(':').unwrap_or((text, ""));
        let algorithm = match name.to_ascii_lowercase().as_str() {
            "sha-1" | "sha1" => Algorithm::Sha1,
            _ => Algorithm::Sha256,
        };
        let known = ["sha-1", "sha1", "sha-256", "sha256"].iter().any(|n| name.eq_ignore_ascii_case(n));
        let wanted = algorithm.digest().output_len();
        let digits: Option<Vec<u32>> = hex.chars().filter(|&c| c != ':').map(|c| c.to_digit(16)).collect();
        match digits {
            Some(digits) if known && digits.len() == wanted * 2 => {
                let bytes = digits.chunks(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect();
                Ok(Self { algorithm, bytes })
            }
            _ => Err(NoFingerprint { text: text.to_owned(), wanted }),
        }
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.algorithm {
            Algorithm::Sha1 => "sha-1",
            Algorithm::Sha256 => "sha-256",
        })?;
        self.bytes.iter().try_for_each(|byte| write!(f, ":{byte:02X}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Tags of ITU-T X.690 that occur here.
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OBJECT_ID: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const VERSION: u8 = 0xA0;
/// id-at-commonName, 2.5.4.3.
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];

/// The common name of the certificate's subject.
pub fn subject(certificate: &[u8]) -> Option<String> {
    common_name(fields(certificate)?.subject)
}

/// The common name of the certificate's issuer.
pub fn issuer(certificate: &[u8]) -> Option<String> {
    common_name(fields(certificate)?.issuer)
}

/// The last moment at which the certificate is valid.
pub fn not_after(certificate: &[u8]) -> Option<Timestamp> {
    let (_, not_before) = take(fields(certificate)?.validity)?;
    time(take(not_before.rest)?)
}

struct Fields<'a> {
    issuer: &'a [u8],
    validity: &'a [u8],
    subject: &'a [u8],
}

/// One element of DER: what is in it, and what follows it.
struct Element<'a> {
    content: &'a [u8],
    rest: &'a [u8],
}

/// The beginning of a TBSCertificate (RFC 5280 section 4.1).
fn fields(certificate: &[u8]) -> Option<Fields<'_>> {
    let certificate = expect(SEQUENCE, certificate)?;
    let tbs = expect(SEQUENCE, certificate.content)?;
    let serial = match take(tbs.content)? {
        (VERSION, version) => take(version.rest)?.1,
        (_, serial) => serial,
    };
    let signature = expect(SEQUENCE, serial.rest)?;
    let issuer = expect(SEQUENCE, signature.rest)?;
    let validity = expect(SEQUENCE, issuer.rest)?;
    let subject = expect(SEQUENCE, validity.rest)?;
    Some(Fields { issuer: issuer.content, validity: validity.content, subject: subject.content })
}

/// The last common name in a Name, which is the most specific one.
fn common_name(mut name: &[u8]) -> Option<String> {
    let mut found = None;
    while !name.is_empty() {
        let set = expect(SET, name)?;
        let attribute = expect(SEQUENCE, set.content)?;
        let kind = expect(OBJECT_ID, attribute.content)?;
        if kind.content == COMMON_NAME {
            let (_, value) = take(kind.rest)?;
            found = Some(String::from_utf8_lossy(value.content).into_owned());
        }
        name = set.rest;
    }
    found
}

/// `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ` (RFC 5280 section 4.1.2.5).
fn time((tag, element): (u8, Element<'_>)) -> Option<Timestamp> {
    let text = str::from_utf8(element.content).ok()?;
    let full = match tag {
        GENERALIZED_TIME => text.to_owned(),
        UTC_TIME if text.get(..2)? < "50" => format!("20{text}"),
        UTC_TIME => format!("19{text}"),
        _ => return None,
    };
    let civil = DateTime::strptime("%Y%m%d%H%M%SZ", full).ok()?;
    Some(civil.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

fn expect(tag: u8, der: &[u8]) -> Option<Element<'_>> {
    take(der).filter(|(found, _)| *found == tag).map(|(_, element)| element)
}

fn take(der: &[u8]) -> Option<(u8, Element<'_>)> {
    let (&tag, der) = der.split_first()?;
    let (&first, der) = der.split_first()?;
    let (length, der) = match first {
        0..=0x7F => (usize::from(first), der),
        0x81..=0x83 => {
            let (length, rest) = der.split_at_checked(usize::from(first & 0x7F))?;
            (length.iter().fold(0, |sum, &byte| sum << 8 | usize::from(byte)), rest)
        }
        _ => return None,
    };
    let (content, rest) = der.split_at_checked(length)?;
    Some((tag, Element { content, rest }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;

    /// Made by `openssl req -x509 -newkey ec -subj "/O=Test/CN=logs.example" -days 3650`; fingerprints by `openssl x509`.
    const PEM: &[u8] = include_bytes!("testdata/certificate.pem");
    const SHA_1: &str = include_str!("testdata/certificate.sha1");
    const SHA_256: &str = include_str!("testdata/certificate.sha256");

    fn certificate() -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(PEM).unwrap()
    }

    #[test]
    fn names_and_dates_are_those_that_openssl_shows() {
        assert_eq!(subject(&certificate()).as_deref(), Some("logs.example"));
        assert_eq!(issuer(&certificate()).as_deref(), Some("logs.example"));
        assert_eq!(not_after(&certificate()).unwrap().to_string(), "2036-11-18T12:07:44Z");
    }

    #[test]
    fn fingerprints_are_those_that_openssl_shows() {
        for (name, hex) in [("sha-1", SHA_1.trim()), ("sha-256", SHA_256.trim())] {
            let text = format!("{name}:{hex}");
            let fingerprint: Fingerprint = text.parse().unwrap();
            assert!(fingerprint.matches(&certificate()), "{text}");
            assert!(!fingerprint.matches(b"another"), "{text}");
            assert_eq!(fingerprint.to_string(), text);
        }
        assert_eq!(Fingerprint::of(&certificate()).to_string(), format!("sha-256:{}", SHA_256.trim()));
    }

    #[test]
    fn a_fingerprint_may_be_written_in_several_ways() {
        let wanted: Fingerprint = format!("sha-256:{}", SHA_256.trim()).parse().unwrap();
        let bare = SHA_256.trim().replace(':', "");
        assert_eq!(format!("SHA256:{}", bare.to_lowercase()).parse(), Ok(wanted));
    }

    #[test]
    fn what_is_no_fingerprint_says_what_one_looks_like() {
        for text in ["", "sha-256", "sha-256:AB", "md5:00", "sha-256:XY", "sha-1:"] {
            let error = text.parse::<Fingerprint>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("'{text}' is no fingerprint: write sha-256:")), "{error}");
        }
        assert!("sha-1:00".parse::<Fingerprint>().unwrap_err().to_string().contains("20 pairs"));
    }

    proptest! {
        #[test]
        fn broken_certificates_are_read_without_harm(at in 0usize..400, byte: u8, length in 0usize..400) {
            let mut der = certificate().to_vec();
            let at = at % der.len();
            der[at] = byte;
            for der in [&der[..], &der[..length.min(der.len())]] {
                let _ = (subject(der), issuer(der), not_after(der));
            }
        }
    }
}
