//! The one way into the core: what it is told is written to the capture file and shown, in the same order.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use rustc_hash::FxHashSet;

use super::PipelineError;
use super::listener::{Listener, Look};
use super::progress::Progress;
use crate::correlate::Correlator;
use crate::event::record::Writer;
use crate::event::{Event, Exchange, Ktime, Record, Seen};
use crate::kernel::Kernel;
use crate::sink::{CoverageLine, Summary};
use crate::verdict::Incident;

/// Failed exchanges remembered so that one seen at both ends counts once.
const REMEMBERED: usize = 4096;

/// The core, and those who listen to it.
pub(super) struct Feed<L> {
    pub(super) correlator: Correlator,
    listener: L,
    progress: Progress,
    file: Option<(PathBuf, Writer<File>)>,
    found: Vec<Incident>,
    failures: Failures,
    /// First and latest time told.
    times: Option<(Ktime, Ktime)>,
}

impl<L: Listener> Feed<L> {
    /// `file`: where the capture is written, if it is.
    pub(super) fn new(correlator: Correlator, listener: L, file: Option<(PathBuf, Writer<File>)>) -> Self {
        Self {
            correlator,
            listener,
            progress: Progress::hidden(),
            file,
            found: Vec::new(),
            failures: Failures::default(),
            times: None,
        }
    }

    pub(super) fn with_progress(self, progress: Progress) -> Self {
        Self { progress, ..self }
    }

    /// The line that makes way for results.
    pub(super) fn progress(&mut self) -> &mut Progress {
        &mut self.progress
    }

    /// Who hears the results.
    pub(super) fn listener(&mut self) -> &mut L {
        &mut self.listener
    }

    /// The listener's look at the kernel's counts.
    ///
    /// # Errors
    /// Where what it writes to fails.
    pub(super) fn second(&mut self, at: Ktime, kernel: &Kernel) -> Result<(), PipelineError> {
        let coverage = self.coverage();
        let look = Look { at, kernel, core: &self.correlator, coverage: &coverage };
        self.listener.second(&look).map_err(PipelineError::Output)
    }

    /// Tells one event.
    ///
    /// # Errors
    /// Where the capture file or the output can't be written.
    pub(super) fn push(&mut self, record: Record) -> Result<(), PipelineError> {
        self.push_of(0, record)
    }

    /// The same of one node among several.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub(super) fn push_of(&mut self, node: usize, record: Record) -> Result<(), PipelineError> {
        let at = record.at;
        self.times = Some(self.times.map_or((at, at), |(first, last)| (first.min(at), last.max(at))));
        if let Some((path, file)) = &mut self.file {
            file.write(&record).map_err(|source| PipelineError::File { path: path.clone(), source })?;
        }
        if let Event::Exchange(exchange) = &record.event {
            self.failures.note(exchange, self.correlator.min_status(node));
        }
        if self.listener.would_print(&record.event) {
            self.progress.clear();
        }
        self.listener.event(&record, &self.correlator).map_err(PipelineError::Output)?;
        self.correlator.push_of(node, record, &mut self.found);
        self.print()
    }

    /// Failed requests so far.
    pub(super) fn failures(&self) -> u64 {
        self.failures.count
    }

    /// Makes what was written so far safe from a crash of this process.
    ///
    /// # Errors
    /// Where the capture file can't be written.
    pub(super) fn flush_file(&mut self) -> Result<(), PipelineError> {
        self.on_file(Writer::flush)
    }

    /// The capture is over, with what was told last: everything that waits is decided and printed.
    ///
    /// # Errors
    /// Where the capture file or the output can't be written.
    pub(super) fn finish(&mut self) -> Result<(), PipelineError> {
        self.on_file(Writer::flush)?;
        let at = self.times.map_or(0, |(_, last)| last);
        self.correlator.finish(at, &mut self.found);
        self.print()?;
        self.listener.flush().map_err(PipelineError::Output)
    }

    /// Prints the last two lines. `counted` adds what only the kernel's counters know.
    ///
    /// # Errors
    /// Where the output can't be written.
    pub(super) fn conclude(&mut self, counted: Summary) -> Result<super::Finished, PipelineError> {
        let duration_ns = self.times.map_or(0, |(first, last)| last - first);
        let summary =
            Summary { duration_s: (duration_ns / 1_000_000) as f64 / 1000.0, failures: self.failures.count, ..counted };
        let coverage = self.coverage();
        self.listener.end(summary, &coverage).map_err(PipelineError::Output)?;
        Ok(super::Finished { incidents: self.listener.incidents() })
    }

    fn coverage(&self) -> CoverageLine {
        let coverage = self.correlator.coverage();
        CoverageLine {
            lost_events: coverage.lost_events,
            opaque_tls_processes: coverage.opaque_tls_processes,
            joined_connections: coverage.joined_connections,
            lost: self.correlator.losses(),
            // Without those of an incident, which has no other place for what was lost.
            notes: [self.correlator.notes(), self.correlator.watch_notes()].concat(),
        }
    }

    fn print(&mut self) -> Result<(), PipelineError> {
        if !self.found.is_empty() {
            self.progress.clear();
        }
        for incident in self.found.drain(..) {
            self.listener.incident(incident).map_err(PipelineError::Output)?;
        }
        Ok(())
    }

    fn on_file(&mut self, f: impl FnOnce(&mut Writer<File>) -> io::Result<()>) -> Result<(), PipelineError> {
        match &mut self.file {
            Some((path, file)) => f(file).map_err(|source| PipelineError::File { path: path.clone(), source }),
            None => Ok(()),
        }
    }
}

/// Counts failed requests.
#[derive(Debug, Default)]
struct Failures {
    count: u64,
    recent: FxHashSet<(SocketAddr, u32)>,
    order: VecDeque<(SocketAddr, u32)>,
}

impl Failures {
    fn note(&mut self, exchange: &Exchange, min_status: u16) {
        if exchange.seen != Seen::Event || !exchange.failed(min_status) || !self.recent.insert(exchange.hop_key()) {
            return;
        }
        self.count += 1;
        self.order.push_back(exchange.hop_key());
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.recent.remove(&oldest);
        }
    }
}
