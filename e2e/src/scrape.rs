//! Metrics and other pages of pods: in, a pod and a port; out, text and samples.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use http::Request;
use kube::Client;

/// One line of the Prometheus text format.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// The name in front of the labels.
    pub family: String,
    /// The labels.
    pub labels: BTreeMap<String, String>,
    /// The value.
    pub value: f64,
}

/// A page of a pod, fetched by the API server.
///
/// # Errors
///
/// The pod does not answer, or not with status 200.
pub async fn get(client: &Client, namespace: &str, pod: &str, port: u16, path: &str) -> Result<String> {
    let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}:{port}/proxy{path}");
    let request = Request::get(&path).body(Vec::new())?;
    client.request_text(request).await.with_context(|| format!("cannot get {path}"))
}

/// The samples of a text; comments are left out.
pub fn parse(text: &str) -> Vec<Sample> {
    text.lines().filter_map(parse_line).collect()
}

/// The sum over all series of a family whose labels hold these.
pub fn sum(samples: &[Sample], family: &str, labels: &[(&str, &str)]) -> f64 {
    let fits = |sample: &&Sample| {
        sample.family == family
            && labels.iter().all(|(key, value)| sample.labels.get(*key).is_some_and(|has| has == value))
    };
    samples.iter().filter(fits).map(|sample| sample.value).sum()
}

fn parse_line(line: &str) -> Option<Sample> {
    if line.starts_with('#') {
        return None;
    }
    let (series, value) = line.rsplit_once(' ')?;
    let (family, labels) = series.split_once('{').unwrap_or((series, ""));
    Some(Sample {
        family: family.to_owned(),
        labels: parse_labels(labels.trim_end_matches('}')),
        value: value.parse().ok()?,
    })
}

/// `key="value",…`, with a backslash before quotes inside of values.
fn parse_labels(mut text: &str) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    while let Some((key, rest)) = text.split_once("=\"") {
        let mut value = String::new();
        let mut characters = rest.chars();
        while let Some(character) = characters.next() {
            match character {
                '"' => break,
                '\\' => value.extend(characters.next()),
                _ => value.push(character),
            }
        }
        labels.insert(key.trim_start_matches(',').to_owned(), value);
        text = characters.as_str();
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str =
        "# HELP a b\n# TYPE a counter\na{log=\"x\",to=\"y \\\"z\\\"\"} 2\na{log=\"w\"} 3\nb 0.5\n";

    #[test]
    fn labels_and_values_are_read() {
        let samples = parse(TEXT);
        assert_eq!(samples.len(), 3);
        assert_eq!(samples[0].labels["to"], "y \"z\"");
        assert_eq!(samples[2], Sample { family: "b".into(), labels: BTreeMap::new(), value: 0.5 });
    }

    #[test]
    fn sums_are_over_the_labels_asked_for() {
        let samples = parse(TEXT);
        assert_eq!(sum(&samples, "a", &[]), 5.0);
        assert_eq!(sum(&samples, "a", &[("log", "w")]), 3.0);
        assert_eq!(sum(&samples, "a", &[("log", "v")]), 0.0);
    }
}
