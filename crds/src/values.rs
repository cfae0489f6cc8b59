//! Values that several fields share, and the shape of what both kinds report.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// Declares text of a certain form.
macro_rules! text {
    ($(#[$doc:meta])* $type:ident, $pattern:literal, $most:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $type(pub String);

        impl JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "pattern": $pattern, "maxLength": $most })
            }
        }

        impl From<&str> for $type {
            fn from(text: &str) -> Self {
                Self(text.to_owned())
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str(&self.0)
            }
        }
    };
}

text! {
    /// A length of time: whole numbers with the units `d`, `h`, `m`, `s`, `ms`.
    Span, r"^([0-9]+(d|h|m|s|ms))+$", 32
}

text! {
    /// The name of a log or a destination: the form of a DNS label, at most 32 characters.
    Name, r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", 32
}

text! {
    /// The name of a Secret or ConfigMap.
    ObjectName, r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", 253
}

text! {
    /// A key of a Secret or ConfigMap.
    Key, r"^[-._a-zA-Z0-9]+$", 253
}

text! {
    /// The name of a preset. A string, so that an operator can know more of them than its CRD.
    Preset, r"^[A-Z][A-Za-z0-9]*$", 32
}

text! {
    /// An absolute path, as the app's container sees it.
    AbsolutePath, r"^/.*[^/]$", 1024
}

text! {
    /// A regular expression over bytes, with ASCII classes.
    Pattern, r"^(.|\n)+$", 1024
}

/// A number of bytes, as a number or as a quantity such as `100Mi`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Size {
    /// As a number.
    Bytes(u64),
    /// As a quantity.
    Text(String),
}

impl JsonSchema for Size {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "x-kubernetes-int-or-string": true,
            "pattern": r"^[0-9]+(\.[0-9]+)?([kMGTPE]|[KMGTPE]i|[eE][0-9]+)?$",
            "maxLength": 32,
            "minimum": 0,
        })
    }
}

impl From<&str> for Size {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

/// An object without keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Nothing {}

/// A key of a Secret or ConfigMap of the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeyRef {
    /// The object.
    pub name: ObjectName,
    /// The key in it.
    pub key: Key,
}

/// An object of the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ObjectRef {
    /// Its name.
    pub name: ObjectName,
}

/// The schema of `status.conditions`: that of the API conventions, without its long descriptions.
pub(crate) fn conditions(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 16,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "type": "object",
            "required": ["type", "status", "reason", "message", "lastTransitionTime"],
            "properties": {
                "type": { "type": "string", "maxLength": 316 },
                "status": { "type": "string", "enum": ["True", "False", "Unknown"] },
                "observedGeneration": { "type": "integer", "format": "int64" },
                "lastTransitionTime": { "type": "string", "format": "date-time" },
                "reason": { "type": "string", "maxLength": 1024 },
                "message": { "type": "string", "maxLength": 32768 },
            },
        },
    })
}
