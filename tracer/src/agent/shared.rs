//! What the pipeline's thread writes and the server and the exporters read.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::status::Status;
use super::store::Store;
use crate::clock;
use crate::sink::prometheus::Metrics;

/// Shared between threads; every lock is held for as long as it takes to copy something.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) metrics: Metrics,
    store: Mutex<Store>,
    status: Mutex<Status>,
    changed: watch::Sender<u64>,
}

impl Shared {
    pub(super) fn new(metrics: Metrics, store: Store) -> Self {
        let started = crate::sink::rfc3339(clock::wall_ns());
        let status = Status { reason: Some("starting".to_owned()), started, ..Status::default() };
        let (changed, _) = watch::channel(store.revision());
        Self { metrics, store: Mutex::new(store), status: Mutex::new(status), changed }
    }

    pub(super) fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn status(&self) -> MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells those who wait that incidents changed.
    pub(super) fn announce(&self) {
        let revision = self.store().revision();
        self.changed.send_if_modified(|known| std::mem::replace(known, revision) != revision);
    }

    /// Wakes up at changes of the incidents.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }
}
