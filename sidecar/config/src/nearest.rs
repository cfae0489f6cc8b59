//! The name somebody may have meant.

/// A sentence about a name that is not known: the nearest that is, or all of them.
pub(crate) fn not_known<'a>(found: &str, known: impl Iterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.collect();
    match nearest(found, known.iter().copied()) {
        Some(name) => format!("is not known; did you mean {name}?"),
        None if known.is_empty() => "is not known; leave it out".to_owned(),
        None => format!("is not known; known here: {}", known.join(", ")),
    }
}

/// The nearest of `known`, if one is near enough to be what was meant.
pub(crate) fn nearest<'a>(found: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let (distance, name) =
        known.map(|name| (distance(found, name), name)).min_by_key(|(distance, _)| *distance)?;
    let near = distance <= 1 + name.len() / 4;
    near.then_some(name)
}

/// How many characters have to be put in, taken out or changed, whatever their case (Levenshtein's distance). A name
/// that is the beginning of the other counts as one.
fn distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.to_ascii_lowercase(), b.to_ascii_lowercase());
    if a.len() >= 2 && b.len() >= 2 && (a.starts_with(&b) || b.starts_with(&a)) {
        return usize::from(a != b);
    }
    // Long texts are no misspelt names, and would take quadratic time.
    if a.len() > 64 {
        return usize::MAX;
    }
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let change = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_name_is_recognized() {
        let known = ["maxLineBytes", "name", "files", "rotate", "forward"];
        let near = |found| nearest(found, known.into_iter());
        assert_eq!(near("maxLineByte"), Some("maxLineBytes"));
        assert_eq!(near("max_line_bytes"), Some("maxLineBytes"));
        assert_eq!(near("maxLine"), Some("maxLineBytes"));
        assert_eq!(near("Rotate"), Some("rotate"));
        assert_eq!(near("foward"), Some("forward"));
        assert_eq!(near("compression"), None);
        assert_eq!(near(""), None);
        assert_eq!(near(&"x".repeat(1_000_000)), None);
    }

    #[test]
    fn otherwise_all_names_are_told() {
        assert_eq!(not_known("x9", ["host", "port"].into_iter()), "is not known; known here: host, port");
        assert_eq!(not_known("x9", [].into_iter()), "is not known; leave it out");
    }
}
