//! Metadata shared by every kind.

use std::sync::Arc;

use compact_str::CompactString;
use serde::{Deserialize, Serialize};

use super::Labels;

/// Annotations that say something the tracer uses; the others (last-applied-configuration is often larger than the
/// object itself) are not kept.
const KEPT_ANNOTATIONS: [&str; 2] = ["kubernetes.io/config.hash", "kubernetes.io/config.mirror"];

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Metadata {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    pub name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
    #[serde(skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
    #[serde(skip_serializing_if = "Labels::is_empty", deserialize_with = "kept_annotations")]
    pub annotations: Labels,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub owner_references: Arc<[OwnerReference]>,
    /// RFC 3339 in UTC as the API server writes it, which makes it sort as text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub creation_timestamp: Option<CompactString>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deletion_timestamp: Option<CompactString>,
}

impl Metadata {
    /// The owner that manages the object, else the first one listed.
    pub fn controller(&self) -> Option<&OwnerReference> {
        self.owner_references.iter().find(|owner| owner.controller).or_else(|| self.owner_references.first())
    }

    /// Uses the other's memory for what is the same.
    pub(super) fn share(&mut self, other: &Self) {
        self.labels.share(&other.labels);
        share(&mut self.owner_references, &other.owner_references);
    }
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OwnerReference {
    pub kind: String,
    pub name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub controller: bool,
}

/// A condition of a pod or a node.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Condition {
    #[serde(rename = "type")]
    pub kind: CompactString,
    pub status: CompactString,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<CompactString>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<CompactString>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_transition_time: Option<CompactString>,
}

impl Condition {
    pub fn is_true(&self) -> bool {
        self.status == "True"
    }
}

/// Pods of one template differ in few parts.
pub(super) fn share<T: PartialEq>(own: &mut Arc<[T]>, other: &Arc<[T]>) {
    if own == other {
        own.clone_from(other);
    }
}

fn kept_annotations<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Labels, D::Error> {
    let annotations = Labels::deserialize(deserializer)?;
    Ok(annotations.iter().filter(|(key, _)| KEPT_ANNOTATIONS.contains(key)).collect())
}
