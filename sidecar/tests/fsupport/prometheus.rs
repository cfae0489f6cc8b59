//! A strict reader of Prometheus's text format 0.0.4.

use std::collections::{BTreeMap, HashSet};

/// A page of metrics.
pub struct Page {
    /// Type by name.
    pub types: BTreeMap<String, String>,
    pub samples: Vec<Sample>,
}

/// One line.
pub struct Sample {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

impl Page {
    /// Reads a page; panics at what is not allowed in it.
    pub fn parse(text: &str) -> Page {
        let mut page = Page { types: BTreeMap::new(), samples: Vec::new() };
        let mut helps = HashSet::new();
        assert!(text.ends_with('\n'), "the last line has no end");
        for line in text.lines().filter(|line| !line.is_empty()) {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let name = help.split(' ').next().unwrap();
                assert!(helps.insert(name.to_owned()), "two helps: {line}");
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').unwrap();
                assert!(["counter", "gauge", "histogram", "summary", "untyped"].contains(&kind), "{line}");
                assert!(page.types.insert(name.to_owned(), kind.to_owned()).is_none(), "two types: {line}");
            } else if !line.starts_with('#') {
                page.samples.push(sample(line));
            }
        }
        page.check();
        page
    }

    /// Every sample belongs to a type, and no two have the same name and labels.
    fn check(&self) {
        let mut seen = HashSet::new();
        for sample in &self.samples {
            assert!(self.types.contains_key(self.family(&sample.name)), "{} has no type", sample.name);
            assert!(seen.insert((&sample.name, &sample.labels)), "{} comes twice", sample.name);
            if self.types.get(&sample.name).is_some_and(|kind| kind == "counter") {
                assert!(sample.name.ends_with("_total"), "{} is a counter", sample.name);
                assert!(sample.value >= 0.0);
            }
        }
    }

    /// A histogram's samples carry suffixes.
    fn family<'a>(&self, name: &'a str) -> &'a str {
        let stems = ["_bucket", "_sum", "_count"].iter().filter_map(|suffix| name.strip_suffix(suffix));
        let mut known = stems.filter(|stem| self.types.get(*stem).is_some_and(|kind| kind == "histogram"));
        known.next().unwrap_or(name)
    }

    /// The sum of a metric over the samples that carry these labels; 0 if there is none.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let fits = |sample: &&Sample| {
            sample.name == name
                && labels.iter().all(|(key, value)| sample.labels.get(*key).is_some_and(|v| v == value))
        };
        self.samples.iter().filter(fits).map(|sample| sample.value).sum()
    }

    /// The sets of label names under which a metric stands.
    pub fn label_names(&self, name: &str) -> HashSet<Vec<&str>> {
        let of = |sample: &'_ Sample| sample.name == name;
        let samples = self.samples.iter().filter(|sample| of(sample));
        samples.map(|sample| sample.labels.keys().map(String::as_str).collect()).collect()
    }
}

fn sample(line: &str) -> Sample {
    let (head, value) = line.rsplit_once(' ').unwrap();
    let (name, labels) = match head.split_once('{') {
        Some((name, labels)) => (name, labels.strip_suffix('}').expect("labels without end")),
        None => (head, ""),
    };
    assert!(is_name(name, ":"), "{line}");
    let value = value.parse().unwrap_or_else(|_| panic!("no number: {line}"));
    Sample { name: name.to_owned(), labels: read_labels(labels), value }
}

fn read_labels(mut rest: &str) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    while !rest.is_empty() {
        let (name, after) = rest.split_once("=\"").expect("a label without value");
        assert!(is_name(name, ""), "{name}");
        // None of our values needs an escape: they are names.
        let (value, after) = after.split_once('"').expect("a label's value without end");
        assert!(!value.contains('\\'), "{value}");
        assert!(labels.insert(name.to_owned(), value.to_owned()).is_none(), "{name} comes twice");
        rest = after.strip_prefix(',').unwrap_or(after);
    }
    labels
}

fn is_name(text: &str, also: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || also.contains(c);
    !text.is_empty() && text.chars().all(allowed) && !text.starts_with(|c: char| c.is_ascii_digit())
}
