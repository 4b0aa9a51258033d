//! Exports incidents by OTLP: a bounded queue, retries with backoff, every loss counted.

mod client;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep};

use super::config::{Config, ConfigError, Signal};
use super::shared::Shared;
use crate::clock;
use crate::event::Ktime;
use crate::recent::Recent;
use crate::sink::otlp::{self, Item};
use crate::sink::prometheus::Metric;
use crate::verdict::Incident;
use client::{Client, Failure, Payload, Rejected};

/// Incidents remembered as exported; one that was forgotten is exported anew.
const EXPORTED: usize = 10_000;
/// Incidents in one request.
const BATCH: usize = 64;
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A request that isn't taken for so long is given up: what waits behind it is newer.
const PATIENCE: Duration = Duration::from_secs(300);

/// The pipeline's end of the queue. Without an exporter it takes nothing.
pub(super) struct Queue {
    sender: Option<mpsc::Sender<Item>>,
    shared: Arc<Shared>,
    signals: Vec<Signal>,
    repeat: Ktime,
    wall_offset_ns: i64,
    exported: Recent<String, Ktime>,
}

/// The other end.
pub(super) struct Exporter {
    receiver: mpsc::Receiver<Item>,
    client: Client,
    signals: Vec<Signal>,
    shared: Arc<Shared>,
    grace: Duration,
}

/// The sender for the pipeline and the exporter that it feeds, if something is to be exported.
///
/// # Errors
/// Where a setting of `otlp` makes no sense.
pub(super) fn exporter(
    config: &Config,
    shared: &Arc<Shared>,
) -> Result<Option<(mpsc::Sender<Item>, Exporter)>, ConfigError> {
    let Some(endpoint) = &config.otlp.endpoint else { return Ok(None) };
    let client = Client::new(endpoint, &config.otlp)?;
    let (sender, receiver) = mpsc::channel(config.otlp.queue);
    let exporter = Exporter {
        receiver,
        client,
        signals: config.otlp.signals.clone(),
        shared: Arc::clone(shared),
        grace: config.grace.0,
    };
    Ok(Some((sender, exporter)))
}

impl Queue {
    pub(super) fn new(
        sender: Option<mpsc::Sender<Item>>,
        shared: Arc<Shared>,
        config: &Config,
        wall_offset_ns: i64,
    ) -> Self {
        let repeat = u64::try_from(config.otlp.repeat.0.as_nanos()).unwrap_or(Ktime::MAX);
        let signals = config.otlp.signals.clone();
        Self { sender, shared, signals, repeat, wall_offset_ns, exported: Recent::new(EXPORTED) }
    }

    /// Queues an incident that is new, or that recurred after a while. Never waits.
    pub(super) fn offer(&mut self, incident: &Incident, now: Ktime) {
        let Some(sender) = &self.sender else { return };
        let before = self.exported.get(&incident.id);
        if before.is_some_and(|at| now.saturating_sub(*at) < self.repeat) {
            return;
        }
        let item = Item { incident: incident.clone(), wall_offset_ns: self.wall_offset_ns, again: before.is_some() };
        if let Err(TrySendError::Full(item) | TrySendError::Closed(item)) = sender.try_send(item) {
            count_lost(&self.shared, &self.signals, &[item]);
            return;
        }
        self.exported.insert(incident.id.clone(), now);
    }

    /// Forgets what the core has forgotten, too.
    pub(super) fn expire(&mut self, oldest: Ktime) {
        self.exported.retain(|_, at| *at >= oldest);
        if let Some(sender) = &self.sender {
            let waiting = (sender.max_capacity() - sender.capacity()) as f64;
            self.shared.metrics.with(|store| store.set(Metric::OtlpQueue, &[], waiting, clock::monotonic_ns()));
        }
    }
}

