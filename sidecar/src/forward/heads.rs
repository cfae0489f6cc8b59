//! The heads of a destination's messages: what the configuration, the pod and files with secret names say.

use std::sync::Arc;

use capstan_config as config;

use crate::pod::Pod;
use crate::settings::{DestinationSettings, LogSettings};
use crate::stream::feed::Feed;
use crate::syslog::message::{Element, Header, HeaderFields};

/// Makes the heads of one destination's messages.
pub struct Heads {
    settings: Arc<DestinationSettings>,
    hostname: String,
    pod: Arc<Pod>,
    /// Elements that every message carries, as their files were when they were last read.
    elements: Vec<Element>,
    /// What was wrong with the files then.
    problems: Vec<String>,
}

impl Heads {
    /// Heads of messages to the destination of `settings`, from `hostname` if nothing else is configured.
    pub fn new(settings: Arc<DestinationSettings>, hostname: String, pod: Arc<Pod>) -> Heads {
        let mut heads = Heads { settings, hostname, pod, elements: Vec::new(), problems: Vec::new() };
        heads.renew();
        heads
    }

    /// Reads files again, which may hold other names by now. Returns whether heads look different from now on.
    pub fn renew(&mut self) -> bool {
        let mut problems = Vec::new();
        let all = self.settings.destination.syslog.structured_data.iter();
        let elements: Vec<Element> = all.filter_map(|known| element(known, &mut problems)).collect();
        if problems != self.problems {
            for problem in &problems {
                tracing::error!(
                    destination = self.settings.key,
                    "{problem}; messages go out without this structured-data element"
                );
            }
            self.problems = problems;
        }
        let changed = elements != self.elements;
        self.elements = elements;
        changed
    }

    /// The head of the messages of one generation.
    pub fn head(&self, feed: &Feed, log: &LogSettings) -> Header {
        let Some(forward) = &log.log.forward else { return Header::new(&HeaderFields::default()) };
        let mut structured_data = self.elements.clone();
        let metadata = self.pod.metadata(&log.log, forward);
        if !metadata.is_empty() {
            let id = config::names::METADATA_ELEMENT.to_owned();
            structured_data.push(Element { id, params: metadata });
        }
        let position_element = self.settings.destination.syslog.position_element;
        Header::new(&HeaderFields {
            facility: forward.facility.code(),
            severity: forward.severity.code(),
            hostname: self.pod.hostname(forward, &self.hostname),
            app_name: forward.app_name.clone().unwrap_or_else(|| log.policy.clone()),
            proc_id: String::new(),
            msg_id: log.log.name.to_string(),
            structured_data,
            position_of: position_element.then(|| feed.key.stream.to_string()),
        })
    }
}

/// An element whose name may be a secret in a file. One that cannot be read is left out: lines without it are better
/// than no lines.
fn element(element: &config::SdElement, problems: &mut Vec<String>) -> Option<Element> {
    let id = match &element.id {
        config::SdId::Literal(id) => id.clone(),
        config::SdId::File(path) => match std::fs::read_to_string(path.as_path()) {
            Ok(text) => text.trim().to_owned(),
            Err(error) => {
                problems.push(format!("cannot read {}: {error}", path.as_path().display()));
                return None;
            }
        },
    };
    let params = element.params.iter().map(|param| (param.name.clone(), param.value.clone()));
    Some(Element { id, params: params.collect() })
}
