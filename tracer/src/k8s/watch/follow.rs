//! Follows one kind: lists it page by page, watches it from there, and begins anew where the API server says so.
//!
//! Not the watcher of kube's runtime, because that tells neither that a watch has been resumed nor that a list hangs, and
//! how old our knowledge is belongs to every verdict. See "Efficient detection of changes" in the API concepts.

use std::hash::{BuildHasher, Hasher};
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use kube::Client;
use kube::core::params::{ListParams, WatchParams};
use kube::core::{Request, WatchEvent};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, sleep, timeout};

use super::connection::Connection;
use super::kinds::Kind;
use crate::event::WatchState;
use crate::k8s::model::Object;
use crate::reasons::chain;

/// Objects of one answer. A pod is 5 to 20 KiB of text.
const PAGE: u32 = 100;
/// For an answer to begin, and for a page to be complete.
const PATIENCE: Duration = Duration::from_secs(30);
/// The server ends a watch after this time; bookmarks come about once a minute.
const WATCH_SECONDS: u32 = 290;
const WATCH: Duration = Duration::from_secs(WATCH_SECONDS as u64 + 5);
/// Between tries, doubled from the first to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// After so many vain tries to resume a watch it is listed anew: the version may be of a server that was restored.
const RESUMES: u32 = 5;
/// What isn't there or isn't allowed changes rarely.
const ABSENT_PAUSE: Duration = Duration::from_secs(600);
const FORBIDDEN_PAUSE: Duration = Duration::from_secs(60);

/// What a follower has to tell.
#[derive(Debug)]
pub(super) enum Update {
    /// All objects follow, until [`Update::Listed`].
    Listing,
    Put(Object),
    Removed(Object),
    Listed,
    State(WatchState),
    /// A pod of another node, as it was asked for.
    Fetched(Object),
    /// An object that isn't what its kind requires.
    Broken(String),
}

/// Nobody listens any more.
struct Closed;

/// Why a round ended before its time.
enum Fault {
    /// The version isn't known any more: list again.
    Gone,
    Closed,
    Unauthorized(String),
    Forbidden,
    Absent,
    Failed(String),
    /// With when to come back, as the server asked.
    Busy(String, Duration),
}

pub(super) struct Follower {
    pub(super) number: usize,
    pub(super) kind: &'static Kind,
    pub(super) fields: Option<String>,
    pub(super) connection: Arc<Connection>,
    /// Few lists at a time, for the server's sake and for our memory's.
    pub(super) lists: Arc<Semaphore>,
    pub(super) updates: mpsc::Sender<(usize, Update)>,
    /// What the watch says of itself when all is well.
    pub(super) well: WatchState,
}

#[derive(Deserialize)]
struct Page<'a> {
    #[serde(default)]
    metadata: PageMetadata,
    // Go writes an empty list as null.
    #[serde(borrow)]
    items: Option<Vec<&'a RawValue>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PageMetadata {
    resource_version: String,
    #[serde(rename = "continue")]
    next: String,
}

impl Follower {
    /// Until nobody listens.
    pub(super) async fn run(self) {
        let mut version = None;
        let mut pause = FIRST_PAUSE;
        let mut failures = 0;
        loop {
            let started = Instant::now();
            let ended = self.round(&mut version, &mut pause).await;
            let (state, wait) = match ended {
                Err(Fault::Closed) => return,
                // A server that ends watches at once is not asked again at once.
                Ok(()) if started.elapsed() > Duration::from_secs(1) => continue,
                Ok(()) => (None, FIRST_PAUSE),
                Err(Fault::Gone) => {
                    version = None;
                    (None, FIRST_PAUSE)
                }
                Err(Fault::Forbidden) => (Some(WatchState::Forbidden), FORBIDDEN_PAUSE),
                Err(Fault::Absent) => (Some(WatchState::Absent), ABSENT_PAUSE),
                Err(Fault::Unauthorized(reason)) => {
                    self.connection.renew().await;
                    (Some(WatchState::Stale { reason }), longer(&mut pause))
                }
                Err(Fault::Failed(reason)) => {
                    // A certificate that ended its time looks like this, too.
                    self.connection.renew().await;
                    (Some(WatchState::Stale { reason }), longer(&mut pause))
                }
                Err(Fault::Busy(reason, wait)) => (Some(WatchState::Stale { reason }), longer(&mut pause).max(wait)),
            };
            failures = if state.is_some() && started.elapsed() < WATCH { failures + 1 } else { 0 };
            if failures > RESUMES {
                version = None;
            }
            if let Some(state) = state
                && self.tell(Update::State(state)).await.is_err()
            {
                return;
            }
            sleep(jittered(wait)).await;
        }
    }