impl Exporter {
    /// Exports until the queue is closed and empty, or until the grace after `stop` is over.
    pub(super) async fn run(mut self, stop: oneshot::Receiver<()>) {
        let grace = self.grace;
        let end = async {
            // The sender's end is a stop, too.
            let _stopped = stop.await;
            sleep(grace).await;
        };
        tokio::pin!(end);
        let mut items = Vec::with_capacity(BATCH);
        loop {
            items.clear();
            let received = tokio::select! {
                received = self.receiver.recv_many(&mut items, BATCH) => received,
                () = &mut end => 0,
            };
            if received == 0 {
                break;
            }
            let mut due = self.signals.clone();
            let sent = tokio::select! {
                () = self.export(&items, &mut due) => true,
                () = &mut end => false,
            };
            if !sent {
                count_lost(&self.shared, &due, &items);
                break;
            }
        }
        self.receiver.close();
        items.clear();
        while let Ok(item) = self.receiver.try_recv() {
            items.push(item);
        }
        count_lost(&self.shared, &self.signals, &items);
        if !items.is_empty() {
            let left = items.len();
            tracing::warn!("{left} incidents weren't exported within the grace of {} s", grace.as_secs_f64());
        }
    }

    /// Takes each signal that was counted from what is due.
    async fn export(&self, items: &[Item], due: &mut Vec<Signal>) {
        while let Some(signal) = due.first().copied() {
            let number = number(signal, items);
            if number > 0 {
                let payload = match signal {
                    Signal::Traces => Payload::Traces(otlp::traces(items)),
                    Signal::Logs => Payload::Logs(otlp::logs(items)),
                };
                match self.deliver(signal, &payload).await {
                    Ok(rejected) => {
                        // Of an incident's spans some may have been rejected, or all.
                        let refused = usize::try_from(rejected).unwrap_or(usize::MAX).min(number);
                        count(&self.shared, signal, "refused", refused);
                        count(&self.shared, signal, "sent", number - refused);
                    }
                    Err(outcome) => count(&self.shared, signal, outcome, number),
                }
            }
            due.remove(0);
        }
    }

    /// How many spans or records the receiver rejected of what it took; else what became of them all.
    async fn deliver(&self, signal: Signal, payload: &Payload) -> Result<u64, &'static str> {
        let started = Instant::now();
        let mut pause = FIRST_PAUSE;
        loop {
            let reason = match self.client.send(payload).await {
                Ok(Rejected { number, reason }) => {
                    if number > 0 {
                        tracing::warn!("the OTLP receiver refused {number} items of {}: {reason}", name(signal));
                    }
                    return Ok(number);
                }
                Err(Failure::Refused(reason)) => {
                    tracing::warn!("the OTLP receiver refused {}: {reason}", name(signal));
                    return Err("refused");
                }
                Err(Failure::Again(reason)) => reason,
            };
            if started.elapsed() >= PATIENCE {
                tracing::warn!("{} are lost: the OTLP receiver hasn't taken them: {reason}", name(signal));
                return Err("lost");
            }
            if pause == FIRST_PAUSE {
                tracing::warn!("the OTLP receiver doesn't take {}: {reason}; trying again", name(signal));
            }
            let now = clock::monotonic_ns();
            self.shared.metrics.with(|store| store.add(Metric::OtlpRetries, &[name(signal)], 1.0, now));
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

fn name(signal: Signal) -> &'static str {
    match signal {
        Signal::Traces => "traces",
        Signal::Logs => "logs",
    }
}

/// How many of these a signal tells: a trace is told once.
fn number(signal: Signal, items: &[Item]) -> usize {
    match signal {
        Signal::Traces => items.iter().filter(|item| !item.again && !item.incident.path.is_empty()).count(),
        Signal::Logs => items.len(),
    }
}

fn count_lost(shared: &Shared, signals: &[Signal], items: &[Item]) {
    signals.iter().for_each(|signal| count(shared, *signal, "lost", number(*signal, items)));
}

fn count(shared: &Shared, signal: Signal, outcome: &str, number: usize) {
    if number == 0 {
        return;
    }
    let now = clock::monotonic_ns();
    shared.metrics.with(|store| store.add(Metric::OtlpItems, &[name(signal), outcome], number as f64, now));
}

#[cfg(test)]
mod tests;
