//! What holds for every configuration, and for every text whatever.
#![allow(clippy::unwrap_used, clippy::panic)]

mod strategies;

use capstan_config::{ParseError, parse, render};
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value, json};

const GOLDEN: [&str; 4] = [
    include_str!("../golden/v1/smallest.json"),
    include_str!("../golden/v1/gunicorn.json"),
    include_str!("../golden/v1/everything.json"),
    include_str!("../golden/v1/pod.json"),
];

/// Reads a text. What is accepted must come back equal when written; what is refused must say why, within bounds.
fn check(text: &[u8]) {
    match parse(text) {
        Ok(config) => assert_eq!(parse(render(&config).as_bytes()).as_ref(), Ok(&config)),
        Err(ParseError::Invalid { fields }) => {
            assert!(!fields.is_empty());
            for field in fields {
                assert!(!field.path.is_empty() && !field.message.is_empty() && !field.message.ends_with('.'));
            }
        }
        Err(_) => {}
    }
}

/// How a text is damaged.
#[derive(Debug, Clone)]
enum Damage {
    Cut,
    Remove,
    Insert(String),
    Flip(u8),
}

fn damage() -> impl Strategy<Value = (Index, Damage)> {
    let damages = prop_oneof![
        1 => Just(Damage::Cut),
        4 => Just(Damage::Remove),
        4 => "[\"{}\\[\\],:a-zA-Z0-9/*. \\\\-]{1,3}".prop_map(Damage::Insert),
        4 => any::<u8>().prop_map(Damage::Flip),
    ];
    (any::<Index>(), damages)
}

fn apply(text: &mut Vec<u8>, index: Index, damage: &Damage) {
    let position = index.index(text.len().max(1));
    match damage {
        Damage::Cut => text.truncate(position),
        Damage::Insert(addition) => drop(text.splice(position..position, addition.bytes())),
        _ if text.is_empty() => {}
        Damage::Remove => drop(text.remove(position)),
        Damage::Flip(mask) => text[position] ^= mask,
    }
}

/// Values that are wrong almost everywhere, and right in some places.
fn odd_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        "[/*?{}\\[\\]a-zé,!\\\\-]{0,16}".prop_map(Value::from),
        "[0-9.]{1,9}(Ki|Mi|k|e|d|h|m|s|ms)?[0-9]{0,3}".prop_map(Value::from),
        "([*0-9,/LW#-]{1,4} ){4}[*0-9L#]{1,4}".prop_map(Value::from),
        Just(json!([])),
        Just(json!({})),
        Just(json!([{}])),
        Just(json!({ "name": "x" })),
        Just(json!("x".repeat(5000))),
    ]
}

/// Every place of a value, as pointers (RFC 6901).
fn places(value: &Value, prefix: &str, all: &mut Vec<String>) {
    all.push(prefix.to_owned());
    match value {
        Value::Object(keys) => {
            keys.iter().for_each(|(key, value)| places(value, &format!("{prefix}/{key}"), all))
        }
        Value::Array(items) => {
            items
                .iter()
                .enumerate()
                .for_each(|(index, item)| places(item, &format!("{prefix}/{index}"), all));
        }
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_reads_back_equal(config in strategies::config()) {
        let text = render(&config);
        let again = parse(text.as_bytes());
        prop_assert_eq!(again.as_ref(), Ok(&config), "{}", text);
        prop_assert_eq!(again.map(|again| render(&again)), Ok(text));
    }

    #[test]
    fn no_text_is_a_panic(text in any::<Vec<u8>>()) {
        check(&text);
    }

    #[test]
    fn no_damaged_file_is_a_panic(file in 0..4_usize, damages in prop::collection::vec(damage(), 1..8)) {
        let mut text = GOLDEN[file].as_bytes().to_vec();
        for (index, damage) in &damages {
            apply(&mut text, *index, damage);
        }
        check(&text);
    }

    #[test]
    fn no_odd_value_is_a_panic(file in 0..4_usize, changes in prop::collection::vec((any::<Index>(), odd_value()), 1..4)) {
        let mut json: Value = serde_json::from_str(GOLDEN[file]).unwrap();
        for (index, value) in changes {
            let mut all = Vec::new();
            places(&json, "", &mut all);
            *json.pointer_mut(&all[index.index(all.len())]).unwrap() = value;
        }
        check(json.to_string().as_bytes());
    }
}
