//! When a failure is told, and whether: the settle time, what an inbound request waits for, what a retry heals.

use std::net::SocketAddr;

use super::{
    Correlator,
    around::Around,
    call::Call,
    chain::{Chain, Leaf, call_numbers},
    descend::caller_hop,
    identity::Who,
    link::{self, Owner},
    lookup::Lookup,
    window::Id,
};
use crate::{
    event::{Exchange, Ktime, Outcome, Role},
    verdict::{self, Incident, Link},
};

/// A gateway lets go of its upstream within microseconds of its answer; the events of both ends come within this.
pub(super) const SETTLE_NS: u64 = 200_000_000;
const AGAIN_NS: u64 = 100_000_000;
/// A retry within this heals a failure that nothing waits for.
const QUIET_NS: u64 = 10_000_000_000;
/// A symptom waits for its request no longer than this.
const PATIENCE_NS: u64 = 90_000_000_000;
/// A lookup's transactions come within this of each other.
const LOOKUP_NS: u64 = 15_000_000_000;
/// The kubelet acts on a failed liveness probe at once.
const RESTART_NS: u64 = 1_500_000_000;
/// Chains are told from the outside in; deeper ones than this don't occur.
const ROUNDS: usize = 16;
/// A client that leaves earlier than this hasn't given up: it was not interested any more.
pub(super) const GAVE_UP_NS: u64 = 900_000_000;

/// A failure that waits to be told.
#[derive(Clone, Debug)]
pub(crate) enum Symptom {
    Exchange(Id),
    Connect(Id),
    Attempt(Id),
    End(Id),
    /// A DNS transaction: whose, and which.
    Lookup {
        cgroup: u64,
        sequence: u64,
    },
}

enum Decision {
    Done,
    Later(Ktime),
    Tell(Box<Call>),
}

impl Correlator {
    pub(super) fn symptom(&mut self, symptom: Symptom, at: Ktime) {
        if self.pending.len() >= super::PENDING {
            self.left_out += 1;
            return;
        }
        self.inquire(&symptom, at);
        self.next_symptom += 1;
        self.pending.insert((at + SETTLE_NS, self.next_symptom), symptom);
        self.wants.push(super::Want::Flight);
    }

    /// Decides what is due.
    pub(super) fn decide(&mut self, limit: Ktime, out: &mut Vec<Incident>) {
        // Those put off are looked at again in the next round only.
        let mut later: Vec<((Ktime, u64), Symptom)> = Vec::new();
        while let Some(entry) = self.pending.first_entry() {
            if entry.key().0 > limit {
                break;
            }
            let ((_, number), symptom) = entry.remove_entry();
            let due = match self.consider(&symptom) {
                Decision::Done => None,
                Decision::Later(due) => Some(due),
                Decision::Tell(call) => (!self.tell(&call, out)).then_some(self.now),
            };
            match due {
                Some(due) => later.push(((due.max(self.now + 1), number), symptom)),
                None => self.decided(&symptom),
            }
        }
        // At the end there is no later round: first those again that waited for what has been told meanwhile, innermost
        // requests last, then whatever is left.
        if self.finishing {
            for _ in 0..ROUNDS {
                later.retain(|(_, symptom)| match self.consider(symptom) {
                    Decision::Later(_) => true,
                    decision => {
                        self.decided(symptom);
                        if let Decision::Tell(call) = decision {
                            _ = self.tell(&call, out);
                        }
                        false
                    }
                });
            }
        } else {
            self.pending.extend(later);
        }
        self.incidents.update(self.now, self.finishing, out);
    }

    fn decided(&mut self, symptom: &Symptom) {
        if let Symptom::Exchange(id) = symptom
            && let Some(exchange) = self.window.exchanges.get(*id)
        {
            self.undecided.remove(&(exchange.conn, exchange.number));
        }
    }