    /// Looks up the pods of addresses, one after the other, until nobody asks any more.
    pub(super) async fn look_up(self, mut addresses: mpsc::Receiver<IpAddr>) {
        while let Some(address) = addresses.recv().await {
            if let Err(Fault::Failed(reason) | Fault::Busy(reason, _)) = self.look_up_one(address).await {
                tracing::debug!("no answer on the pod at {address}: {reason}");
            }
        }
    }

    async fn look_up_one(&self, address: IpAddr) -> Result<(), Fault> {
        // A field that the API server selects pods by since 1.16.
        let selector = format!("status.podIP={address}");
        let params = ListParams { limit: Some(PAGE), field_selector: Some(selector), ..ListParams::default() };
        let request = Request::new(self.kind.path()).list(&params).map_err(|error| Fault::Failed(chain(&error)))?;
        let text = patient(self.connection.client().request_text(request)).await?;
        let page: Page<'_> = serde_json::from_str(&text).map_err(|error| Fault::Failed(error.to_string()))?;
        for item in page.items.unwrap_or_default() {
            let value = serde_json::from_str(item.get()).map_err(|error| Fault::Failed(error.to_string()))?;
            if let Ok(object) = self.decode(value) {
                self.tell(Update::Fetched(object)).await?;
            }
        }
        Ok(())
    }

    /// Lists if need be, then watches until the server ends it.
    async fn round(&self, version: &mut Option<String>, pause: &mut Duration) -> Result<(), Fault> {
        let client = self.connection.client();
        let mut from = match version.take() {
            Some(version) => version,
            None => {
                // In a place of its own: a watch lasts, and doesn't hold the others up.
                let _one_of_few = self.lists.acquire().await;
                self.list(&client).await?
            }
        };
        let ended = self.watch(&client, &mut from, pause).await;
        *version = Some(from);
        ended
    }

    async fn list(&self, client: &Client) -> Result<String, Fault> {
        self.tell(Update::Listing).await?;
        let mut next = None;
        loop {
            let params = ListParams {
                limit: Some(PAGE),
                continue_token: next.take(),
                field_selector: self.fields.clone(),
                ..ListParams::default()
            };
            let request = Request::new(self.kind.path()).list(&params).map_err(|error| Fault::Failed(chain(&error)))?;
            let text = patient(client.request_text(request)).await?;
            let page: Page<'_> = serde_json::from_str(&text)
                .map_err(|error| Fault::Failed(format!("its list of {} can't be read: {error}", self.kind.plural)))?;
            for item in page.items.unwrap_or_default() {
                let value = serde_json::from_str(item.get()).map_err(|error| Fault::Failed(error.to_string()))?;
                self.put(value).await?;
            }
            let PageMetadata { resource_version, next: token } = page.metadata;
            if token.is_empty() {
                self.tell(Update::Listed).await?;
                return Ok(resource_version);
            }
            next = Some(token);
        }
    }

