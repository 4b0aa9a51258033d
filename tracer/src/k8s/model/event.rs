//! Events, of the core API and of events.k8s.io.

use serde::{Deserialize, Serialize};

use super::Metadata;

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Event {
    pub metadata: Metadata,
    #[serde(alias = "regarding")]
    pub involved_object: ObjectReference,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    #[serde(alias = "note", skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// `Normal` or `Warning`.
    #[serde(rename = "type", skip_serializing_if = "String::is_empty")]
    pub kind: String,
    #[serde(alias = "deprecatedCount", skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    #[serde(alias = "deprecatedFirstTimestamp", skip_serializing_if = "Option::is_none")]
    pub first_timestamp: Option<String>,
    #[serde(alias = "deprecatedLastTimestamp", skip_serializing_if = "Option::is_none")]
    pub last_timestamp: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_time: Option<String>,
    #[serde(alias = "deprecatedSource", skip_serializing_if = "EventSource::is_empty")]
    pub source: EventSource,
}

impl Event {
    /// When it last happened, as the API wrote it.
    pub fn last_seen(&self) -> Option<&str> {
        let own = [&self.last_timestamp, &self.event_time, &self.first_timestamp];
        own.into_iter().find_map(Option::as_deref).or(self.metadata.creation_timestamp.as_deref())
    }
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ObjectReference {
    pub kind: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    pub name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// `spec.containers{NAME}` when the event is about one container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field_path: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EventSource {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub component: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
}

impl EventSource {
    fn is_empty(&self) -> bool {
        self.component.is_none() && self.host.is_none()
    }
}