    fn consider(&self, symptom: &Symptom) -> Decision {
        let call = match symptom {
            Symptom::Exchange(id) => self.window.exchanges.get(*id).cloned().map(Call::Exchange),
            Symptom::Connect(id) => self.window.connects.get(*id).cloned().map(Call::Connect),
            Symptom::Attempt(id) => self.window.attempts.get(*id).cloned().map(|(at, x)| Call::Attempt(at, x)),
            Symptom::End(id) => {
                let end = self.window.signals.get(*id).filter(|(at, end)| self.is_failed_end(*at, end));
                end.cloned().map(|(at, x)| Call::End(at, x))
            }
            Symptom::Lookup { cgroup, sequence } => {
                let lookup = self.window.lookups.of(*cgroup, *sequence, LOOKUP_NS, self.now);
                lookup.filter(Lookup::failed).map(Call::Lookup)
            }
        };
        let Some(call) = call else { return Decision::Done };
        if let Some(decision) = self.consider_probe(&call) {
            return decision;
        }
        if let Call::Exchange(x) = &call {
            // A failure to the kubelet only, and no probe of the pod is known: it may have been a lifecycle hook.
            if !x.failed(self.min_status_of(x.cgroup)) {
                return Decision::Done;
            }
            if self.explained.contains_key(&x.hop_key()) {
                return Decision::Done;
            }
            if self.failed_since_left(x) {
                return self.consider_left(x);
            }
            // The client end knows who waits for it.
            match x.role {
                Role::Client => {}
                Role::Server => match self.window.other_end(x) {
                    Some(client) if client.outcome != Outcome::Open => {
                        return self.consider_call(Call::Exchange(client.clone()));
                    }
                    Some(_) if !self.finishing && self.now < x.end_ns + PATIENCE_NS => {
                        return Decision::Later(self.now + AGAIN_NS);
                    }
                    _ => return self.outermost(call),
                },
            }
        } else if call_numbers(&call).iter().any(|n| self.consumed.contains_key(n)) {
            return Decision::Done;
        }
        self.consider_call(call)
    }

    /// The kubelet's own count decides over its probes: what succeeds before its threshold is no incident. Nothing if the
    /// call is no probe.
    fn consider_probe(&self, call: &Call) -> Option<Decision> {
        // The end of whoever made it tells what it is.
        let other = match call {
            Call::Exchange(x) if x.role == Role::Server => self.window.other_end(x).cloned().map(Call::Exchange),
            _ => None,
        };
        let call = other.as_ref().unwrap_or(call);
        let (pod, runs) = self.probing(call)?;
        if matches!(call, Call::Exchange(x) if self.explained.contains_key(&x.hop_key())) {
            return Some(Decision::Done);
        }
        // A pod that wasn't ready before the first probe was seen has failed often enough already.
        let unready = !pod.is_ready();
        let decided: Vec<_> = runs
            .iter()
            .filter(|r| r.failures > 0 && (r.is_decided() || (unready && r.kind == "readiness" && !r.succeeded)))
            .collect();
        if decided.is_empty() || pod.metadata.deletion_timestamp.is_some() {
            return Some(Decision::Done);
        }
        // What the kubelet kills now takes requests with it: their incident tells the probe as well.
        let restart = decided.iter().any(|run| run.kind != "readiness");
        let due = call.end() + if restart { RESTART_NS } else { SETTLE_NS };
        Some(if self.now < due && !self.finishing {
            Decision::Later(due)
        } else {
            Decision::Tell(Box::new(call.clone()))
        })
    }

    /// A server that failed since its caller had left. Why that one left, the verdict on its own request may tell.
    fn consider_left(&self, server: &Exchange) -> Decision {
        let call_of = |server: &Exchange| self.window.other_end(server).cloned().map(Call::Exchange);
        if call_of(server).is_some_and(|call| self.ended_with(&call).is_some()) {
            return Decision::Done;
        }
        if self
            .outermost_left(server)
            .and_then(call_of)
            .is_some_and(|call| self.is_waited_for(&call, &self.owners(&call)))
        {
            return Decision::Later(self.now + AGAIN_NS);
        }
        Decision::Tell(Box::new(Call::Exchange(server.clone())))
    }

