//! Calls that their own caller let go of for another reason than waiting for too long: its process ended, or another call
//! of the same request had failed. Whom they were made to isn't to blame.

use super::{
    Correlator,
    call::{Call, Standing},
};
use crate::event::{Ktime, Outcome, Process};

/// What is called at once is let go of within this time of the first failure.
const CANCEL_NS: u64 = 50_000_000;
/// A worker that has waited for longer may have been ended for that (gunicorn's `timeout` is 30 s): then the wait was first.
const WATCHDOG_NS: u64 = 10_000_000_000;
/// Signals of a process's own fault (`signal(7)`, those that dump core): SIGILL, SIGTRAP, SIGBUS, SIGFPE, SIGSEGV.
const FAULTS: [u32; 5] = [4, 5, 7, 8, 11];

impl Correlator {
    /// The end of the calling process, if that is what closed the call's connection. A process's exit is told before its
    /// files are closed (`kernel/exit.c`, `do_exit`); one that gives up closes first.
    pub(crate) fn ended_with(&self, call: &Call) -> Option<&(Ktime, Process)> {
        let closed = closed_by_caller(call)?;
        let tgid = caller(call)?;
        self.window.deaths(call.start(), closed).find(|(_, process)| process.tgid == tgid)
    }

    /// Whether the call ended because its process did, and not the other way round.
    pub(crate) fn died_calling(&self, call: &Call) -> bool {
        self.ended_with(call).is_some_and(|(at, process)| {
            let fault = process.oom_victim || process.signal.is_some_and(|signal| FAULTS.contains(&signal));
            fault || at.saturating_sub(call.start()) < WATCHDOG_NS
        })
    }

    /// Whether the call was let go of because one of the others had failed by then, while it waited.
    pub(crate) fn is_cancelled(&self, call: &Call, others: &[&Call], by: Ktime, min_status: u16) -> bool {
        // A client that has only no more to send gets its answer.
        if let Call::Exchange(x) = call
            && x.status().is_some()
            && !self.window.other_end(x).is_some_and(|server| self.failed_since_left(server))
        {
            return false;
        }
        closed_by_caller(call).is_some_and(|closed| {
            others.iter().any(|other| {
                other.standing(by, min_status) == Standing::Failed
                    && closed_by_caller(other).is_none()
                    && other.end() > call.start()
                    && other.end() <= closed
                    && closed - other.end() <= CANCEL_NS
            })
        })
    }
}

/// When the caller closed the call's connection before an answer came; the end of time if it hasn't, yet.
fn closed_by_caller(call: &Call) -> Option<Ktime> {
    match call {
        Call::Exchange(x) => {
            let closing = (x.closing_ns > x.start_ns).then_some(x.closing_ns);
            match x.outcome {
                Outcome::Open => Some(closing.unwrap_or(Ktime::MAX)),
                Outcome::Unanswered if x.local_closed_first || (x.reset_sent && !x.reset_received) => {
                    Some(closing.unwrap_or(x.end_ns))
                }
                Outcome::Status(_) if x.local_closed_first => closing.filter(|closing| *closing < x.end_ns),
                _ => None,
            }
        }
        Call::Connect(x) if x.open => Some(Ktime::MAX),
        Call::Connect(x) => (x.error == 0 && x.error_soft == 0 && !x.reset && !x.got_no_port()).then_some(x.end_ns),
        Call::End(at, x) => (x.local_closed_first && !x.reset_received).then_some(*at),
        Call::Attempt(..) | Call::Lookup(_) => None,
    }
}

fn caller(call: &Call) -> Option<u32> {
    let actor = match call {
        Call::Exchange(x) => x.actor.or(x.connector),
        Call::Connect(x) => Some(x.actor),
        Call::End(_, x) => x.connector,
        Call::Attempt(..) | Call::Lookup(_) => None,
    };
    actor.map(|actor| actor.tgid).filter(|tgid| *tgid != 0)
}
