//! The descent: from an exchange to the call that failed it, and on, until something failed on its own account.

use std::net::SocketAddr;

use super::{
    Correlator,
    call::{Call, Standing},
    chain::{Chain, Leaf, RemoteLeaf, ServerLeaf, call_numbers},
    decisive::{Decisive, Request},
    fold::template,
    link::{self, Belongs, Owner},
    symptom::GAVE_UP_NS,
};
use crate::{
    event::{Exchange, Ktime, Outcome, Role},
    verdict::{self, Hop, Link},
};

/// Longer chains are loops.
const DEPTH: usize = 16;
/// Calls that may be meant: more aren't listed.
const CANDIDATES: usize = 8;
/// A gateway may answer before it lets go of its upstream (haproxy resets it 125 µs after its 504).
pub(crate) const SLACK_NS: u64 = 5_000_000;
/// A call that was pending for less when its request failed is no reason for it.
const PENDING_NS: u64 = 100_000_000;
/// Nor, of a request that failed sooner, one that was pending for less than this: a look may have met a connect just before it
/// succeeded, which is no event.
const PENDING_LEAST_NS: u64 = 10_000_000;
/// A proxy that marked its server down answers without trying: failed connects this far back explain it.
pub(crate) const MARKED_DOWN_NS: u64 = 60_000_000_000;