    /// The requests that the call may have been made for.
    fn owners(&self, call: &Call) -> Vec<&Exchange> {
        match link::owner(self, self.identity.container_key(call.cgroup()), call) {
            Owner::Nobody => Vec::new(),
            Owner::One(owner, _) => vec![owner],
            Owner::Several(owners) => owners,
        }
    }

    /// Whether one of the call's owners has no answer or no verdict yet.
    fn is_waited_for(&self, call: &Call, owners: &[&Exchange]) -> bool {
        // At the end of a capture what is in flight stays so; a failed request's own verdict still comes first.
        let unanswered = !self.finishing && owners.iter().any(|r| r.outcome == Outcome::Open);
        let undecided = owners.iter().any(|r| self.undecided.contains_key(&(r.conn, r.number)));
        self.now < call.end() + PATIENCE_NS && (unanswered || undecided)
    }

    fn consider_call(&self, call: Call) -> Decision {
        // The process's end is told by whoever called it.
        if self.ended_with(&call).is_some() {
            return Decision::Done;
        }
        let owners = self.owners(&call);
        if owners.is_empty() {
            return self.outermost(call);
        }
        if self.is_waited_for(&call, &owners) {
            return Decision::Later(self.now + AGAIN_NS);
        }
        let min = self.min_status_of(call.cgroup());
        // A request whose client has left takes its calls with it; what its caller cancelled (a hedged request won) failed
        // nobody, unless an answer was made of it, which is told.
        if owners.iter().any(|r| self.abandoned(r)) || matches!(&call, Call::Exchange(x) if self.abandoned(x)) {
            return Decision::Done;
        }
        let http = matches!(call, Call::Exchange(_));
        if self.healed(&call, self.now) || (!http && owners.iter().all(|r| !r.failed(min))) {
            return Decision::Done;
        }
        Decision::Tell(Box::new(call))
    }

    /// Nothing waits for it.
    fn outermost(&self, call: Call) -> Decision {
        if let Call::Exchange(x) = &call {
            if x.outcome == Outcome::Unanswered && self.abandoned(x) {
                return Decision::Done;
            }
            // What HTTP clients retry by themselves on another connection (RFC 9112 section 9.3.1).
            if x.met_a_closing_server() && self.healed(&call, self.now) {
                return Decision::Done;
            }
            return Decision::Tell(Box::new(call));
        }
        if !self.finishing && self.now < call.end() + QUIET_NS {
            return Decision::Later((call.end() + QUIET_NS).max(self.now + AGAIN_NS));
        }
        let healed = match &call {
            // Whoever asks in the container.
            Call::Lookup(failed) => self.window.lookups.resolved(failed, self.now, |_| true),
            call => self.healed(call, self.now),
        };
        if healed { Decision::Done } else { Decision::Tell(Box::new(call)) }
    }

    /// The client left before it can be said to have given up.
    fn abandoned(&self, exchange: &Exchange) -> bool {
        if exchange.outcome != Outcome::Unanswered {
            return false;
        }
        let waited = exchange.end_ns.saturating_sub(exchange.start_ns);
        let closed_by_client = match exchange.role {
            Role::Client => exchange.local_closed_first || exchange.reset_sent && !exchange.reset_received,
            Role::Server => (exchange.remote_closed_first || exchange.reset_received) && !exchange.local_closed_first,
        };
        let closing = if exchange.closing_ns > exchange.start_ns { exchange.closing_ns } else { exchange.end_ns };
        closed_by_client && waited.min(closing.saturating_sub(exchange.start_ns)) < GAVE_UP_NS
    }

