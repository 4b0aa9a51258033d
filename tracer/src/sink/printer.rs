//! Decides what is printed when: an incident at once; its later states at most once a second, the last one always.

use std::collections::BTreeMap;
use std::io;

use rustc_hash::FxHashMap;

use super::{CoverageLine, Ready, Sink, Summary, rfc3339};
use crate::event::{Event, Ktime, Record};
use crate::verdict::Incident;

/// Between two lines about the same incident.
const REPRINT_NS: Ktime = 1_000_000_000;

/// In front of a sink.
pub struct Printer<S> {
    sink: S,
    events: bool,
    wall_offset_ns: i64,
    known: FxHashMap<String, Known>,
    /// Latest time told: events of one batch are sorted, batches overlap.
    now: Ktime,
}

/// An incident that was printed.
struct Known {
    printed_at: Ktime,
    cause: String,
    count: u64,
    /// A newer state that waits.
    pending: Option<Box<Incident>>,
}

impl<S: Sink> Printer<S> {
    /// `events`: print every event, too.
    pub fn new(sink: S, events: bool, wall_offset_ns: i64) -> Self {
        Self { sink, events, wall_offset_ns, known: FxHashMap::default(), now: 0 }
    }

    /// # Errors
    /// Like every method here: where the output can't be written.
    pub fn ready(&mut self, ready: &Ready) -> io::Result<()> {
        self.sink.ready(ready)
    }

    /// An event that the core is about to be told. Time passes by it.
    pub fn event(&mut self, record: &Record) -> io::Result<()> {
        self.now = self.now.max(record.at);
        if matches!(record.event, Event::Tick) {
            self.flush_due(REPRINT_NS)
        } else if self.events {
            self.sink.event(&rfc3339(record.at as i64 + self.wall_offset_ns), record)
        } else {
            Ok(())
        }
    }

    /// A new incident, or the new state of one.
    pub fn incident(&mut self, incident: Incident) -> io::Result<()> {
        let now = self.now;
        if let Some(known) = self.known.get_mut(&incident.id) {
            known.count = incident.count;
            known.cause.clone_from(&incident.cause.id);
            if now < known.printed_at.saturating_add(REPRINT_NS) {
                known.pending = Some(Box::new(incident));
                return Ok(());
            }
            known.printed_at = now;
            known.pending = None;
        } else {
            let cause = incident.cause.id.clone();
            let known = Known { printed_at: now, cause, count: incident.count, pending: None };
            self.known.insert(incident.id.clone(), known);
        }
        self.sink.incident(&incident)
    }

    /// Prints what waited, whatever its age.
    pub fn flush(&mut self) -> io::Result<()> {
        self.flush_due(0)
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
        for known in self.known.values() {
            *causes.entry(known.cause.clone()).or_default() += known.count;
        }
        causes
    }

    /// Incidents so far.
    pub fn incidents(&self) -> usize {
        self.known.len()
    }

    fn flush_due(&mut self, age: Ktime) -> io::Result<()> {
        let now = self.now;
        let mut due: Vec<_> = self
            .known
            .values_mut()
            .filter(|known| now >= known.printed_at.saturating_add(age))
            .filter_map(|known| {
                let incident = known.pending.take()?;
                known.printed_at = now;
                Some(incident)
            })
            .collect();
        // A map has no order of its own, and a replay prints the same.
        due.sort_by(|a, b| a.last_seen.cmp(&b.last_seen).then_with(|| a.id.cmp(&b.id)));
        due.iter().try_for_each(|incident| self.sink.incident(incident))
    }
}