    async fn watch(&self, client: &Client, from: &mut String, pause: &mut Duration) -> Result<(), Fault> {
        let params = WatchParams {
            bookmarks: true,
            timeout: Some(WATCH_SECONDS),
            field_selector: self.fields.clone(),
            ..WatchParams::default()
        };
        let request =
            Request::new(self.kind.path()).watch(&params, from).map_err(|error| Fault::Failed(chain(&error)))?;
        let events = patient(client.request_events::<Value>(request)).await?;
        self.tell(Update::State(self.well.clone())).await?;
        *pause = FIRST_PAUSE;
        let mut events = pin!(events);
        loop {
            let event = match timeout(WATCH, events.try_next()).await {
                Ok(Ok(Some(event))) => event,
                Ok(Ok(None)) => return Ok(()),
                Ok(Err(error)) => return Err(fault(&error)),
                Err(_elapsed) => return Err(Fault::Failed("it fell silent".to_owned())),
            };
            match event {
                WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                    advance(from, &object);
                    self.put(object).await?;
                }
                WatchEvent::Deleted(object) => {
                    advance(from, &object);
                    // One that can't be read was never taken in.
                    if let Ok(object) = self.decode(object) {
                        self.tell(Update::Removed(object)).await?;
                    }
                }
                WatchEvent::Bookmark(bookmark) => *from = bookmark.metadata.resource_version,
                WatchEvent::Error(status) => return Err(status_fault(&status)),
            }
        }
    }

    async fn put(&self, value: Value) -> Result<(), Closed> {
        match self.decode(value) {
            Ok(object) => self.tell(Update::Put(object)).await,
            Err(message) => self.tell(Update::Broken(message)).await,
        }
    }

    /// Items of a list don't say what they are.
    fn decode(&self, mut value: Value) -> Result<Object, String> {
        if let Value::Object(fields) = &mut value {
            fields.insert("kind".to_owned(), self.kind.kind.into());
            fields.insert("apiVersion".to_owned(), self.kind.api_version().into());
        }
        Object::from_value(value).map_err(|error| error.to_string())
    }

    async fn tell(&self, update: Update) -> Result<(), Closed> {
        // Waits while the queue is full: nothing is lost, the server holds back.
        self.updates.send((self.number, update)).await.map_err(|_closed| Closed)
    }
}

impl From<Closed> for Fault {
    fn from(Closed: Closed) -> Self {
        Self::Closed
    }
}

fn advance(version: &mut String, object: &Value) {
    if let Some(newer) = object.pointer("/metadata/resourceVersion").and_then(Value::as_str) {
        newer.clone_into(version);
    }
}

async fn patient<T>(answer: impl Future<Output = Result<T, kube::Error>>) -> Result<T, Fault> {
    match timeout(PATIENCE, answer).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(fault(&error)),
        Err(_elapsed) => Err(Fault::Failed(format!("no answer within {} s", PATIENCE.as_secs()))),
    }
}

fn fault(error: &kube::Error) -> Fault {
    match error {
        kube::Error::Api(status) => status_fault(status),
        error => Fault::Failed(chain(error)),
    }
}

fn status_fault(status: &kube::core::Status) -> Fault {
    let text = || {
        let reason = if status.reason.is_empty() { &status.message } else { &status.reason };
        format!("it answered {} {reason}", status.code)
    };
    match status.code {
        410 => Fault::Gone,
        401 => Fault::Unauthorized(text()),
        403 => Fault::Forbidden,
        404 => Fault::Absent,
        429 | 503 => {
            let seconds = status.details.as_ref().map_or(0, |details| details.retry_after_seconds);
            Fault::Busy(text(), Duration::from_secs(seconds.into()))
        }
        _ => Fault::Failed(text()),
    }
}

fn longer(pause: &mut Duration) -> Duration {
    let now = *pause;
    *pause = (now * 2).min(LONGEST_PAUSE);
    now
}

/// Half of it at least, and at most half as much again: a thousand agents don't come back at the same moment.
fn jittered(pause: Duration) -> Duration {
    // Every `RandomState` is another.
    let random = std::hash::RandomState::new().build_hasher().finish();
    pause.mul_f64(0.5 + (random % 1000) as f64 / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_limit_and_scatter() {
        let mut pause = FIRST_PAUSE;
        let taken: Vec<_> = (0..9).map(|_| longer(&mut pause)).collect();
        assert_eq!(taken[..3], [500, 1000, 2000].map(Duration::from_millis));
        assert_eq!(taken[8], LONGEST_PAUSE);
        let scattered: Vec<_> = (0..20).map(|_| jittered(Duration::from_secs(10))).collect();
        assert!(scattered.iter().all(|pause| (5.0..15.0).contains(&pause.as_secs_f64())));
        assert!(scattered.iter().any(|pause| *pause != scattered[0]));
    }

    #[test]
    fn a_page_without_items_is_empty() {
        let page: Page<'_> = serde_json::from_str(r#"{"metadata":{"resourceVersion":"7"},"items":null}"#).unwrap();
        assert!(page.items.is_none() && page.metadata.next.is_empty());
    }
}
