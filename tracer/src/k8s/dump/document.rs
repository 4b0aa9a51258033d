//! One document: an object, or a list whose items are decoded as they are read.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use crate::k8s::model::{Object, ObjectError, Objects};

/// What a document holds. An object that can't be decoded is kept as the first error, because only the caller knows the
/// file and the document's number.
#[derive(Default)]
pub(super) struct Document {
    pub(super) objects: Objects,
    pub(super) skipped: BTreeMap<String, usize>,
    pub(super) error: Option<(Option<usize>, ObjectError)>,
}

impl Document {
    fn add(&mut self, item: Option<usize>, value: Value) {
        if self.error.is_some() {
            return;
        }
        match Object::from_value(value) {
            Ok(object) => self.objects.push(object, &mut self.skipped),
            Err(error) => self.error = Some((item, error)),
        }
    }
}

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(DocumentVisitor)
    }
}

struct DocumentVisitor;

impl<'de> Visitor<'de> for DocumentVisitor {
    type Value = Document;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a Kubernetes object (a mapping with `apiVersion` and `kind`)")
    }

    fn visit_unit<E>(self) -> Result<Document, E> {
        Ok(Document::default())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Document, A::Error> {
        let mut document = Document::default();
        let mut rest = Map::new();
        let mut pending = None;
        while let Some(key) = map.next_key::<String>()? {
            // `kubectl -o yaml` writes `items` before `kind`, so a list is recognised by its items.
            let kind = rest.get("kind").and_then(Value::as_str);
            if key == "items" && kind.is_none_or(|kind| kind.ends_with("List")) {
                pending = Some(map.next_value_seed(Items { document: &mut document })?);
            } else {
                rest.insert(key, map.next_value()?);
            }
        }
        let kind = rest.get("kind").and_then(Value::as_str).unwrap_or_default();
        match (pending, kind.strip_suffix("List")) {
            (Some(pending), Some(item_kind)) => {
                let api_version = rest.get("apiVersion").cloned().unwrap_or_default();
                for (index, value) in pending {
                    document.add(Some(index), with_type(value, item_kind, &api_version));
                }
            }
            (Some(pending), None) => {
                for (index, value) in pending {
                    document.add(Some(index), value);
                }
            }
            // A list of nothing, written without `items`.
            (None, Some(_)) => {}
            (None, _) => document.add(None, Value::Object(rest)),
        }
        Ok(document)
    }
}

/// Items of a typed list (`PodList`) don't repeat its type.
fn with_type(mut value: Value, kind: &str, api_version: &Value) -> Value {
    if let (Value::Object(item), false) = (&mut value, kind.is_empty()) {
        item.entry("kind").or_insert_with(|| kind.into());
        item.entry("apiVersion").or_insert_with(|| api_version.clone());
    }
    value
}

/// Decodes the items that say what they are, and returns the others, whose type the list itself says, with their
/// positions.
struct Items<'a> {
    document: &'a mut Document,
}

impl<'de> DeserializeSeed<'de> for Items<'_> {
    type Value = Vec<(usize, Value)>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Items<'_> {
    type Value = Vec<(usize, Value)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of Kubernetes objects")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Vec::new())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut pending = Vec::new();
        let mut index = 0;
        while let Some(value) = items.next_element::<Value>()? {
            if value.get("kind").is_some() && value.get("apiVersion").is_some() {
                self.document.add(Some(index), value);
            } else {
                pending.push((index, value));
            }
            index += 1;
        }
        Ok(pending)
    }
}
