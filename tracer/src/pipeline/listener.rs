//! Who hears what the core is told and what it finds: a printer, or an agent.

use std::io;

use super::stop;
use crate::correlate::Correlator;
use crate::event::{Event, Ktime, Record};
use crate::kernel::Kernel;
use crate::sink::{CoverageLine, Printer, Ready, Sink, Summary};
use crate::verdict::Incident;

/// Once a second a listener may look at the kernel's counts.
pub struct Look<'a> {
    pub at: Ktime,
    pub kernel: &'a Kernel,
    pub core: &'a Correlator,
    pub coverage: &'a CoverageLine,
}

/// Hears everything, in the order in which the core does.
pub trait Listener {
    /// Observation has begun.
    ///
    /// # Errors
    /// Like every method here: where what it writes to fails.
    fn ready(&mut self, ready: &Ready) -> io::Result<()>;
    /// Whether telling this event writes to the terminal.
    fn would_print(&self, event: &Event) -> bool;
    /// An event that the core is about to be told. Time passes by it.
    fn event(&mut self, record: &Record, core: &Correlator) -> io::Result<()>;
    /// A new incident, or the new state of one.
    fn incident(&mut self, incident: Incident) -> io::Result<()>;
    fn second(&mut self, look: &Look<'_>) -> io::Result<()>;
    /// Cgroups of the kernel's counts that no event has named: the core is told of them now.
    fn unnamed(&mut self) -> Vec<u64> {
        Vec::new()
    }
    /// Whether nobody listens any more.
    fn is_abandoned(&self) -> bool;
    /// The end, with what the kernel counted.
    fn end(&mut self, summary: Summary, coverage: &CoverageLine) -> io::Result<()>;
    /// What waits is written.
    fn flush(&mut self) -> io::Result<()>;
    /// Incidents so far.
    fn incidents(&self) -> usize;
}

impl<S: Sink> Listener for Printer<S> {
    fn ready(&mut self, ready: &Ready) -> io::Result<()> {
        Printer::ready(self, ready)
    }

    fn would_print(&self, event: &Event) -> bool {
        Printer::would_print(self, event)
    }

    fn event(&mut self, record: &Record, _: &Correlator) -> io::Result<()> {
        Printer::event(self, record)
    }

    fn incident(&mut self, incident: Incident) -> io::Result<()> {
        Printer::incident(self, &incident)
    }

    fn second(&mut self, _: &Look<'_>) -> io::Result<()> {
        Ok(())
    }

    fn is_abandoned(&self) -> bool {
        stop::is_stdout_closed()
    }

    fn end(&mut self, summary: Summary, coverage: &CoverageLine) -> io::Result<()> {
        self.summary(&Summary { incidents: self.by_cause(), ..summary })?;
        self.coverage(coverage)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn incidents(&self) -> usize {
        Printer::incidents(self)
    }
}
