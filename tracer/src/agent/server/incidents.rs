//! `/v1/incidents`: a list, or with `Accept: text/event-stream` each change as it happens.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::{Query as Parameters, State};
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use futures::stream::{self, Stream};
use serde::Serialize;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use super::answer::Answers;
use super::query::Asked;
use crate::agent::shared::Shared;
use crate::agent::store::Query;
use crate::clock;
use crate::verdict::{Incident, SCHEMA};

/// A comment is sent after this, so that proxies keep the stream and a reader that is gone is noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Changes taken at a time.
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
    State((shared, streams)): State<(Arc<Shared>, Arc<Semaphore>)>,
    Extension(stream): Extension<Arc<Notify>>,
    Extension(answers): Extension<Answers>,
    Parameters(parameters): Parameters<Vec<(String, String)>>,
    headers: HeaderMap,
) -> Response {
    let Asked { query, limit } = match Asked::parse(&parameters, clock::wall_ns()) {
        Ok(asked) => asked,
        Err(error) => return (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    };
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if text(header::ACCEPT).contains("text/event-stream") {
        let Ok(place) = streams.try_acquire_owned() else {
            super::count_refused(&shared);
            let text =
                "as many streams are open as are served at a time; ask again later, or without `text/event-stream`\n";
            return (StatusCode::SERVICE_UNAVAILABLE, text).into_response();
        };
        stream.notify_one();
        // One that is yet to come is another agent's, or of a clock that was set back: what it stands for isn't known.
        let after = text(LAST_EVENT_ID).parse().ok().filter(|after| *after <= shared.store().revision()).unwrap_or(0);
        let changes = changes(shared, Query { after, ..query }, place);
        return Sse::new(changes).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response();
    }
    let Some(place) = answers.place().await else { return StatusCode::SERVICE_UNAVAILABLE.into_response() };
    let node = shared.status().observing.as_ref().and_then(|observing| observing.node.clone());
    let store = shared.store();
    let mut found = store.newest(&query).map(|(_, incident)| incident.clone());
    let incidents: Vec<_> = found.by_ref().take(limit).collect();
    let truncated = found.next().is_some();
    drop(found);
    drop(store);
    // Numbers and text: it can always be written.
    let list = serde_json::to_vec(&List { schema: SCHEMA, node, incidents, truncated }).unwrap_or_default();
    place.answer("application/json", list)
}

/// What is known and then what changes. A reader that is too slow misses states in between, never the last one; nothing
/// is kept for it.
fn changes(
    shared: Arc<Shared>,
    query: Query,
    place: OwnedSemaphorePermit,
) -> impl Stream<Item = Result<Event, axum::Error>> {
    let receiver = shared.changes();
    stream::unfold((shared, query, receiver, place), |(shared, mut query, mut receiver, place)| async move {
        loop {
            receiver.mark_unchanged();
            let (incidents, revision) = shared.store().changes(&query, BATCH);
            query.after = revision;
            if !incidents.is_empty() {
                return Some((stream::iter(events(incidents, revision)), (shared, query, receiver, place)));
            }
            receiver.changed().await.ok()?;
        }
    })
    .flatten()
}

/// The last one carries the revision: who comes back with it missed nothing.
fn events(incidents: Vec<Incident>, revision: u64) -> impl Iterator<Item = Result<Event, axum::Error>> {
    let last = incidents.len();
    incidents.into_iter().zip(1..).map(move |(incident, number)| {
        let event = Event::default().event("incident").json_data(incident)?;
        Ok(if number == last { event.id(revision.to_string()) } else { event })
    })
}
