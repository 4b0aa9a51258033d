//! Wires the stages together. The only place that spawns, waits and owns queues; everything it calls is synchronous.
//!
//! ```text
//! rings ─▶ decode ─▶ sorted batch ─▶ Feed { capture file, Correlator, Printer }
//!                                      ▲                 │ wants
//!                                      └── node, tables ◀┘
//! ```
//!
//! What the core is told goes through [`feed::Feed`], in one order, to the core and the capture file alike; so
//! [`replay`] tells it the same and gets the same incidents.

mod align;
mod answer;
mod feed;
mod hybrid;
mod inspect;
mod kernel_counts;
mod listener;
mod live;
mod naming;
mod object;
mod percentile;
mod progress;
mod ready;
pub mod replay;
mod rules;
mod stop;
mod sweep;
mod watch;

use std::io;
use std::path::PathBuf;

pub use listener::{Listener, Look};
pub use live::{Live, Setup};
pub use stop::Stop;

use crate::correlate::MOST_NODES;
use crate::event::record::ReadError;
use crate::kernel::StartError;
use crate::kernel::map::MapError;

/// How a run ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Finished {
    /// Incidents found.
    pub incidents: usize,
}

/// Why a run can't begin or go on.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("cannot read the kernel programs' maps: {0}")]
    Map(#[from] MapError),
    #[error("cannot print results: {0}")]
    Output(#[source] io::Error),
    #[error("cannot write the capture file `{}`: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("cannot wait for the kernel programs' events: {0}")]
    Wait(#[source] io::Error),
    #[error(transparent)]
    Capture(#[from] ReadError),
    #[error(
        "`{}` is no regular file, and several captures are read twice, to compare their clocks; save it to a file first",
        .0.display()
    )]
    NotAFile(PathBuf),
    #[error("{0} captures are too many for one run, which takes {MOST_NODES} at most; merge fewer")]
    TooManyFiles(usize),
}

impl PipelineError {
    /// The reader of our output went away: an end, not a failure.
    pub fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}
