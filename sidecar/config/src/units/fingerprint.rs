//! Fingerprints of certificates (RFC 5425 section 4.2.2).

use std::fmt;
use std::str::FromStr;

use super::ValueError;

/// The hash of a certificate in DER.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Fingerprint {
    algorithm: FingerprintAlgorithm,
    bytes: Vec<u8>,
}

/// How a certificate is hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FingerprintAlgorithm {
    /// SHA-1, which RFC 5425 names; 20 bytes.
    Sha1,
    /// SHA-256; 32 bytes.
    Sha256,
}

impl FingerprintAlgorithm {
    /// The name in front of the bytes (IANA hash function textual names, RFC 4572 section 5).
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha1 => "sha-1",
            Self::Sha256 => "sha-256",
        }
    }

    /// The number of bytes.
    pub const fn length(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
        }
    }
}

impl Fingerprint {
    /// How the certificate was hashed.
    pub fn algorithm(&self) -> FingerprintAlgorithm {
        self.algorithm
    }

    /// The hash; as many bytes as the algorithm gives.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.algorithm.name())?;
        self.bytes.iter().try_for_each(|byte| write!(out, ":{byte:02X}"))
    }
}

impl FromStr for Fingerprint {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let (name, hex) = text.split_once(':').ok_or_else(|| malformed(text))?;
        let known = [FingerprintAlgorithm::Sha1, FingerprintAlgorithm::Sha256];
        let algorithm =
            known.into_iter().find(|algorithm| algorithm.name() == name).ok_or_else(|| malformed(text))?;
        let bytes: Option<Vec<u8>> = hex.split(':').map(byte).collect();
        let bytes = bytes.ok_or_else(|| malformed(text))?;
        if bytes.len() != algorithm.length() {
            return Err(ValueError::new(format!(
                "has {} bytes, but {name} gives {}; copy the whole fingerprint",
                bytes.len(),
                algorithm.length()
            )));
        }
        Ok(Self { algorithm, bytes })
    }
}

/// Two hexadecimal digits.
fn byte(text: &str) -> Option<u8> {
    let digits = text.len() == 2 && text.bytes().all(|b| b.is_ascii_hexdigit());
    digits.then(|| u8::from_str_radix(text, 16).ok()).flatten()
}

fn malformed(text: &str) -> ValueError {
    ValueError::new(format!(
        "{text:?} is not a fingerprint; write sha-256: or sha-1: and the bytes in hexadecimal with colons between, \
         such as \"sha-256:E1:2D:…\", as `openssl x509 -fingerprint -sha256` prints them"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHA1: &str = "sha-1:E1:2D:53:2B:7C:6B:8A:29:A2:76:C8:64:36:0B:08:4B:7A:F1:9E:9D";

    #[test]
    fn reads_the_form_of_the_rfc() {
        let fingerprint: Fingerprint = SHA1.parse().unwrap();
        assert_eq!(fingerprint.algorithm(), FingerprintAlgorithm::Sha1);
        assert_eq!(fingerprint.bytes()[..2], [0xe1, 0x2d]);
        assert_eq!(fingerprint.to_string(), SHA1);
        assert!(SHA1.replace("E1:2D", "e1:2d").parse::<Fingerprint>().is_ok());
    }

    #[test]
    fn refuses_everything_else() {
        for text in
            ["", "sha-1", "E1:2D", "md5:E1", "sha-256:", "sha-1:E:12", "sha-1:+1:2D", "SHA-1:E1", "sha-1:GG"]
        {
            assert!(
                text.parse::<Fingerprint>().unwrap_err().to_string().contains("not a fingerprint"),
                "{text}"
            );
        }
        let error = SHA1.replace("sha-1", "sha-256").parse::<Fingerprint>().unwrap_err();
        assert_eq!(error.to_string(), "has 20 bytes, but sha-256 gives 32; copy the whole fingerprint");
    }
}
