//! One JSON object per line, flushed: a reader sees it when it is certain.

use std::borrow::Cow;
use std::io::{self, Write};

use super::Sink;
use super::line::{CoverageLine, EventLine, Line, Ready, Summary, Versioned};
use crate::event::Record;
use crate::verdict::Incident;

/// Writes lines.
#[derive(Debug)]
pub struct Json<W> {
    out: W,
    /// The line under construction: it goes out in one write.
    buffer: Vec<u8>,
}

impl<W: Write> Json<W> {
    pub fn new(out: W) -> Self {
        Self { out, buffer: Vec::new() }
    }

    fn line(&mut self, line: &Line<'_>) -> io::Result<()> {
        self.buffer.clear();
        serde_json::to_writer(&mut self.buffer, line)?;
        self.buffer.push(b'\n');
        self.out.write_all(&self.buffer)?;
        self.out.flush()
    }
}

impl<W: Write> Sink for Json<W> {
    fn ready(&mut self, ready: &Ready) -> io::Result<()> {
        self.line(&Line::Ready(Versioned::new(ready)))
    }

    fn incident(&mut self, incident: &Incident) -> io::Result<()> {
        self.line(&Line::Incident(Versioned::new(incident)))
    }

    fn event(&mut self, time: &str, record: &Record) -> io::Result<()> {
        let line = EventLine { time: Cow::Borrowed(time), record: Cow::Borrowed(record) };
        self.line(&Line::Event(Versioned::new(&line)))
    }

    fn summary(&mut self, summary: &Summary) -> io::Result<()> {
        self.line(&Line::Summary(Versioned::new(summary)))
    }

    fn coverage(&mut self, coverage: &CoverageLine) -> io::Result<()> {
        self.line(&Line::Coverage(Versioned::new(coverage)))
    }
}
