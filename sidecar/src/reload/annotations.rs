//! The pod's annotations, as the downward API writes them into a file: a line `key="value"` each, the value escaped as
//! Go's `%q` does.
//!
//! In comes the file's text, out come the values. What always holds: a line that cannot be understood hides no other.

/// The value of an annotation; `None` if there is none, or none that can be read.
pub fn value(text: &str, key: &str) -> Option<String> {
    let lines = text.lines().filter_map(|line| line.split_once('='));
    let (_, quoted) = lines.into_iter().find(|(name, _)| *name == key)?;
    unquote(quoted)
}

/// Reads a string of Go (The Go Programming Language Specification, "Interpreted string literals").
fn unquote(quoted: &str) -> Option<String> {
    let inner = quoted.strip_prefix('"')?.strip_suffix('"')?;
    let mut bytes = Vec::with_capacity(inner.len());
    let mut rest = inner.chars();
    while let Some(character) = rest.next() {
        if character != '\\' {
            push(&mut bytes, character);
            continue;
        }
        let escaped = match rest.next()? {
            'a' => '\x07',
            'b' => '\x08',
            'f' => '\x0c',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\x0b',
            'x' => {
                // A byte that is no UTF-8 by itself.
                bytes.push(u8::try_from(number(&mut rest, 2)?).ok()?);
                continue;
            }
            'u' => char::from_u32(number(&mut rest, 4)?)?,
            'U' => char::from_u32(number(&mut rest, 8)?)?,
            other @ ('\\' | '"' | '\'') => other,
            _ => return None,
        };
        push(&mut bytes, escaped);
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn push(bytes: &mut Vec<u8>, character: char) {
    bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
}

fn number(rest: &mut std::str::Chars<'_>, digits: usize) -> Option<u32> {
    let text: String = rest.by_ref().take(digits).collect();
    (text.len() == digits).then(|| u32::from_str_radix(&text, 16).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FILE: &str = r#"capstan.dev/config-hash="web=0123456789abcdef"
broken="no end
empty=""
kubernetes.io/config.source="api"
odd="a\"b\\c\nd\te\u00e9\x07 = ä"
"#;

    #[test]
    fn values_are_found_and_read() {
        assert_eq!(value(FILE, "capstan.dev/config-hash").as_deref(), Some("web=0123456789abcdef"));
        assert_eq!(value(FILE, "odd").as_deref(), Some("a\"b\\c\nd\teé\x07 = ä"));
        assert_eq!(value(FILE, "empty").as_deref(), Some(""));
        assert_eq!(value(FILE, "broken"), None);
        assert_eq!(value(FILE, "missing"), None);
    }

    proptest! {
        #[test]
        fn no_text_is_a_panic(text: String) {
            value(&text, "a");
            value(&format!("a={text}"), "a");
            value(&format!("a=\"{text}\""), "a");
        }
    }
}
