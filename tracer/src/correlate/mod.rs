//! From events to incidents: `Correlator::push(Record)` and nothing else moves it; no clock, no IO, no lock.

use crate::{
    event::Record,
    k8s::snapshot::Snapshot,
    verdict::{Coverage, Incident},
};

mod options;
pub use options::{Options, Selection, Want};

/// The whole core behind one method.
#[derive(Debug)]
pub struct Correlator {
    options: Options,
    snapshot: Snapshot,
}

impl Correlator {
    pub fn new(options: Options, snapshot: Snapshot) -> Self {
        Self { options, snapshot }
    }

    /// Takes one event. Incidents that became certain, or changed their count, are added to `out`.
    pub fn push(&mut self, _record: Record, _out: &mut Vec<Incident>) {}

    /// The capture is over at that time: what waited is decided, what is still in flight is dropped.
    pub fn finish(&mut self, _at: u64, _out: &mut Vec<Incident>) {}

    /// What the core would like to be told, since the last call. Replays ignore it: the answers are in the file.
    pub fn wants(&mut self) -> Vec<Want> {
        Vec::new()
    }

    /// What could not be seen, as of now.
    pub fn coverage(&self) -> Coverage {
        Coverage::default()
    }

    /// A cgroup's (namespace, pod or process, workload), for the summary.
    pub fn name_of_cgroup(&self, _cgroup: u64) -> Option<crate::verdict::Hop> {
        None
    }

    pub fn options(&self) -> &Options {
        &self.options
    }

    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }
}
