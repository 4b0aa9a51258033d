//! Keeps the journal up to date with the store: once a second what changed, and the rest at the end.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::MissedTickBehavior;

use super::config;
use super::journal::{Journal, JournalError, Replayed};
use super::shared::Shared;
use super::store::Query;
use crate::clock;
use crate::sink::prometheus::Metric;
use crate::verdict::Incident;

const PERIOD: Duration = Duration::from_secs(1);
/// Changes written at a time.
const BATCH: usize = 500;

/// The journal's task; without a journal it has nothing to do.
pub(super) struct Keeper {
    journal: Option<Journal>,
    shared: Arc<Shared>,
    /// The change that was written last.
    written: u64,
    failing: bool,
}

impl Keeper {
    /// Opens the journal and puts what it holds into the store.
    pub(super) fn open(config: &config::Journal, shared: &Arc<Shared>) -> Result<Self, JournalError> {
        let journal = match &config.path {
            Some(path) => {
                let (journal, Replayed { incidents, torn }) = Journal::open(path, config.max_bytes)?;
                tracing::info!(incidents = incidents.len(), torn, "the journal was read");
                shared.store().restore(incidents);
                if torn > 0 {
                    let now = clock::monotonic_ns();
                    shared.metrics.with(|store| store.add(Metric::JournalErrors, &["torn"], torn as f64, now));
                }
                Some(journal)
            }
            None => None,
        };
        let written = shared.store().revision();
        Ok(Self { journal, shared: Arc::clone(shared), written, failing: false })
    }

    pub(super) async fn run(mut self, mut stop: oneshot::Receiver<()>) {
        let mut period = tokio::time::interval(PERIOD);
        period.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let ending = tokio::select! {
                _ = period.tick() => false,
                _ = &mut stop => true,
            };
            // Waiting for a disk is not for the thread that serves.
            self = match tokio::task::spawn_blocking(move || self.write()).await {
                Ok(keeper) => keeper,
                Err(error) => return tracing::error!(%error, "the journal isn't written any more"),
            };
            if ending {
                return;
            }
        }
    }

    fn write(mut self) -> Self {
        let Some(journal) = &mut self.journal else { return self };
        let mut query = Query { after: self.written, ..Query::default() };
        loop {
            let (changes, revision) = self.shared.store().changes(&query, BATCH);
            if changes.is_empty() {
                break;
            }
            let written = if journal.is_full(&changes) {
                let all = Query::default();
                let newest: Vec<Incident> =
                    self.shared.store().newest(&all).map(|(_, incident)| incident.clone()).collect();
                journal.rewrite(newest.iter())
            } else {
                journal.append(&changes)
            };
            match written {
                Ok(()) => self.failing = false,
                Err(error) => {
                    // Said once; what wasn't written is tried again with the next change.
                    if !std::mem::replace(&mut self.failing, true) {
                        tracing::warn!("{error}; incidents stay in memory");
                    }
                    let now = clock::monotonic_ns();
                    self.shared.metrics.with(|store| store.add(Metric::JournalErrors, &["write"], 1.0, now));
                    break;
                }
            }
            (query.after, self.written) = (revision, revision);
        }
        let bytes = journal.bytes() as f64;
        self.shared.metrics.with(|store| store.set(Metric::JournalBytes, &[], bytes, clock::monotonic_ns()));
        self
    }
}
