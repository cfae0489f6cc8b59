//! Names of policies, logs and destinations.

use std::fmt;
use std::str::FromStr;

use super::ValueError;

/// Declares a name of a certain length.
macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $max:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type(String);

        impl $type {
            /// The greatest length, in bytes.
            pub const MAX: usize = $max;

            /// The name.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str(&self.0)
            }
        }

        impl FromStr for $type {
            type Err = ValueError;

            fn from_str(text: &str) -> Result<Self, ValueError> {
                check(text, Self::MAX).map(|()| Self(text.to_owned()))
            }
        }
    };
}

name! {
    /// The name of a policy: what its custom resource is called, or any name on a plain host.
    PolicyName, 55
}

name! {
    /// The name of a log: a MSGID (RFC 5424 section 6.2.7: at most 32 characters) and a label of metrics.
    LogName, 32
}

name! {
    /// The name of a destination: a label of metrics and the key of its cursors.
    DestinationName, 32
}

name! {
    /// The name of a container of the pod (RFC 1123 section 2.1: at most 63 characters).
    ContainerName, 63
}

/// Checks what all names have in common: the form of a DNS label (RFC 1123 section 2.1), so that a name can stand in
/// Kubernetes objects, metric labels, file names and syslog headers.
fn check(text: &str, max: usize) -> Result<(), ValueError> {
    if text.is_empty() {
        return Err(ValueError::new("is empty; write a name"));
    }
    if text.len() > max {
        return Err(ValueError::new(format!("{text:?} has {} characters; write at most {max}", text.len())));
    }
    let characters = text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'));
    if !characters || text.starts_with('-') || text.ends_with('-') {
        return Err(ValueError::new(format!(
            "{text:?} is not a name; write lower-case letters, digits and inner hyphens, such as \"access-log\""
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dns_labels() {
        for text in ["a", "access", "access-log", "0", "a1-b2"] {
            assert_eq!(text.parse::<LogName>().map(|name| name.to_string()), Ok(text.to_owned()));
        }
        for text in ["", "-a", "a-", "A", "a_b", "a.b", "ä", "a b", "a/b", "..", "a\n"] {
            assert!(text.parse::<LogName>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn each_name_has_its_own_length() {
        assert!("x".repeat(55).parse::<PolicyName>().is_ok());
        assert!("x".repeat(56).parse::<PolicyName>().is_err());
        assert!("x".repeat(32).parse::<LogName>().is_ok());
        assert!("x".repeat(33).parse::<LogName>().is_err());
        assert!("x".repeat(33).parse::<DestinationName>().is_err());
    }
}
