//! What a sidecar leaves behind in [`TERMINATION_LOG`](crate::names::TERMINATION_LOG) when it ends and could not have
//! everything confirmed.

use serde::{Deserialize, Serialize};

/// The most bytes that Kubernetes keeps of a termination message.
const LONGEST: usize = 4096;

/// A termination message.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TerminationMessage {
    /// The version of the message, 1. Other messages, such as a panic's, have no such field.
    pub capstan: u32,
    /// What was not confirmed, the largest first.
    pub unconfirmed: Vec<Unconfirmed>,
}

/// The lines of a log that a destination has not confirmed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Unconfirmed {
    /// Policy and log, `web/access`.
    pub log: String,
    /// The destination's name.
    pub destination: String,
    /// How much.
    pub bytes: u64,
    /// How long ago the oldest of it was written, in seconds.
    pub seconds: f64,
}

impl TerminationMessage {
    /// A message about what was not confirmed.
    pub fn new(mut unconfirmed: Vec<Unconfirmed>) -> Self {
        unconfirmed.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.log.cmp(&b.log)));
        Self { capstan: 1, unconfirmed }
    }

    /// Writes it as JSON. What does not fit is left out, the least first.
    pub fn render(&self) -> String {
        let mut fitting = self.clone();
        loop {
            // Serializing fails only for maps with keys that are no text, and there are none.
            let text = serde_json::to_string(&fitting).unwrap_or_default();
            if text.len() <= LONGEST || fitting.unconfirmed.pop().is_none() {
                return text;
            }
        }
    }

    /// Reads a message; `None` if it is something else.
    pub fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unconfirmed(log: &str, bytes: u64) -> Unconfirmed {
        Unconfirmed { log: log.to_owned(), destination: "papertrail".to_owned(), bytes, seconds: 4.2 }
    }

    #[test]
    fn a_message_says_what_is_missing_and_reads_back() {
        let message =
            TerminationMessage::new(vec![unconfirmed("web/error", 1), unconfirmed("web/access", 123)]);
        let text = message.render();
        assert_eq!(
            text,
            r#"{"capstan":1,"unconfirmed":[{"log":"web/access","destination":"papertrail","bytes":123,"seconds":4.2},{"log":"web/error","destination":"papertrail","bytes":1,"seconds":4.2}]}"#
        );
        assert_eq!(TerminationMessage::parse(&text), Some(message));
        assert_eq!(TerminationMessage::parse("panicked at main.rs"), None);
    }

    #[test]
    fn a_long_message_leaves_out_the_least() {
        let all = (0..200).map(|n| unconfirmed(&format!("web/log-{n}"), n)).collect();
        let text = TerminationMessage::new(all).render();
        assert!(text.len() <= 4096 && text.len() > 3900, "{}", text.len());
        let read = TerminationMessage::parse(&text).unwrap();
        assert_eq!(read.unconfirmed[0].bytes, 199);
    }
}
