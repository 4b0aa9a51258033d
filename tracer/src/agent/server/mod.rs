//! HTTP: `/metrics`, `/healthz`, `/readyz`, `/v1/incidents`, `/v1/status`.
//!
//! Answers are made of copies, so a slow reader holds nothing but its own connection, and those are bounded in number. One is
//! for one request and ends with it, or after a while; what lasts, streams, has half of the places at most. So there is a
//! place for the kubelet's probes. Of the large answers there are a few at a time.

mod answer;
mod incidents;
mod query;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use axum::{Extension, Router};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::{Notify, Semaphore};

use super::shared::Shared;
use crate::clock;
use crate::sink::prometheus::{Format, Metric};
use answer::Answers;

/// A request and its answer take no longer, but for streams.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// The pipeline runs ten times a second; without a run for so long it is stuck.
const STUCK_NS: u64 = 30_000_000_000;

/// Serves until the future is dropped.
pub(super) async fn serve(
    listener: TcpListener,
    shared: Arc<Shared>,
    max_connections: usize,
    patience: Duration,
) -> Infallible {
    let router = router(Arc::clone(&shared), max_connections / 2);
    let places = Arc::new(Semaphore::new(max_connections));
    // Ends with us, and its connections with it.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let socket = match listener.accept().await {
            Ok((socket, _)) => socket,
            Err(error) => {
                // No descriptors left, or a client that was gone already.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            count_refused(&shared);
            continue;
        };
        let stream = Arc::new(Notify::new());
        let service = TowerToHyperService::new(router.clone().layer(Extension(Arc::clone(&stream))));
        connections.spawn(async move {
            let mut http = hyper::server::conn::http1::Builder::new();
            tokio::select! {
                served = http.keep_alive(false).serve_connection(TokioIo::new(socket), service) => {
                    if let Err(error) = served {
                        tracing::debug!(%error, "a connection ended early");
                    }
                }
                () = overdue(&stream, patience) => tracing::debug!("a connection took too long"),
            }
            drop(place);
        });
    }
}

/// Waits until a connection has had its time; for ever once it is said to carry a stream.
async fn overdue(stream: &Notify, patience: Duration) {
    if tokio::time::timeout(patience, stream.notified()).await.is_ok() {
        std::future::pending::<()>().await;
    }
}

fn count_refused(shared: &Shared) {
    shared.metrics.with(|store| store.add(Metric::HttpRefused, &[], 1.0, clock::monotonic_ns()));
}

fn router(shared: Arc<Shared>, max_streams: usize) -> Router {
    let streams = Arc::new(Semaphore::new(max_streams));
    let incidents = get(incidents::get).with_state((Arc::clone(&shared), streams));
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/v1/status", get(status))
        .route("/v1/incidents", incidents)
        .layer(Extension(Answers::new()))
        .with_state(shared)
}

async fn metrics(
    State(shared): State<Arc<Shared>>,
    Extension(answers): Extension<Answers>,
    headers: HeaderMap,
) -> Response {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let format = Format::accepted(accept);
    match answers.place().await {
        Some(place) => place.answer(format.content_type(), shared.metrics.expose(format)),
        // The server ends.
        None => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

async fn healthz(State(shared): State<Arc<Shared>>) -> (StatusCode, String) {
    let last = shared.status().last_tick;
    let quiet = clock::monotonic_ns().saturating_sub(last);
    if last > 0 && quiet > STUCK_NS {
        let text = format!("the pipeline hasn't run for {} s\n", quiet / 1_000_000_000);
        return (StatusCode::SERVICE_UNAVAILABLE, text);
    }
    (StatusCode::OK, "ok\n".to_owned())
}

async fn readyz(State(shared): State<Arc<Shared>>) -> (StatusCode, String) {
    let status = shared.status();
    match &status.reason {
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
        None => (StatusCode::OK, "ok\n".to_owned()),
    }
}

async fn status(State(shared): State<Arc<Shared>>) -> Response {
    let status = shared.status().clone();
    Json(status).into_response()
}

#[cfg(test)]
mod tests;
