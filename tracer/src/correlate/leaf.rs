//! The ends of a chain that are no HTTP server: connects, lookups, broken connections.

use std::net::SocketAddr;

use super::{
    Correlator,
    call::Call,
    chain::{Chain, ConnectLeaf, EndLeaf, Leaf, LookupLeaf, Refusal, Target},
    facts::DEATH_NS,
    identity::Identity,
    lookup::{Lookup, LookupOutcome},
};
use crate::{
    event::{Actor, ConnId, Connect, Drop, Exchange, Ktime, Process, Signal, SignalKind},
    k8s::model::{Pod, Protocol},
    verdict::Link,
};

/// Drops, errors and refusals belong to a connect if they come within this of its interval.
const AROUND_NS: u64 = 50_000_000;
/// Pods of a Service whose probes are looked at.
const PODS: usize = 64;
/// Paths this long don't lead to one more resolver: they may ask each other in a circle.
const RESOLVERS: usize = 16;
/// How long an OOM kill, or another end, explains that nobody listens.
const OOM_NS: u64 = 60_000_000_000;

impl Correlator {
    /// Ends the chain with a call that isn't HTTP.
    pub(crate) fn end_with<'a>(&'a self, chain: &mut Chain<'a>, call: &Call, until: Ktime, link: Link) {
        match call {
            Call::Connect(connect) => self.end_with_connect(chain, connect, until, link),
            Call::Attempt(_, attempt) => {
                let connect = Connect {
                    conn: ConnId::default(),
                    cgroup: attempt.cgroup,
                    netns: attempt.netns,
                    local: SocketAddr::new(attempt.remote.ip(), 0),
                    remote: attempt.remote,
                    nat_remote: None,
                    actor: attempt.actor,
                    comm: attempt.comm.clone(),
                    start_ns: attempt.start_ns,
                    end_ns: attempt.start_ns,
                    error: 0,
                    error_soft: 0,
                    reset: false,
                    syn_retransmits: 0,
                    open: false,
                    synchronous: false,
                };
                self.end_with_connect(chain, &connect, until, link);
            }
            Call::Lookup(lookup) => self.end_with_lookup(chain, lookup, link),
            Call::End(at, signal) => self.end_with_signal(chain, *at, signal, link),
            Call::Exchange(_) => {}
        }
    }

    fn end_with_connect<'a>(&'a self, chain: &mut Chain<'a>, connect: &Connect, until: Ktime, link: Link) {
        let from = connect.start_ns.saturating_sub(AROUND_NS);
        let to = if connect.open { until } else { connect.end_ns }.saturating_add(AROUND_NS);
        let caller = Some(connect.cgroup);
        let plain = self.target_of(caller, connect.remote, connect.nat_remote);
        let mut servers = vec![connect.remote];
        servers.extend(connect.nat_remote);
        let mut drops: Vec<(Ktime, Drop)> = self
            .window
            .drops_of(connect.local, |a| self.may_be(a, &servers, &plain), from, to)
            .into_iter()
            .cloned()
            .collect();
        let refused = drops.iter().find_map(|drop| Refusal::dropped(drop, connect));
        drops.retain(|drop| Refusal::dropped(drop, connect).is_none());
        // Where netfilter has a part in it, its place is the one that counts.
        drops.sort_by_key(|(_, drop)| !drop.by_netfilter());
        let refusal = self.window.refusal_of(connect.local, from, to).map(Refusal::sent).or(refused);
        let icmp = self.window.icmps_of(connect.local, from, to).cloned();
        let syn = self.window.syn_of(connect.local, from, to).cloned();
        // What saw the packet behind the translation tells the backend.
        let dropped = drops.iter().find(|(_, d)| d.source == connect.local).map(|(_, d)| d.destination);
        let ignored = syn.as_ref().map(|(_, s)| s.local);
        let backend = refusal.as_ref().map(|refusal| refusal.local).or(ignored).or(dropped).or(connect.nat_remote);
        let target = match backend {
            Some(address) if address != connect.remote => Target {
                service: plain.service,
                name: plain.name,
                ..self.target_of(caller, connect.remote, Some(address))
            },
            _ => self.only_endpoint(plain),
        };
        let mut hop = self.target_hop(&target, connect.remote);
        let refused = connect.reset || refusal.is_some() || connect.error == ECONNREFUSED || icmp.is_some();
        hop.outcome = Some(
            if connect.got_no_port() {
                NO_LOCAL_PORT
            } else if connect.syn_retransmits > 0 || connect.open {
                "connect timed out"
            } else if refused {
                "connect refused"
            } else if connect.end_ns.saturating_sub(connect.start_ns) < 1_000_000 {
                "connect failed"
            } else {
                "connect timed out"
            }
            .to_owned(),
        );
        hop.lasted(connect.start_ns, connect.end_ns.min(until).max(connect.start_ns));
        hop.link = Some(link);
        chain.hops.push(hop);
        let drop_pod = drops.first().and_then(|(_, d)| self.pod_of_netns(d.netns));
        let target_cgroup = backend.and_then(|b| self.identity.cgroup_at(&self.snapshot, b));
        let port = backend.unwrap_or(connect.remote).port();
        let declaring = target.pod.and_then(|pod| pod.declaring(port, Protocol::Tcp));
        // Of a pod's containers the one that declares the port should have listened.
        let listened = |p: &Process| {
            let own = self.identity.who(&self.snapshot, p.cgroup, None).container;
            own.zip(declaring).is_none_or(|(own, declaring)| own == declaring.name)
        };
        let oom = self
            .window
            .deaths(connect.start_ns.saturating_sub(OOM_NS), to)
            .find(|(_, p)| p.oom_victim && self.pod_is(target.pod, p.cgroup, target_cgroup) && listened(p))
            .cloned();
        let ended = |p: &Process| !p.oom_victim && self.pod_is(target.pod, p.cgroup, target_cgroup);
        let deaths = self.window.deaths(connect.start_ns.saturating_sub(OOM_NS), to).filter(|(_, p)| ended(p));
        let deaths = deaths.cloned().collect();
        let probes = match (target.pod, target.service) {
            (Some(pod), _) => self.probe_runs(pod),
            (None, Some(service)) => {
                let pods = self.snapshot.selected_pods(service).into_iter().take(PODS);
                pods.flat_map(|pod| self.probe_runs(pod)).collect()
            }
            (None, None) => Vec::new(),
        };
        let netns = refusal.as_ref().map(|refusal| refusal.netns).filter(|n| *n != 0);
        let local_ports = self.identity.local_ports.get(&connect.netns).copied();
        let drops_netns = drops.first().map(|(_, d)| d.netns);
        let conntrack = drops_netns.and_then(|n| self.identity.conntrack.get(&n).copied());
        // Ports that are open to others say nothing of a loopback address.
        let outside = refusal.as_ref().is_some_and(|refusal| !refusal.local.ip().is_loopback());
        let listening = netns.filter(|_| outside).and_then(|n| self.identity.listeners.get(&n).cloned());
        chain.leaf = Leaf::Connect(Box::new(ConnectLeaf {
            caller: self.identity.who(&self.snapshot, connect.cgroup, Some(connect.actor.tgid)),
            caller_pod: self.identity.pod_of(&self.snapshot, connect.cgroup),
            connect: connect.clone(),
            target,
            drops,
            drop_pod,
            icmp,
            refusal,
            local_ports,
            conntrack,
            listen_counts: syn.as_ref().and_then(|(_, s)| self.identity.listen_counts.get(&s.netns).copied()),
            syn,
            listening,
            oom,
            deaths,
            probes,
        }));
    }

    /// Whether an address is one that the call was for: behind the translation it is one of the Service's endpoints.
    pub(super) fn may_be(&self, address: SocketAddr, servers: &[SocketAddr], target: &Target<'_>) -> bool {
        servers.contains(&address)
            || target.service.is_some_and(|service| {
                let endpoints = self.snapshot.endpoints(service);
                endpoints.ready.iter().chain(&endpoints.not_ready).any(|e| e.address == address.ip())
            })
    }

    /// What an exchange that no server here has seen was aimed at, and who of it died when it closed an idle connection.
    /// What served earlier requests of the connection tells the pod behind a Service.
    pub(super) fn remote<'a>(&'a self, client: &Exchange) -> (Target<'a>, Vec<(Ktime, Process)>) {
        let served = self.window.earlier(client).find_map(|x| self.window.other_end(x));
        let caller = Some(client.cgroup);
        let plain = self.target_of(caller, client.remote, client.nat_remote);
        let target = match served {
            Some(server) if server.local != client.remote => Target {
                service: plain.service,
                name: plain.name,
                ..self.target_of(caller, client.remote, Some(server.local))
            },
            _ => self.only_endpoint(plain),
        };
        if !client.met_a_closing_server() {
            return (target, Vec::new());
        }
        let container = served.map(|server| self.identity.container_key(server.cgroup));
        let around = (client.closing_ns.saturating_sub(DEATH_NS), client.closing_ns.saturating_add(DEATH_NS));
        let of_target = |cgroup: u64| match container {
            Some(container) => self.identity.container_key(cgroup) == container,
            None => target.pod.is_some_and(|pod| self.pod_is(Some(pod), cgroup, None)),
        };
        let deaths = self.window.deaths(around.0, around.1);
        let own = deaths.filter(|(_, p)| (p.served || p.oom_victim) && of_target(p.cgroup));
        let deaths = own.cloned().collect();
        (target, deaths)
    }

    /// A Service with exactly one endpoint leaves no doubt about the pod.
    pub(crate) fn only_endpoint<'a>(&'a self, mut target: Target<'a>) -> Target<'a> {
        if let (Some(service), None) = (target.service, target.pod)
            && let [only] = self.snapshot.endpoints(service).ready.as_slice()
        {
            target.pod = self.identity.pod_at(&self.snapshot, only.address);
            target.who = target.pod.map(|pod| Identity::who_pod(&self.snapshot, pod));
        }
        target
    }

    fn pod_is(&self, pod: Option<&Pod>, cgroup: u64, fallback: Option<u64>) -> bool {
        match (pod, self.identity.pod_of(&self.snapshot, cgroup)) {
            (Some(a), Some(b)) => a.metadata.uid == b.metadata.uid,
            _ => fallback == Some(cgroup),
        }
    }

    fn end_with_lookup<'a>(&'a self, chain: &mut Chain<'a>, lookup: &Lookup, link: Link) {
        let mut servers = vec![lookup.resolver];
        let reached = self.window.lookups.reached(lookup);
        let target = self.only_endpoint(self.target(lookup.resolver, reached.map(|d| d.local)));
        let failure = match lookup.outcome {
            LookupOutcome::Timeout => Some("DNS timeout"),
            LookupOutcome::ServerFailure(_) => Some("DNS error"),
            LookupOutcome::Answered | LookupOutcome::NoSuchName => None,
        };
        let mut hop = self.target_hop(&target, lookup.resolver);
        hop.outcome = failure.map(str::to_owned);
        hop.udp = !lookup.tcp;
        hop.lasted(lookup.start_ns, lookup.end_ns);
        hop.link = Some(link);
        // A resolver that nobody answered what it passed on isn't to blame.
        if let (Some(_), Some(received)) = (failure, reached)
            && chain.hops.len() < RESOLVERS
            && let Some(passed_on) = self.window.lookups.passed_on(received, lookup.end_ns)
        {
            chain.hops.push(hop);
            chain.links.push(Link::Time);
            return self.end_with_lookup(chain, &passed_on, Link::Time);
        }
        let resolver = self.target(lookup.resolver, None);
        servers.extend(reached.map(|d| d.local));
        let mut drops: Vec<(Ktime, Drop)> = Vec::new();
        // What was lost and answered after all isn't why it failed.
        let silent = lookup.outcome == LookupOutcome::Timeout;
        for client in lookup.clients.iter().filter(|_| silent) {
            let from = lookup.start_ns.saturating_sub(AROUND_NS);
            let found = self.window.drops_of(*client, |a| self.may_be(a, &servers, &resolver), from, Ktime::MAX);
            drops.extend(found.into_iter().cloned());
        }
        drops.sort_by_key(|(_, drop)| !drop.by_netfilter());
        let icmp = lookup.clients.iter().find_map(|c| self.window.icmps_of(*c, lookup.start_ns, Ktime::MAX)).cloned();
        let reached = reached.map(|d| self.identity.who(&self.snapshot, d.cgroup, None));
        if silent {
            chain.hops.push(hop);
        }
        let drop_pod = drops.first().and_then(|(_, d)| self.pod_of_netns(d.netns));
        let drops_netns = drops.first().map(|(_, d)| d.netns);
        let conntrack = drops_netns.and_then(|n| self.identity.conntrack.get(&n).copied());
        chain.leaf = Leaf::Lookup(LookupLeaf {
            lookup: lookup.clone(),
            asker: self.identity.who(&self.snapshot, lookup.cgroup, Some(lookup.actor.tgid)),
            asker_pod: self.identity.pod_of(&self.snapshot, lookup.cgroup),
            target,
            drops,
            drop_pod,
            conntrack,
            icmp,
            reached,
        });
    }

    fn end_with_signal<'a>(&'a self, chain: &mut Chain<'a>, at: Ktime, signal: &Signal, link: Link) {
        // The end that sent the reset knows its own address behind the translation.
        let sender = self
            .window
            .signals
            .recent()
            .find(|(_, s)| s.signal == SignalKind::TcpSendReset && !s.no_socket && s.remote == signal.local);
        let backend = sender.map(|(_, s)| s.local);
        let target = self.only_endpoint(self.target_of(Some(signal.cgroup), signal.remote, backend));
        let mut hop = self.target_hop(&target, signal.remote);
        let outcome = match signal.handshake_failure() {
            Some(_) => "TLS handshake failed",
            None if signal.reset_received => "reset",
            None => "no answer",
        };
        hop.outcome = Some(outcome.to_owned());
        hop.link = Some(link);
        chain.hops.push(hop);
        let from = at.saturating_sub(1_000_000_000);
        let deaths = self
            .window
            .deaths(from, at.saturating_add(1_000_000_000))
            .filter(|(_, p)| match sender {
                Some((_, s)) if s.actor != Actor::default() => p.tgid == s.actor.tgid,
                _ => target.pod.is_some_and(|pod| self.pod_is(Some(pod), p.cgroup, None)),
            })
            .cloned()
            .collect();
        let probes = target.pod.map(|pod| self.probe_runs(pod)).unwrap_or_default();
        chain.leaf = Leaf::End(EndLeaf { signal: signal.clone(), at, target, deaths, probes });
    }
}

/// What became of a connect that got no port.
pub(super) const NO_LOCAL_PORT: &str = "no local port";
/// `errno.h`, the same on every Linux architecture that is supported.
pub(crate) const ECONNREFUSED: u32 = 111;
