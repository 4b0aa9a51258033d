//! Incidents as people read them: the path as a tree, the cause, why, and what to do next.
//!
//! Styles are always written; the stream that they go to strips them where they aren't wanted. Everything is
//! understandable without colour, and whatever came from the network is [escaped](super::escape).

mod incident;
mod label;
mod layout;
mod summary;
// Taking the colours out needs `anstream`.
#[cfg(test)]
#[cfg(feature = "kernel")]
mod tests;

use std::io::{self, Write};

use rustc_hash::FxHashMap;

use super::{CoverageLine, Ready, Sink, Summary};
use crate::event::Record;
use crate::verdict::Incident;

/// Writes text.
#[derive(Debug)]
pub struct Text<W> {
    out: W,
    /// Columns of the terminal; none for a file or a pipe, where lines are as long as they are.
    width: Option<usize>,
    /// What was printed in full, by incident: if only the count changes, one line says so.
    printed: FxHashMap<String, Incident>,
}

impl<W: Write> Text<W> {
    pub fn new(out: W, width: Option<usize>) -> Self {
        Self { out, width, printed: FxHashMap::default() }
    }
}

impl<W: Write> Sink for Text<W> {
    /// Nothing: it isn't a result.
    fn ready(&mut self, _ready: &Ready) -> io::Result<()> {
        Ok(())
    }

    fn incident(&mut self, incident: &Incident) -> io::Result<()> {
        let same = self.printed.get(&incident.id).is_some_and(|printed| tells_the_same(printed, incident));
        if same {
            incident::again(&mut self.out, incident)?;
        } else {
            incident::full(&mut self.out, incident, self.width)?;
            self.printed.insert(incident.id.clone(), incident.clone());
        }
        self.out.flush()
    }

    fn event(&mut self, time: &str, record: &Record) -> io::Result<()> {
        // For looking into the tracer itself: its own model, as JSON.
        let event = serde_json::to_string(record)?;
        writeln!(self.out, "{time}  {}", super::escape::escape(&event))?;
        self.out.flush()
    }

    fn summary(&mut self, summary: &Summary) -> io::Result<()> {
        summary::summary(&mut self.out, summary)?;
        self.out.flush()
    }

    fn coverage(&mut self, coverage: &CoverageLine) -> io::Result<()> {
        summary::coverage(&mut self.out, coverage, self.width)?;
        self.out.flush()
    }
}

/// Nothing but the count, the times and the measurements differ.
fn tells_the_same(a: &Incident, b: &Incident) -> bool {
    let path = |incident: &Incident| incident.path.iter().map(label::hop).collect::<Vec<_>>();
    a.cause.id == b.cause.id && a.cause.origin == b.cause.origin && path(a) == path(b)
}
