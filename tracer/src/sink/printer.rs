//! What a sink is given: incidents as the core tells them, events if asked for, and totals for the summary.

use std::collections::BTreeMap;
use std::io;

use rustc_hash::FxHashMap;

use super::{CoverageLine, Ready, Sink, Summary, rfc3339};
use crate::event::{Event, Record};
use crate::verdict::Incident;

/// In front of a sink.
pub struct Printer<S> {
    sink: S,
    events: bool,
    wall_offset_ns: i64,
    /// Cause and occurrences of each incident, as told last.
    known: FxHashMap<String, (String, u64)>,
}

impl<S: Sink> Printer<S> {
    /// `events`: print every event, too.
    pub fn new(sink: S, events: bool, wall_offset_ns: i64) -> Self {
        Self { sink, events, wall_offset_ns, known: FxHashMap::default() }
    }

    /// # Errors
    /// Like every method here: where the output can't be written.
    pub fn ready(&mut self, ready: &Ready) -> io::Result<()> {
        self.sink.ready(ready)
    }

    /// Whether telling this event prints something.
    pub fn would_print(&self, event: &Event) -> bool {
        self.events && !matches!(event, Event::Tick)
    }

    /// An event that the core is about to be told.
    pub fn event(&mut self, record: &Record) -> io::Result<()> {
        if self.would_print(&record.event) {
            self.sink.event(&rfc3339(record.at as i64 + self.wall_offset_ns), record)?;
        }
        Ok(())
    }

    /// A new incident, or the new state of one.
    pub fn incident(&mut self, incident: &Incident) -> io::Result<()> {
        self.known.insert(incident.id.clone(), (incident.cause.id.clone(), incident.count));
        self.sink.incident(incident)
    }

    pub fn summary(&mut self, summary: &Summary) -> io::Result<()> {
        self.sink.summary(summary)
    }

    pub fn coverage(&mut self, coverage: &CoverageLine) -> io::Result<()> {
        self.sink.coverage(coverage)
    }

    /// Occurrences so far by cause.
    pub fn by_cause(&self) -> BTreeMap<String, u64> {
        let mut causes = BTreeMap::new();
        for (cause, count) in self.known.values() {
            *causes.entry(cause.clone()).or_default() += count;
        }
        causes
    }

    /// Incidents so far.
    pub fn incidents(&self) -> usize {
        self.known.len()
    }
}
