//! Lists and maps of which only so much is kept, however much is sent: whoever answers on a pod's port need not be a
//! sidecar, and an empty entry of three bytes would take a hundred.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// The most entries: a sidecar of a thousand files says less.
const MOST: usize = 4096;

struct List<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for List<T> {
    type Value = Vec<T>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Self::Value, A::Error> {
        let mut list = Vec::new();
        while list.len() < MOST
            && let Some(entry) = sequence.next_element()?
        {
            list.push(entry);
        }
        while sequence.next_element::<IgnoredAny>()?.is_some() {}
        Ok(list)
    }
}

struct Map<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Map<T> {
    type Value = BTreeMap<String, T>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let mut map = BTreeMap::new();
        while map.len() < MOST
            && let Some((name, entry)) = entries.next_entry()?
        {
            map.insert(name, entry);
        }
        while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(map)
    }
}

/// The first entries of a list.
pub fn list<'de, D: Deserializer<'de>, T: Deserialize<'de>>(source: D) -> Result<Vec<T>, D::Error> {
    source.deserialize_seq(List(PhantomData))
}

/// The first entries of a map.
pub fn map<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    source: D,
) -> Result<BTreeMap<String, T>, D::Error> {
    source.deserialize_map(Map(PhantomData))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Deserialize)]
    struct Both {
        #[serde(deserialize_with = "list")]
        list: Vec<u32>,
        #[serde(deserialize_with = "map")]
        map: BTreeMap<String, u32>,
    }

    #[test]
    fn of_too_many_entries_the_first_are_kept() {
        let list: Vec<String> = (0..5000).map(|number| number.to_string()).collect();
        let map: Vec<String> = (0..5000).map(|number| format!("\"{number:04}\":{number}")).collect();
        let json = format!("{{\"list\":[{}],\"map\":{{{}}}}}", list.join(","), map.join(","));
        let both: Both = serde_json::from_str(&json).unwrap();
        assert_eq!((both.list.len(), both.list.last()), (4096, Some(&4095)));
        assert_eq!((both.map.len(), both.map.last_key_value()), (4096, Some((&"4095".to_owned(), &4095))));
    }
}