    /// Tells it, and gives true; or asks the node first for what its chain ends at: then the answer is there in the next round.
    fn tell(&mut self, call: &Call, out: &mut Vec<Incident>) -> bool {
        // The cluster as it was when it failed, not as it is by now; and where it failed deeper down, as it was then.
        self.snapshot.as_of(call.end());
        let (mut chain, mut judgement) = self.explain(call);
        if let Some(failed_at) = chain.failed_at
            && self.snapshot.as_of(failed_at)
        {
            (chain, judgement) = self.explain(call);
        }
        if !self.finishing && chain.unexamined.as_ref().is_some_and(|server| self.inquire_last(server)) {
            self.snapshot.present();
            return false;
        }
        let now = self.now;
        for hop in &chain.passed {
            self.explained.insert(*hop, now);
        }
        for number in chain.consumed.iter().chain(&call_numbers(call)) {
            self.consumed.insert(*number, now);
        }
        if let Call::Exchange(x) = call {
            self.explained.insert(x.hop_key(), now);
        }
        let incident = self.incident(call, chain, judgement);
        self.snapshot.present();
        if let Some(incident) = incident {
            let wall_ns = (call.end() as i64).saturating_add(self.wall_offset_ns());
            self.incidents.add(incident, now, wall_ns, out);
        }
        true
    }

    /// The chain below a symptom and the verdict on it.
    fn explain(&self, call: &Call) -> (OwnedChain, verdict::Judgement) {
        let mut chain = Chain {
            since: call.start(),
            hops: Vec::new(),
            links: Vec::new(),
            apart: Vec::new(),
            leaf: Leaf::Ambiguous(Vec::new()),
            around: Around::default(),
            passed: Vec::new(),
            consumed: Vec::new(),
            probes: self.probing(call).map(|(_, runs)| runs).unwrap_or_default(),
        };
        let client = match call {
            Call::Exchange(x) if x.role == Role::Server => None,
            other => Some(other),
        };
        if let Some(client) = client {
            let who = self.identity.who(&self.snapshot, client.cgroup(), client.actor().map(|a| a.tgid));
            if who.is_pod() || (self.snapshot.is_empty() && who != Who::default()) {
                let mut hop = caller_hop(who.hop());
                if let Call::Exchange(x) = client {
                    hop.address = Some(x.local.ip().to_string());
                    hop.exchanged(x, x.end_ns);
                    hop.lasted(x.start_ns, x.end_ns);
                }
                chain.hops.push(hop);
            }
        }
        match call {
            Call::Exchange(x) if self.failed_since_left(x) => self.abandon(&mut chain, x),
            Call::Exchange(x) => self.descend(&mut chain, x, x.end_ns, Link::Root),
            other => self.end_with(&mut chain, other, other.end(), Link::Root),
        }
        chain.around = self.around(&chain.leaf);
        let judgement = verdict::judge(&chain, &self.context());
        if judgement.cause == verdict::cause::LIVENESS_RESTART {
            let hops: Vec<_> = chain.leaf.probes().iter().flat_map(|run| run.hops.clone()).collect();
            chain.passed.extend(hops);
        }
        let Chain { hops, links, leaf, passed, consumed, around, .. } = chain;
        let failed_at = leaf.failed_at();
        let unexamined = match leaf {
            Leaf::Server(leaf) if around.resources.is_none() => {
                Some(Unexamined { server: leaf.exchange, at: leaf.until })
            }
            _ => None,
        };
        (OwnedChain { hops, links, failed_at, unexamined, passed, consumed }, judgement)
    }
}

/// What is left of a chain when the borrow of the window ends.
pub(crate) struct OwnedChain {
    pub(crate) hops: Vec<verdict::Hop>,
    pub(crate) links: Vec<Link>,
    /// When its deepest element failed.
    pub(crate) failed_at: Option<Ktime>,
    /// Its deepest element, if that is a server whose resources weren't read then.
    pub(crate) unexamined: Option<Unexamined>,
    pub(crate) passed: Vec<(SocketAddr, u32)>,
    pub(crate) consumed: Vec<u64>,
}

/// A server whose resources aren't known.
pub(crate) struct Unexamined {
    pub(crate) server: Exchange,
    /// When it failed.
    pub(crate) at: Ktime,
}
