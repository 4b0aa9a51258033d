//! `tracer explain`: the same incidents, from capture files.

use std::path::PathBuf;

use clap::Args;

use super::args::{self, Output};
use super::{Exit, output};
use crate::pipeline::replay;

/// Incidents from capture files, of one node or of several merged
#[derive(Args, Debug)]
pub struct Explain {
    /// Written by `tracer capture --write`
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Cluster state in place of what the capture holds: a file or directory saved with `kubectl get … -o yaml`
    /// (repeatable)
    #[arg(long, value_name = "FILE|DIR")]
    kube_dump: Vec<PathBuf>,
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
    /// Exit with 1 if there was an incident
    #[arg(long)]
    fail_on_incident: bool,
    /// Print every event, too
    #[arg(long)]
    events: bool,
}

impl Explain {
    pub(super) fn run(self) -> anyhow::Result<Exit> {
        let snapshot = args::snapshot(&self.kube_dump)?;
        let finished = replay::replay(&self.files, snapshot, self.events, output::sink(self.output))?;
        let failed = self.fail_on_incident && finished.incidents > 0;
        Ok(if failed { Exit::Incidents } else { Exit::Fine })
    }
}
