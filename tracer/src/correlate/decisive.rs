//! Which of its failed calls a request failed of. It went on after all but the last one, and it may have done without any of
//! them: when its caller gave up on it, only what took the time counts, and what other requests like it did without, well
//! answered, is no reason either.

use super::{
    Correlator,
    call::{Call, Standing},
    descend::{SLACK_NS, is_alike, is_late},
    healed::same_request,
    link::{self, Belongs},
    lost::UNDERWAY_NS,
    window::RECENT,
};
use crate::{
    event::{Exchange, Ktime, Outcome},
    verdict::Link,
};

/// Requests that went well of which the calls are looked at.
const LIKE_IT: usize = 8;
/// A caller that backs off waits longer from try to try, by this factor at most.
const BACKOFF: u64 = 3;

/// A request that failed, with what is certain to be its own.
pub(super) struct Request<'a> {
    pub(super) container: u64,
    pub(super) server: &'a Exchange,
    pub(super) client: Option<&'a Exchange>,
    /// When whoever waited for it stopped waiting.
    pub(super) until: Ktime,
    pub(super) min_status: u16,
}

/// What it failed of.
pub(super) enum Decisive {
    /// This call; whatever else is there counts less.
    Call(Box<Call>, Link),
    /// Perhaps of none of its calls.
    Doubtful,
    /// Of none: there are none.
    Nothing,
}

/// Whether whoever waited for an answer gave up: it came later, or not at all.
pub(super) fn gave_up(server: &Exchange, client: Option<&Exchange>, until: Ktime) -> bool {
    // What was sent as its caller left didn't reach it, either.
    let underway = if client.is_some_and(|client| client.status().is_none()) { UNDERWAY_NS } else { 0 };
    let late = server.end_ns.saturating_add(underway) > until && server.outcome != Outcome::Unanswered;
    let left = match client {
        Some(client) => client.status().is_none() && !client.remote_closed_first && !client.reset_received,
        None => server.remote_closed_first || server.reset_received,
    };
    late || (server.status().is_none() && left)
}

impl Correlator {
    /// Takes the decisive one out of its calls.
    pub(super) fn decisive(&self, request: &Request<'_>, sure: &mut Vec<(Call, Link)>) -> Decisive {
        let settled = request.until.saturating_add(SLACK_NS);
        let failed = |call: &Call| call.standing(settled, request.min_status) == Standing::Failed;
        let gave_up = gave_up(request.server, request.client, request.until);
        sure.sort_by_key(|(call, _)| (failed(call), call.end(), call.start()));
        let pending = sure.iter().filter(|(call, _)| !failed(call)).min_by_key(|(call, _)| call.start());
        let place = match pending {
            // The one it still waited for took the time.
            Some((call, _)) if gave_up => self.place(call),
            _ => {
                let vital = |call: &Call| failed(call) && !self.is_done_without(request, call);
                let Some(last) = sure.iter().rfind(|(call, _)| vital(call)).or(pending) else {
                    return if sure.is_empty() { Decisive::Nothing } else { Decisive::Doubtful };
                };
                let place = self.place(&last.0);
                if gave_up && !self.took_the_time(request, sure, &place) {
                    return Decisive::Doubtful;
                }
                place
            }
        };
        // Of several calls to one place the last one that failed tells most.
        match sure.iter().rposition(|(call, _)| self.place(call) == place) {
            Some(at) => {
                let (call, link) = sure.remove(at);
                Decisive::Call(Box::new(call), link)
            }
            None => Decisive::Nothing,
        }
    }

    /// Whether the failed calls to a place are what its caller hadn't the patience for: they took most of the time, or it
    /// was about to try again.
    fn took_the_time(&self, request: &Request<'_>, sure: &[(Call, Link)], place: &str) -> bool {
        let tries = || sure.iter().map(|(call, _)| call).filter(|call| self.place(call) == place);
        let Some(first) = tries().map(Call::start).min() else { return false };
        let last = tries().map(Call::end).max().unwrap_or(first).min(request.until);
        let factor = if tries().count() > 1 { BACKOFF } else { 1 };
        let idle = request.until.saturating_sub(last);
        idle <= factor.saturating_mul(last.saturating_sub(first))
            || !is_late(last, request.server.start_ns, request.until)
    }

    /// Whether a request like it was answered well although the same call had failed for it, too.
    fn is_done_without(&self, request: &Request<'_>, call: &Call) -> bool {
        let &Request { container, server, min_status, .. } = request;
        let well = |x: &&Exchange| x.status().is_some() && !x.failed(min_status) && is_alike(x, server);
        let mut like_it = self.window.inbound(container).take(RECENT).filter(well).take(LIKE_IT);
        like_it.any(|well| {
            self.calls(container, well.start_ns, well.end_ns).iter().any(|other| {
                other.standing(well.end_ns, min_status) == Standing::Failed
                    && is_same(call, other)
                    && self.place(call) == self.place(other)
                    && matches!(link::belongs(self, container, well, other), Belongs::Yes(_))
                    && !self.healed(other, well.end_ns)
            })
        })
    }
}

/// Whether two calls ask for the same, wherever.
fn is_same(a: &Call, b: &Call) -> bool {
    match (a, b) {
        (Call::Exchange(a), Call::Exchange(b)) => same_request(a, b),
        _ => std::mem::discriminant(a) == std::mem::discriminant(b),
    }
}