impl Correlator {
    /// Follows an exchange, known by either end, down to its leaf. `until` is when whoever waited stopped waiting.
    pub(crate) fn descend<'a>(&'a self, chain: &mut Chain<'a>, exchange: &Exchange, until: Ktime, link: Link) {
        let (client, server) = match exchange.role {
            Role::Client => (Some(exchange.clone()), self.window.other_end(exchange).cloned()),
            Role::Server => (self.window.other_end(exchange).cloned(), Some(exchange.clone())),
        };
        chain.passed.push(exchange.hop_key());
        let Some(mut server) = server else {
            let Some(client) = client else { return };
            let (target, deaths) = self.remote(&client);
            let mut hop = self.target_hop(&target, client.remote);
            hop.exchanged(&client, until);
            hop.lasted(client.start_ns, client.end_ns.min(until));
            hop.key = Some(client.hop_name());
            hop.elsewhere = true;
            hop.link = Some(link);
            chain.hops.push(hop);
            if let Some(lost) = self.lost(&client, None, &target, until) {
                chain.leaf = lost;
                return;
            }
            chain.leaf = Leaf::Remote(RemoteLeaf { exchange: client, target, deaths });
            return;
        };
        // The end of a stuck server knows only that it began to answer.
        if let Some(cut) = client.as_ref().and_then(|c| c.cut)
            && server.cut.is_none()
            && server.status() == Some(cut)
        {
            (server.outcome, server.cut) = (Outcome::Open, Some(cut));
        }
        chain.passed.push(server.hop_key());
        let tgid = server.actor.map(|a| a.tgid);
        let who = self.identity.who(&self.snapshot, server.cgroup, tgid);
        let mut hop = who.hop();
        hop.service = client
            .as_ref()
            .and_then(|c| self.target_of(Some(c.cgroup), c.remote, c.nat_remote).service)
            .or_else(|| self.target(server.local, None).service)
            .map(super::identity::service_name);
        hop.address = Some(server.local.to_string());
        let seen = client.as_ref().unwrap_or(&server);
        hop.exchanged(seen, until);
        hop.lasted(server.start_ns, server.end_ns.min(until));
        hop.key = Some(server.hop_name());
        hop.link = Some(link);
        chain.hops.push(hop);
        if chain.hops.len() > DEPTH {
            chain.leaf = Leaf::Ambiguous(vec!["the chain of calls doesn't end".to_owned()]);
            return;
        }
        let until_left = until;
        let until = until.min(if server.outcome == Outcome::Open { until } else { server.end_ns });
        let until = client
            .as_ref()
            .map_or(until, |c| if c.outcome == Outcome::Open { until } else { until.min(c.end_ns.max(c.start_ns)) });
        if let Some(client) = &client
            && server.status().is_some()
            && !server.failed(self.min_status_of(server.cgroup))
            && let Some(lost) = self.lost_between(client, &server, until_left)
        {
            chain.leaf = lost;
            return;
        }
        self.choose(chain, &server, client, until, who);
    }

    /// Picks the call that failed the request, or ends the descent at its server.
    fn choose<'a>(
        &'a self,
        chain: &mut Chain<'a>,
        server: &Exchange,
        client: Option<Exchange>,
        until: Ktime,
        who: super::identity::Who,
    ) {
        let container = self.identity.container_key(server.cgroup);
        let calls = self.calls(container, server.start_ns, until);
        let min = self.min_status_of(server.cgroup);
        let mut sure: Vec<(Call, Link)> = Vec::new();
        let mut perhaps: Vec<Call> = Vec::new();
        let mut well: Vec<Exchange> = Vec::new();
        let mut healed = 0;
        let mut waiting = 0;
        let mut died: Vec<Call> = Vec::new();
        let settled = until.saturating_add(SLACK_NS);
        for call in calls {
            let standing = call.standing(settled, min);
            if standing == Standing::Well {
                if let Call::Exchange(x) = &call
                    && link::belongs(self, container, server, &call) != Belongs::No
                {
                    well.push(x.clone());
                }
                continue;
            }
            if standing == Standing::Pending && !is_late(call.start(), server.start_ns, until) {
                continue;
            }
            if server.status().is_none() && self.died_calling(&call) {
                died.push(call);
                continue;
            }
            match link::belongs(self, container, server, &call) {
                Belongs::No => {}
                _ if standing == Standing::Failed && self.healed(&call, until) => healed += 1,
                Belongs::Yes(link) => sure.push((call, link)),
                // It may be what the request gave up on.
                Belongs::Perhaps if standing == Standing::Failed => perhaps.push(call),
                Belongs::Perhaps => waiting += 1,
            }
        }
        // What a process waited for when it died, and what was cancelled since another call had failed, is no reason.
        let others: Vec<&Call> = sure.iter().map(|(call, _)| call).chain(&perhaps).collect();
        let is_cancelled: Vec<bool> =
            sure.iter().map(|(call, _)| self.is_cancelled(call, &others, settled, min)).collect();
        let mut is_cancelled = is_cancelled.into_iter();
        let (cancelled, mut sure): (Vec<_>, Vec<_>) =
            sure.into_iter().partition(|_| is_cancelled.next().unwrap_or_default());
        for call in cancelled.iter().map(|(call, _)| call).chain(&died) {
            pass(chain, call);
        }
        died.retain(|call| until.saturating_sub(call.start()) >= GAVE_UP_NS);
        chain.apart.extend(died.iter().map(|call| format!("{}: no answer when the process ended", self.place(call))));
        let request = Request { container, server, client: client.as_ref(), until, min_status: min };
        let deaths = self.deaths_of(server, until);
        // What dies of a failed call has failed on its own account.
        let died = server.status().is_none() && server.actor.is_some() && !deaths.is_empty();
        let found = if died && !sure.iter().any(|(call, _)| self.ended_with(call).is_some()) {
            Decisive::Nothing
        } else {
            self.decisive(&request, &mut sure)
        };
        let failed = |call: &Call| call.standing(settled, min) == Standing::Failed;
        match found {
            Decisive::Call(call, link) => {
                // Earlier tries of the same are the same failure.
                let place = self.place(&call);
                let (same, apart): (Vec<_>, Vec<_>) =
                    sure.into_iter().map(|(other, _)| other).partition(|other| self.place(other) == place);
                same.iter().for_each(|other| pass(chain, other));
                let apart: Vec<_> = apart.into_iter().filter(failed).collect();
                chain.apart.extend(self.listed(&apart));
                return self.follow(chain, &call, until, link);
            }
            Decisive::Doubtful => {
                let calls: Vec<_> = sure.into_iter().map(|(call, _)| call).chain(perhaps).collect();
                let own = format!("{}: {}", who.label(), outcome(server, until));
                chain.leaf = Leaf::Ambiguous(std::iter::once(own).chain(self.listed(&calls)).collect());
                return;
            }
            Decisive::Nothing => {
                let calls: Vec<_> = sure.into_iter().map(|(call, _)| call).filter(failed).collect();
                chain.apart.extend(self.listed(&calls));
            }
        }
        if !perhaps.is_empty() {
            chain.leaf = Leaf::Ambiguous(self.listed(&perhaps));
            return;
        }
        if waiting > 0 {
            chain.leaf = Leaf::Ambiguous(vec![format!("one of {waiting} calls without an answer yet")]);
            return;
        }
        if let Some(client) = client.as_ref().filter(|_| server.status().is_none() && deaths.is_empty())
            && let Some(lost) = self.lost_between(client, server, until)
        {
            chain.leaf = lost;
            return;
        }
        let proxy = self.proxy(server);
        let opaque = self.window.opaque.used(container, server.start_ns, until);
        let opaque = opaque.map(|remotes| remotes.into_iter().map(|remote| self.name_of(remote)).collect());
        if proxy.is_some()
            && server.status().is_some()
            && well.is_empty()
            && opaque.is_none()
            && self.marked_down(chain, server, container, until)
        {
            return;
        }
        let blind = self.blind_since(server.start_ns);
        let pod = self.identity.pod_of(&self.snapshot, server.cgroup);
        let probes = pod.map(|pod| self.probe_runs(pod)).unwrap_or_default();
        let unread = server.outcome == Outcome::Unanswered
            && server.read_ns.is_none()
            && self.window.earlier(server).any(|x| x.read_ns.is_some() && x.outcome != Outcome::Open);
        chain.leaf = Leaf::Server(Box::new(ServerLeaf {
            exchange: server.clone(),
            client,
            who,
            until,
            deaths,
            probes,
            unread,
            well,
            opaque,
            healed,
            proxy,
            relays: self.relays(container),
            blind,
        }));
    }

    /// Goes on with one call.
    pub(crate) fn follow<'a>(&'a self, chain: &mut Chain<'a>, call: &Call, until: Ktime, link: Link) {
        chain.links.push(link);
        chain.consumed.extend(call_numbers(call));
        match call {
            Call::Exchange(x) => self.descend(chain, x, until, link),
            other => self.end_with(chain, other, until, link),
        }
    }

    /// What failed, place by place.
    fn listed(&self, calls: &[Call]) -> Vec<String> {
        let mut seen: Vec<String> = Vec::new();
        for call in calls {
            let what = match call {
                Call::Exchange(x) => outcome(x, Ktime::MAX),
                Call::Connect(_) | Call::Attempt(..) => "connect failed".to_owned(),
                Call::End(..) => "connection broke".to_owned(),
                Call::Lookup(_) => "not resolved".to_owned(),
            };
            let text = format!("{}: {what}", self.place(call));
            if !seen.contains(&text) {
                seen.push(text);
            }
            if seen.len() >= CANDIDATES {
                break;
            }
        }
        seen.sort();
        seen
    }

    /// A proxy that answers without trying may have marked its servers down: then what its last connects failed of counts,
    /// as far as they were made for requests like this one. Of others nobody knows whether this one would have gone there.
    fn marked_down<'a>(&'a self, chain: &mut Chain<'a>, server: &Exchange, container: u64, until: Ktime) -> bool {
        let from = server.start_ns.saturating_sub(MARKED_DOWN_NS);
        // By whether they were.
        let mut branches: Vec<(bool, Chain<'a>, verdict::Judgement)> = Vec::new();
        for connect in self.window.failed_connects(from) {
            if connect.end_ns > until || self.identity.container_key(connect.cgroup) != container {
                continue;
            }
            let call = Call::Connect(connect.clone());
            if self.healed(&call, until) {
                continue;
            }
            let alike = match link::owner(self, container, &call) {
                Owner::Nobody => false,
                Owner::One(owner, _) => is_alike(owner, server),
                Owner::Several(owners) => owners.iter().all(|owner| is_alike(owner, server)),
            };
            let mut branch = chain.clone();
            branch.since = branch.since.min(connect.start_ns);
            self.follow(&mut branch, &call, until, Link::Time);
            let judgement = verdict::judge(&branch, &self.context());
            match branches.iter_mut().find(|(_, _, known)| known.fingerprint() == judgement.fingerprint()) {
                Some((known_alike, ..)) => *known_alike |= alike,
                None => branches.push((alike, branch, judgement)),
            }
            if branches.len() > 8 {
                break;
            }
        }
        if branches.iter().any(|(alike, ..)| *alike) {
            branches.retain(|(alike, ..)| *alike);
            if branches.len() == 1 {
                branches.into_iter().for_each(|(_, branch, _)| *chain = branch);
                return true;
            }
        } else if branches.is_empty() {
            return false;
        }
        let own = branches.iter().all(|(alike, ..)| !alike).then(|| "its own answer".to_owned());
        chain.leaf = Leaf::Ambiguous(own.into_iter().chain(branches.iter().map(|(.., j)| j.label())).collect());
        true
    }

    /// What a call was aimed at: the Service, the name looked up, or the address.
    pub(super) fn place(&self, call: &Call) -> String {
        match call {
            Call::Lookup(lookup) => lookup.name.clone(),
            _ => self.name_of(call.remote()),
        }
    }

    fn name_of(&self, remote: SocketAddr) -> String {
        self.target(remote, None).service.map_or_else(|| remote.to_string(), super::identity::service_name)
    }
}

