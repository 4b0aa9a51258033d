//! Which request of a container a call belongs to. Strongest first, each shown in the output:
//!
//! 1. `header`: an id stands in both heads. A call whose ids contradict a request's isn't that request's.
//! 2. `thread`: the thread that made the call was serving exactly one request, from reading it to answering it, and this
//!    process has never been seen to hand requests from one thread to another.
//! 3. `time`: no other request that was open when the call was made could own it.
//!
//! A call is made when it is sent: pools connect for one request and give the connection to another (Go's `net/http`
//! `Transport.queueForDial`). Only the thread is the one that connected, where the call is its connection's first.
//!
//! With more than one candidate and nothing stronger, the call is nobody's.

use rustc_hash::FxHashMap;

use super::{Correlator, call::Call};
use crate::{
    event::{Exchange, Ktime, Outcome, Role},
    verdict::Link,
};

/// Requests looked at for owning a call.
const CANDIDATES: usize = 4096;

/// What was learned about how a process serves requests.
#[derive(Clone, Copy, Debug, Default)]
struct Model {
    /// Exchanges answered by the thread that read them.
    same_thread: u32,
    /// Exchanges answered by another thread, or by one that had several requests open.
    handed_over: u32,
}

/// Threading models by process.
#[derive(Debug, Default)]
pub(crate) struct Models(FxHashMap<u32, Model>);

impl Models {
    /// Learns from a served exchange.
    pub(crate) fn learn(&mut self, exchange: &Exchange) {
        let (Role::Server, Some(reader), Some(responder)) = (exchange.role, exchange.actor, exchange.responder) else {
            return;
        };
        if self.0.len() > 10_000 {
            self.0.clear();
        }
        let model = self.0.entry(reader.tgid).or_default();
        if reader.tid == responder.tid {
            model.same_thread = model.same_thread.saturating_add(1);
        } else {
            model.handed_over = model.handed_over.saturating_add(1);
        }
    }

    fn hands_over(&self, tgid: u32) -> bool {
        self.0.get(&tgid).is_some_and(|m| m.handed_over > 0)
    }
}

/// Who owns a call.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Owner<'a> {
    /// No request was open: the container acted on its own account.
    Nobody,
    One(&'a Exchange, Link),
    /// Any of these.
    Several(Vec<&'a Exchange>),
}

fn same_exchange(a: &Exchange, b: &Exchange) -> bool {
    a.conn == b.conn && a.number == b.number
}

/// Whether the request was being served at `t`.
fn serving(request: &Exchange, t: Ktime) -> bool {
    // A caller that has gone doesn't stop the server from working on its request.
    let until = match request.outcome {
        Outcome::Open => Ktime::MAX,
        _ => request.end_ns,
    };
    request.start_ns <= t && t <= until
}

/// The ids say that they belong together, that they don't, or nothing.
fn compare_ids(call: &[(String, String)], request: &Exchange) -> Option<bool> {
    let ids = &request.request.as_ref()?.ids;
    let mut differ = false;
    for (name, value) in call {
        for (other, other_value) in ids {
            if value == other_value {
                return Some(true);
            }
            // A gateway may make its own request id; a trace id is passed on or absent.
            differ |= name == other && name == "traceparent";
        }
    }
    differ.then_some(false)
}

/// Finds the owner of a call made by `container`.
pub(crate) fn owner<'a>(core: &'a Correlator, container: u64, call: &Call) -> Owner<'a> {
    let (window, models) = (&core.window, &core.models);
    let sent = call.start();
    let open = window.open.iter().filter(|x| x.role == Role::Server && !window.has_ended(x));
    let open = open.filter(|x| core.identity.container_key(x.cgroup) == container);
    let mut candidates: Vec<&Exchange> =
        window.inbound(container).take(CANDIDATES).chain(open).filter(|request| serving(request, sent)).collect();
    // A process doesn't work on what another one read.
    if let Some(actor) = call.actor() {
        candidates.retain(|r| r.actor.is_none_or(|reader| reader.tgid == actor.tgid));
    }
    candidates.retain(|r| compare_ids(call.ids(), r) != Some(false));
    let by_id: Vec<_> = candidates.iter().filter(|r| compare_ids(call.ids(), r) == Some(true)).copied().collect();
    if let [only] = by_id.as_slice() {
        return Owner::One(only, Link::Header);
    }
    match candidates.as_slice() {
        [] => return Owner::Nobody,
        [only] => {
            // Of a single candidate the thread tells whether it is more than a coincidence in time.
            let thread = call.actor().zip(only.actor).is_some_and(|(a, b)| a.tid == b.tid);
            return Owner::One(only, if thread { Link::Thread } else { Link::Time });
        }
        _ => {}
    }
    if let Some(request) = by_thread(models, call, &candidates) {
        return Owner::One(request, Link::Thread);
    }
    Owner::Several(candidates)
}

/// The one request that the calling thread was serving from reading to answering.
fn by_thread<'a>(models: &Models, call: &Call, candidates: &[&'a Exchange]) -> Option<&'a Exchange> {
    let (actor, at) = (call.actor()?, call.acted_at());
    if models.hands_over(actor.tgid) {
        return None;
    }
    let mut read = candidates.iter().filter(|r| r.actor.is_some_and(|reader| reader.tid == actor.tid));
    let first = *read.next()?;
    if read.any(|other| !same_exchange(other, first)) {
        return None;
    }
    // Every other request must have a reader, and another one: else the hand-over is merely not seen yet.
    let known = candidates.iter().all(|r| r.actor.is_some());
    let before = first.read_ns.is_none_or(|read| read <= at);
    let same = first.responder.is_none_or(|responder| responder.tid == actor.tid);
    (known && before && same).then_some(first)
}

/// Whether a request and a call belong together, as far as can be told.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Belongs {
    Yes(Link),
    Perhaps,
    No,
}

/// Whether `request` owns the call.
pub(crate) fn belongs(core: &Correlator, container: u64, request: &Exchange, call: &Call) -> Belongs {
    match owner(core, container, call) {
        Owner::One(owner, link) if same_exchange(owner, request) => Belongs::Yes(link),
        Owner::Several(candidates) if candidates.iter().any(|c| same_exchange(c, request)) => Belongs::Perhaps,
        _ => Belongs::No,
    }
}
