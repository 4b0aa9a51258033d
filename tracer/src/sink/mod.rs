//! Where results go: text for people, one JSON object per line for programs.
//!
//! Sinks only format. How often an incident that recurs is told again the core decides, from the events' own time, so that
//! a capture and its replay print the same.

pub mod escape;
pub mod json;
pub mod line;
#[cfg(feature = "agent")]
pub mod otlp;
mod printer;
#[cfg(feature = "agent")]
pub mod prometheus;
pub mod text;

use std::io;

pub use line::{CoverageLine, Line, Ready, Summary};
pub use printer::Printer;

use crate::event::Record;
use crate::verdict::Incident;

/// Takes results in the order in which they are certain.
pub trait Sink {
    /// Observation has begun.
    ///
    /// # Errors
    /// Like every method here: where the output can't be written.
    fn ready(&mut self, ready: &Ready) -> io::Result<()>;
    /// An incident, or its new state.
    fn incident(&mut self, incident: &Incident) -> io::Result<()>;
    /// One event, with its wall-clock time (RFC 3339).
    fn event(&mut self, time: &str, record: &Record) -> io::Result<()>;
    fn summary(&mut self, summary: &Summary) -> io::Result<()>;
    /// What could not be seen: the last thing that is said.
    fn coverage(&mut self, coverage: &CoverageLine) -> io::Result<()>;
}

impl<S: Sink + ?Sized> Sink for Box<S> {
    fn ready(&mut self, ready: &Ready) -> io::Result<()> {
        (**self).ready(ready)
    }

    fn incident(&mut self, incident: &Incident) -> io::Result<()> {
        (**self).incident(incident)
    }

    fn event(&mut self, time: &str, record: &Record) -> io::Result<()> {
        (**self).event(time, record)
    }

    fn summary(&mut self, summary: &Summary) -> io::Result<()> {
        (**self).summary(summary)
    }

    fn coverage(&mut self, coverage: &CoverageLine) -> io::Result<()> {
        (**self).coverage(coverage)
    }
}

/// Wall-clock time in UTC, to the millisecond.
pub fn rfc3339(ns_since_epoch: i64) -> String {
    let milliseconds = ns_since_epoch.div_euclid(1_000_000);
    jiff::Timestamp::from_millisecond(milliseconds).map_or_else(|_| "?".to_owned(), |time| format!("{time:.3}"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn times() {
        assert_eq!(super::rfc3339(1_700_000_000_123_456_789), "2023-11-14T22:13:20.123Z");
    }
}