/// It isn't told by itself.
fn pass(chain: &mut Chain<'_>, call: &Call) {
    chain.consumed.extend(call_numbers(call));
    if let Call::Exchange(x) = call {
        chain.passed.push(x.hop_key());
    }
}

/// Whether a proxy would pass both on to the same upstream: as far as the path tells, which ids don't change.
pub(super) fn is_alike(a: &Exchange, b: &Exchange) -> bool {
    let path = |x: &Exchange| x.request.as_ref().map(|head| template(&head.path));
    path(a).is_some_and(|path_of_a| Some(path_of_a) == path(b))
}

/// Whether a call that was pending at `until`, when its request had failed, had been so for long enough to be the reason.
pub(super) fn is_late(call: Ktime, request: Ktime, until: Ktime) -> bool {
    let enough = PENDING_NS.min(until.saturating_sub(request) / 2).max(PENDING_LEAST_NS);
    until.saturating_sub(call) >= enough
}

/// What became of an exchange, in a word.
pub(crate) fn outcome(exchange: &Exchange, until: Ktime) -> String {
    match exchange.outcome {
        Outcome::Status(status) if exchange.end_ns <= until.saturating_add(SLACK_NS) => status.to_string(),
        Outcome::Unanswered if exchange.cut.is_some() => "answer broke off".to_owned(),
        Outcome::Unanswered if exchange.reset_received => "reset".to_owned(),
        Outcome::Unanswered if exchange.remote_closed_first && exchange.role == Role::Client => "closed".to_owned(),
        _ => "no answer".to_owned(),
    }
}

pub(crate) fn milliseconds(from: Ktime, to: Ktime) -> f64 {
    (to.saturating_sub(from) / 1000) as f64 / 1000.0
}

/// A hop for a caller, the first of a path.
pub(crate) fn caller_hop(mut hop: Hop) -> Hop {
    hop.link = Some(Link::Root);
    hop
}

#[cfg(test)]
mod tests {
    use super::is_late;

    #[test]
    fn a_call_must_have_been_pending_for_a_while() {
        let late = |request_ms: u64, pending_ms: u64| {
            let until = 1_000_000_000_000;
            is_late(until - pending_ms * 1_000_000, until - request_ms * 1_000_000, until)
        };
        assert!(!late(1000, 99));
        assert!(late(1000, 100));
        assert!(!late(60, 29), "less than half of a short request");
        assert!(late(60, 30));
        assert!(!late(2, 2), "all of a request of two milliseconds");
        assert!(!late(12, 9));
        assert!(late(12, 10));
    }
}
