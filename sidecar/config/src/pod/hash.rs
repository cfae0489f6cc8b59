//! Which content a policy's file has, and which it should have.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use ring::digest;

use crate::units::{PolicyName, ValueError};

/// The length of a hash, in hexadecimal digits.
const DIGITS: usize = 16;

/// The hash of a file's bytes: the first 16 hexadecimal digits of their SHA-256, in lower case.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConfigHash(String);

impl ConfigHash {
    /// The hash of a file with this content.
    pub fn of(file: &[u8]) -> Self {
        let digest = digest::digest(&digest::SHA256, file);
        Self(digest.as_ref().iter().take(DIGITS / 2).map(|byte| format!("{byte:02x}")).collect())
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ConfigHash {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl FromStr for ConfigHash {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        if text.len() == DIGITS && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Ok(Self(text.to_owned()));
        }
        Err(ValueError::new(format!("{text:?} is not a hash; write 16 hexadecimal digits in lower case")))
    }
}

/// The hashes of several policies' files, as the annotation
/// [`CONFIG_HASH_ANNOTATION`](crate::names::CONFIG_HASH_ANNOTATION) writes them: `web=0123456789abcdef,...`, sorted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConfigHashes(pub BTreeMap<PolicyName, ConfigHash>);

impl fmt::Display for ConfigHashes {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (policy, hash)) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "," };
            write!(out, "{separator}{policy}={hash}")?;
        }
        Ok(())
    }
}

impl FromStr for ConfigHashes {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        parts.map(read_one).collect::<Result<_, _>>().map(Self)
    }
}

fn read_one(text: &str) -> Result<(PolicyName, ConfigHash), ValueError> {
    let (policy, hash) = text.split_once('=').ok_or_else(|| {
        ValueError::new(format!("{text:?} has no \"=\"; write for example web=0123456789abcdef"))
    })?;
    Ok((policy.trim().parse()?, hash.trim().parse()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_the_beginning_of_sha_256() {
        // The value of `printf abc | sha256sum`, an example of FIPS 180-2.
        assert_eq!(ConfigHash::of(b"abc").as_str(), "ba7816bf8f01cfea");
        assert_eq!(ConfigHash::of(b"").as_str(), "e3b0c44298fc1c14");
        assert_ne!(ConfigHash::of(b"{}"), ConfigHash::of(b"{}\n"));
    }

    #[test]
    fn the_annotation_is_sorted_and_reads_back_equal() {
        let text = "web=ba7816bf8f01cfea, audit=e3b0c44298fc1c14,";
        let hashes: ConfigHashes = text.parse().unwrap();
        assert_eq!(hashes.to_string(), "audit=e3b0c44298fc1c14,web=ba7816bf8f01cfea");
        assert_eq!(hashes.to_string().parse(), Ok(hashes));
        assert_eq!("".parse(), Ok(ConfigHashes::default()));
    }

    #[test]
    fn an_annotation_that_is_wrong_says_what() {
        for (text, message) in [
            ("web", r#""web" has no "="; write for example web=0123456789abcdef"#),
            ("web=", r#""" is not a hash; write 16 hexadecimal digits in lower case"#),
            (
                "web=BA7816BF8F01CFEA",
                r#""BA7816BF8F01CFEA" is not a hash; write 16 hexadecimal digits in lower case"#,
            ),
            ("=ba7816bf8f01cfea", "is empty; write a name"),
        ] {
            assert_eq!(text.parse::<ConfigHashes>().unwrap_err().to_string(), message);
        }
    }
}
