//! Servers that fail because their caller has left, and who left first.

use super::{
    Correlator,
    call::{Call, Standing},
    chain::{AbandonedLeaf, Chain, Leaf},
    descend::milliseconds,
    link::{self, Owner},
    symptom::GAVE_UP_NS,
};
use crate::{
    event::{Exchange, Ktime, Outcome, Role, SignalKind},
    verdict::Link,
};

/// Who is told that its caller has left stops at once; an answer that comes later was on its way.
const AT_ONCE_NS: u64 = 100_000_000;
/// Longer chains are loops.
const DEPTH: usize = 16;

impl Correlator {
    /// Whether the server answered with a failure only because its caller had left before.
    pub(super) fn failed_since_left(&self, server: &Exchange) -> bool {
        let Some(left) = self.left_at(server) else { return false };
        let min = self.min_status_of(server.cgroup);
        if !server.failed(min)
            || server.status().is_none()
            || server.end_ns.saturating_sub(left) > AT_ONCE_NS
            || left.saturating_sub(self.asked_at(server)) >= GAVE_UP_NS
        {
            return false;
        }
        // Whatever failed before, or otherwise than by being let go, is a reason of its own.
        let container = self.identity.container_key(server.cgroup);
        self.calls(container, server.start_ns, server.end_ns).iter().all(|call| {
            call.standing(server.end_ns, min) != Standing::Failed
                || link::belongs(self, container, server, call) == link::Belongs::No
                || matches!(call, Call::Exchange(x) if x.outcome == Outcome::Unanswered
                    && x.end_ns >= left && (x.local_closed_first || x.reset_sent))
        })
    }

    /// When the caller closed the connection for good, if it did before the answer. One that only says that it has no
    /// more to send gets its answer.
    fn left_at(&self, server: &Exchange) -> Option<Ktime> {
        let closed =
            server.remote_closed_first && server.closing_ns > server.start_ns && server.closing_ns < server.end_ns;
        // A kernel whose application is gone resets what still comes (RFC 9293 section 3.10.7.4), a half-closed one takes it.
        let reset = || {
            let mut signals = self.window.signals.recent().take_while(|(at, _)| *at >= server.end_ns);
            signals.any(|(_, s)| s.signal == SignalKind::TcpReceiveReset && s.conn == Some(server.conn))
        };
        let silent = |client: &Exchange| client.outcome == Outcome::Unanswered && !client.remote_closed_first;
        let gone = || self.window.other_end(server).is_some_and(silent) || reset();
        (server.role == Role::Server && closed && gone()).then_some(server.closing_ns)
    }

    /// When whoever left first had asked.
    fn asked_at(&self, server: &Exchange) -> Ktime {
        self.outermost_left(server).map_or(server.start_ns, |outermost| outermost.start_ns)
    }

    /// The server that was left first, which the others were called for.
    pub(super) fn outermost_left<'a>(&'a self, server: &'a Exchange) -> Option<&'a Exchange> {
        self.abandoned_path(server).last().copied()
    }

    /// The servers that were left, from the one given to the outermost.
    fn abandoned_path<'a>(&'a self, server: &'a Exchange) -> Vec<&'a Exchange> {
        let mut path = vec![server];
        while path.len() < DEPTH
            && let Some(last) = path.last()
            && let Some(client) = self.window.other_end(last)
        {
            let container = self.identity.container_key(client.cgroup);
            let Owner::One(owner, _) = link::owner(self, container, &Call::Exchange(client.clone())) else { break };
            let left = owner.outcome == Outcome::Unanswered && (owner.remote_closed_first || owner.reset_received);
            if !left || owner.closing_ns > last.closing_ns {
                break;
            }
            path.push(owner);
        }
        path
    }

    /// The chain from whoever left to the server that failed then.
    pub(super) fn abandon<'a>(&'a self, chain: &mut Chain<'a>, server: &Exchange) {
        let path = self.abandoned_path(server);
        let outermost = path.last().copied().unwrap_or(server);
        let client = self.window.other_end(outermost);
        let caller = client.map(|c| self.identity.who(&self.snapshot, c.cgroup, c.actor.map(|a| a.tgid)));
        if let (Some(caller), Some(client)) = (&caller, client) {
            let mut hop = super::descend::caller_hop(caller.hop());
            hop.address = Some(client.local.ip().to_string());
            hop.exchanged(client, Ktime::MAX);
            hop.outcome = Some("left".to_owned());
            hop.duration_ms = Some(milliseconds(client.start_ns, client.end_ns));
            chain.hops.push(hop);
        }
        for (number, exchange) in path.iter().rev().enumerate() {
            let who = self.identity.who(&self.snapshot, exchange.cgroup, exchange.actor.map(|a| a.tgid));
            let mut hop = who.hop();
            hop.service = self
                .window
                .other_end(exchange)
                .and_then(|c| self.target(c.remote, c.nat_remote).service)
                .map(super::identity::service_name);
            hop.address = Some(exchange.local.to_string());
            hop.exchanged(exchange, Ktime::MAX);
            hop.duration_ms = Some(milliseconds(exchange.start_ns, exchange.end_ns));
            hop.link = Some(if number == 0 { Link::Root } else { Link::Time });
            if number > 0 {
                chain.links.push(Link::Time);
            }
            chain.passed.push(exchange.hop_key());
            chain.hops.push(hop);
        }
        chain.leaf = Leaf::Abandoned(Box::new(AbandonedLeaf {
            server: server.clone(),
            who: self.identity.who(&self.snapshot, server.cgroup, server.actor.map(|a| a.tgid)),
            caller,
            address: outermost.remote,
            waited_ns: outermost.closing_ns.saturating_sub(outermost.start_ns),
            left_ns: server.closing_ns,
        }));
    }
}
