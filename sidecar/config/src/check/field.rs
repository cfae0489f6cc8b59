//! How each type of value is read from JSON.

use std::time::Duration;

use serde_json::Value;

use crate::shape::kind;
use crate::types::Choice;
use crate::units::{
    AbsolutePath, ByteSize, ContainerName, DestinationName, FileMode, Fingerprint, LogName, PathPattern,
    Pattern, PolicyName, RelativePath, Signal, ValueError, format_duration, parse_duration,
};

/// The longest text of any value, in bytes: PATH_MAX of Linux.
const LONGEST_TEXT: usize = 4096;

/// A value of the file.
pub(super) trait Field: Sized {
    /// Reads it.
    fn read(value: &Value) -> Result<Self, ValueError>;

    /// Shows it in a message, as it would be written.
    fn show(&self) -> String {
        String::new()
    }
}

/// Values that are text and read themselves.
macro_rules! text_fields {
    ($($type:ty),+) => {
        $(impl Field for $type {
            fn read(value: &Value) -> Result<Self, ValueError> {
                text(value)?.parse()
            }
        })+
    };
}

text_fields!(
    AbsolutePath,
    ContainerName,
    DestinationName,
    FileMode,
    Fingerprint,
    LogName,
    PathPattern,
    Pattern,
    PolicyName,
    RelativePath,
    Signal
);

impl Field for String {
    fn read(value: &Value) -> Result<Self, ValueError> {
        text(value).map(str::to_owned)
    }
}

impl Field for bool {
    fn read(value: &Value) -> Result<Self, ValueError> {
        value.as_bool().ok_or_else(|| ValueError::new(format!("must be true or false, not {}", kind(value))))
    }
}

impl Field for u32 {
    fn read(value: &Value) -> Result<Self, ValueError> {
        let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
        number.ok_or_else(|| not_whole(value, u64::from(Self::MAX)))
    }
}

impl Field for u16 {
    fn read(value: &Value) -> Result<Self, ValueError> {
        let number = value.as_u64().and_then(|number| Self::try_from(number).ok());
        number.ok_or_else(|| not_whole(value, u64::from(Self::MAX)))
    }
}

impl Field for ByteSize {
    fn read(value: &Value) -> Result<Self, ValueError> {
        match value {
            Value::String(_) => text(value)?.parse(),
            Value::Number(_) => value.as_u64().map(Self).ok_or_else(|| not_whole(value, u64::MAX)),
            other => Err(ValueError::new(format!("must be a size such as \"100Mi\", not {}", kind(other)))),
        }
    }

    fn show(&self) -> String {
        format!("\"{self}\"")
    }
}

impl Field for Duration {
    fn read(value: &Value) -> Result<Self, ValueError> {
        match value {
            Value::String(_) => parse_duration(text(value)?),
            Value::Number(number) => {
                Err(ValueError::new(format!("{number} has no unit; write for example \"{number}s\"")))
            }
            other => {
                Err(ValueError::new(format!("must be a length of time such as \"30s\", not {}", kind(other))))
            }
        }
    }

    fn show(&self) -> String {
        format!("\"{}\"", format_duration(*self))
    }
}

impl<T: Choice> Field for T {
    fn read(value: &Value) -> Result<Self, ValueError> {
        let name = text(value)?;
        if let Some((choice, _)) = T::NAMES.iter().find(|(_, known)| *known == name) {
            return Ok(*choice);
        }
        if T::LATER.contains(&name) {
            return Err(ValueError::new(format!("{name} is not supported yet; write {}", names::<T>())));
        }
        Err(ValueError::new(format!("{name:?} is not known; write {}", names::<T>())))
    }
}

/// The names of an enumeration, as a list with "or".
fn names<T: Choice>() -> String {
    let mut names: Vec<&str> = T::NAMES.iter().map(|(_, name)| *name).collect();
    match names.pop() {
        Some(last) if !names.is_empty() => format!("{} or {last}", names.join(", ")),
        last => last.unwrap_or_default().to_owned(),
    }
}

/// The text of a value. What is longer than any value may be is refused here, so that no message repeats it.
fn text(value: &Value) -> Result<&str, ValueError> {
    let text = value
        .as_str()
        .ok_or_else(|| ValueError::new(format!("must be text in quotes, not {}", kind(value))))?;
    if text.len() > LONGEST_TEXT {
        return Err(ValueError::new(format!("has {} bytes; write at most {LONGEST_TEXT}", text.len())));
    }
    Ok(text)
}

fn not_whole(value: &Value, most: u64) -> ValueError {
    match value {
        Value::Number(number) => ValueError::new(format!("{number} is not a whole number from 0 to {most}")),
        other => ValueError::new(format!("must be a number, not {}", kind(other))),
    }
}
