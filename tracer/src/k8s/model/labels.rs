//! Labels, of which a large cluster has a hundred thousand.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Ends each key and each value; the API server admits it in neither.
const END: char = '\0';

/// Labels, selectors or annotations, in key order so that every output is deterministic. One allocation, which the pods
/// of a workload share.
#[derive(Clone, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Labels(Arc<str>);

impl Labels {
    pub fn get(&self, key: &str) -> Option<&str> {
        self.iter().find(|(known, _)| *known == key).map(|(_, value)| value)
    }

    pub fn contains_key(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> + Clone {
        let mut parts = self.0.split_terminator(END);
        std::iter::from_fn(move || Some((parts.next()?, parts.next()?)))
    }

    pub fn len(&self) -> usize {
        self.iter().count()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// With that label in place of the one of the same key.
    #[must_use]
    pub fn with(&self, key: &str, value: &str) -> Self {
        self.iter().filter(|(known, _)| *known != key).chain([(key, value)]).collect()
    }

    /// Uses the other's memory if it says the same.
    pub(super) fn share(&mut self, other: &Self) {
        if self == other {
            self.clone_from(other);
        }
    }
}

impl<'a> FromIterator<(&'a str, &'a str)> for Labels {
    fn from_iter<I: IntoIterator<Item = (&'a str, &'a str)>>(labels: I) -> Self {
        let sorted: BTreeMap<&str, &str> = labels.into_iter().collect();
        let parts = sorted.into_iter().flat_map(|(key, value)| [key, value]);
        let ended = parts.flat_map(|part| part.chars().filter(|c| *c != END).chain([END]));
        Self(ended.collect::<String>().into())
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl Serialize for Labels {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de> Deserialize<'de> for Labels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let labels = BTreeMap::<String, String>::deserialize(deserializer)?;
        Ok(labels.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_a_map() {
        let labels: Labels = serde_json::from_str(r#"{"b":"2","a":"","":"x","c":"\u0000y"}"#).unwrap();
        assert_eq!(serde_json::to_string(&labels).unwrap(), r#"{"":"x","a":"","b":"2","c":"y"}"#);
        assert_eq!(
            (labels.get("a"), labels.get("b"), labels.get("2"), labels.get("c")),
            (Some(""), Some("2"), None, Some("y"))
        );
        assert_eq!(labels.len(), 4);
        assert_eq!(labels.with("b", "3").get("b"), Some("3"));
        assert!(Labels::default().is_empty() && Labels::default().get("").is_none());
    }
}
