//! HTTP: `/metrics`, `/healthz`, `/readyz`, `/v1/incidents`, `/v1/status`.
//!
//! Answers are made of copies, so a slow reader holds nothing but its own connection, and those are bounded in number.

mod incidents;
mod query;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::shared::Shared;
use crate::clock;
use crate::sink::prometheus::{Format, Metric};

/// A connection that sends no request for so long is closed.
const HEAD_PATIENCE: Duration = Duration::from_secs(30);
/// The pipeline runs ten times a second; without a run for so long it is stuck.
const STUCK_NS: u64 = 30_000_000_000;

/// Serves until the future is dropped.
pub(super) async fn serve(listener: TcpListener, shared: Arc<Shared>, max_connections: usize) -> Infallible {
    let router = router(Arc::clone(&shared));
    let places = Arc::new(Semaphore::new(max_connections));
    // Ends with us, and its connections with it.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // No descriptors left, or a client that was gone already.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            shared.metrics.with(|store| store.add(Metric::HttpRefused, &[], 1.0, clock::monotonic_ns()));
            continue;
        };
        let service = TowerToHyperService::new(router.clone());
        connections.spawn(async move {
            let mut http = hyper::server::conn::http1::Builder::new();
            http.timer(TokioTimer::new()).header_read_timeout(HEAD_PATIENCE);
            if let Err(error) = http.serve_connection(TokioIo::new(stream), service).await {
                tracing::debug!(%error, "a connection ended early");
            }
            drop(place);
        });
    }
}

fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/v1/status", get(status))
        .route("/v1/incidents", get(incidents::get))
        .with_state(shared)
}

async fn metrics(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let format = Format::accepted(accept);
    ([(header::CONTENT_TYPE, format.content_type())], shared.metrics.expose(format)).into_response()
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
