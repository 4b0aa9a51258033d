//! `/v1/incidents`: a list, or with `Accept: text/event-stream` each change as it happens.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Query as Parameters, State};
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use futures::stream::{self, Stream};
use serde::Serialize;

use super::query::Asked;
use crate::agent::shared::Shared;
use crate::agent::store::Query;
use crate::clock;
use crate::verdict::{Incident, SCHEMA};

/// A comment is sent after this, so that proxies keep the stream and a reader that is gone is noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Changes written at a time.
const BATCH: usize = 100;
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// The list.
#[derive(Debug, Serialize)]
struct List {
    schema: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<String>,
    /// Newest change first.
    incidents: Vec<Incident>,
    /// There are more than `limit`.
    truncated: bool,
}

pub(super) async fn get(
    State(shared): State<Arc<Shared>>,
    Parameters(parameters): Parameters<Vec<(String, String)>>,
    headers: HeaderMap,
) -> Response {
    let Asked { query, limit } = match Asked::parse(&parameters, clock::wall_ns()) {
        Ok(asked) => asked,
        Err(error) => return (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    };
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if text(header::ACCEPT).contains("text/event-stream") {
        let after = text(LAST_EVENT_ID).parse().unwrap_or(0);
        let body = Body::from_stream(changes(shared, Query { after, ..query }));
        let headers = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-store")];
        return (headers, body).into_response();
    }
    let node = shared.status().observing.as_ref().and_then(|observing| observing.node.clone());
    let store = shared.store();
    let mut found = store.newest(&query).map(|(_, incident)| incident.clone());
    let incidents: Vec<_> = found.by_ref().take(limit).collect();
    let truncated = found.next().is_some();
    drop(found);
    drop(store);
    Json(List { schema: SCHEMA, node, incidents, truncated }).into_response()
}

/// What is known and then what changes. A reader that is too slow misses states in between, never the last one; nothing
/// is kept for it.
fn changes(shared: Arc<Shared>, query: Query) -> impl Stream<Item = Result<Bytes, Infallible>> {
    let receiver = shared.changes();
    stream::unfold((shared, query, receiver), |(shared, mut query, mut receiver)| async move {
        loop {
            receiver.mark_unchanged();
            let (incidents, revision) = shared.store().changes(&query, BATCH);
            query.after = revision;
            if !incidents.is_empty() {
                return Some((Ok(events(&incidents, revision)), (shared, query, receiver)));
            }
            match tokio::time::timeout(KEEP_ALIVE, receiver.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return None,
                Err(_elapsed) => return Some((Ok(Bytes::from_static(b":\n\n")), (shared, query, receiver))),
            }
        }
    })
}

/// The last one carries the revision: who comes back with it missed nothing.
fn events(incidents: &[Incident], revision: u64) -> Bytes {
    let mut text = String::new();
    for (index, incident) in incidents.iter().enumerate() {
        if index + 1 == incidents.len() {
            text.push_str(&format!("id: {revision}\n"));
        }
        // Numbers and text can always be written, and JSON has no line breaks.
        let json = serde_json::to_string(incident).unwrap_or_default();
        text.extend(["event: incident\ndata: ", &json, "\n\n"]);
    }
    text.into()
}
