//! `tracer policy check`: a flow given as text, decided, and printed as text or one JSON object.

mod matrix;
mod report;
mod target;
#[cfg(test)]
mod tests;

use super::{Flow, evaluate};
use crate::k8s::Snapshot;

pub use matrix::{Destination, Matrix, Refused, matrix};
pub use report::{PartyReport, Report};

/// What the user asked for can't be meant: bad syntax, or names that the cluster state doesn't hold.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(pub String);

/// Decides whether `from` (`NS/POD` or an address) may open a connection to `to` (`NS/POD:PORT[/PROTO]` or
/// `IP:PORT[/PROTO]`).
///
/// # Errors
/// When either can't be parsed or names a pod that isn't known; the message says what would have been understood.
pub fn check(snapshot: &Snapshot, from: &str, to: &str) -> Result<Report, UsageError> {
    let from = target::source(snapshot, from)?;
    let (to, port, protocol) = target::destination(snapshot, to)?;
    let flow = Flow { from, to, port, protocol };
    let evaluation = evaluate(snapshot, &flow);
    Ok(Report::new(snapshot, &flow, evaluation))
}
