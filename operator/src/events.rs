//! Events: what has changed, told once to whoever looks at an object.
//!
//! What always holds: an Event's name is made from what it says, so that saying it again is refused by the API server
//! and not repeated; one that cannot be written is logged and forgotten.

use capstan_config::ConfigHash;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::Client;
use kube::api::{Api, ObjectMeta, PostParams};

/// The longest note, in bytes (events.k8s.io/v1).
const LONGEST_NOTE: usize = 1024;

/// Who tells.
const CONTROLLER: &str = "capstan.dev/operator";

/// Whether something is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// All is well.
    Normal,
    /// Something is wrong.
    Warning,
}

/// What there is to tell.
#[derive(Clone, Debug, PartialEq)]
pub struct Telling {
    /// About which object.
    pub about: ObjectReference,
    /// Whether something is wrong.
    pub level: Level,
    /// One word.
    pub reason: String,
    /// What was being done, one word.
    pub action: &'static str,
    /// A sentence.
    pub note: String,
    /// What tells this occurrence from the next of the same words, such as the time of a transition.
    pub occurrence: String,
}

/// A pod.
pub fn pod(key: &crate::pods::Key, uid: &str) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Pod".to_owned()),
        namespace: Some(key.namespace.clone()),
        name: Some(key.name.clone()),
        uid: Some(uid.to_owned()),
        ..ObjectReference::default()
    }
}

/// Tells.
pub async fn tell(client: &Client, instance: &str, telling: &Telling) {
    let event = event(telling, instance, Timestamp::now());
    let namespace = event.metadata.namespace.clone().unwrap_or_default();
    let api: Api<Event> = Api::namespaced(client.clone(), &namespace);
    match api.create(&PostParams::default(), &event).await {
        Ok(_) => {}
        // It was told before.
        Err(kube::Error::Api(status)) if status.is_already_exists() => {}
        Err(error) => {
            let reason = &telling.reason;
            tracing::warn!(%error, %reason, note = %telling.note, "an Event could not be written");
        }
    }
}

/// The Event.
fn event(telling: &Telling, instance: &str, now: Timestamp) -> Event {
    let Telling { about, level, reason, action, note, occurrence } = telling;
    let uid = about.uid.as_deref().unwrap_or_default();
    let words = ConfigHash::of(format!("{uid}\n{reason}\n{note}\n{occurrence}").as_bytes());
    let name = about.name.as_deref().unwrap_or_default();
    Event {
        metadata: ObjectMeta {
            name: Some(format!("{}.{words}", name.get(..200).unwrap_or(name))),
            namespace: about.namespace.clone(),
            ..ObjectMeta::default()
        },
        event_time: Some(MicroTime(now)),
        reporting_controller: Some(CONTROLLER.to_owned()),
        reporting_instance: Some(instance.chars().take(128).collect()),
        action: Some((*action).to_owned()),
        reason: Some(reason.chars().take(128).collect()),
        note: Some(cut(note)),
        regarding: Some(about.clone()),
        type_: Some(if *level == Level::Normal { "Normal" } else { "Warning" }.to_owned()),
        ..Event::default()
    }
}

/// An error with all its causes: the outermost often says only that something failed.
pub fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let more = inner.to_string();
        if !text.contains(&more) {
            text.push_str(&format!(": {more}"));
        }
        cause = inner.source();
    }
    text
}

fn cut(note: &str) -> String {
    let mut end = note.len().min(LONGEST_NOTE);
    while !note.is_char_boundary(end) {
        end -= 1;
    }
    note[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pods::Key;

    fn telling(note: &str, occurrence: &str) -> Telling {
        Telling {
            about: pod(&Key::new("shop", "web-0"), "u"),
            level: Level::Warning,
            reason: "SidecarMissing".to_owned(),
            action: "Sweep",
            note: note.to_owned(),
            occurrence: occurrence.to_owned(),
        }
    }

    #[test]
    fn the_same_words_have_the_same_name() {
        let name = |telling: &Telling, second| {
            event(telling, "operator-1", Timestamp::from_second(second).unwrap()).metadata.name.unwrap()
        };
        let first = name(&telling("a", ""), 1);
        assert!(first.starts_with("web-0."), "{first}");
        assert_eq!(first, name(&telling("a", ""), 2));
        assert_ne!(first, name(&telling("b", ""), 1));
        assert_ne!(first, name(&telling("a", "again"), 1));
    }

    #[test]
    fn a_long_note_is_cut_between_characters() {
        let long = event(&telling(&"ä".repeat(1000), ""), "i", Timestamp::UNIX_EPOCH).note.unwrap();
        assert_eq!(long.len(), 1024);
        let odd = event(&telling(&format!("x{}", "ä".repeat(1000)), ""), "i", Timestamp::UNIX_EPOCH);
        assert_eq!(odd.note.unwrap().len(), 1023);
    }
}
