//! Answers that may be large, metrics and lists: so many at a time as memory has room for, however slowly they are read.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::http::{HeaderName, header};
use axum::response::{IntoResponse, Response};
use futures::stream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// With every metric at its limit an exposition has some megabytes, and so has a list of a thousand incidents.
pub(super) const AT_A_TIME: usize = 8;
/// Handed over at a time: what is left waits here, not in the connection's buffer.
const PART: usize = 65_536;

/// Who may make one.
#[derive(Clone)]
pub(super) struct Answers(Arc<Semaphore>);

/// The right to make one, kept until all of it was handed over or its reader is gone.
pub(super) struct Place(OwnedSemaphorePermit);

impl Answers {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(AT_A_TIME)))
    }

    /// Waits for its turn: no longer than a connection may last.
    pub(super) async fn place(&self) -> Option<Place> {
        Arc::clone(&self.0).acquire_owned().await.ok().map(Place)
    }
}

impl Place {
    pub(super) fn answer(self, content_type: &'static str, text: impl Into<Bytes>) -> Response {
        let text: Bytes = text.into();
        let length = text.len();
        let parts = (0..length).step_by(PART).map(move |from| {
            let Self(_kept) = &self;
            Ok::<_, Infallible>(text.slice(from..length.min(from + PART)))
        });
        let headers: [(HeaderName, String); 2] =
            [(header::CONTENT_TYPE, content_type.to_owned()), (header::CONTENT_LENGTH, length.to_string())];
        (headers, Body::from_stream(stream::iter(parts))).into_response()
    }
}
