//! What the descent needs to know of a container, a target or a process.

use std::net::SocketAddr;

use super::{
    Correlator,
    call::Call,
    chain::Target,
    identity::{Identity, Who, service_name},
    lookup::{Lookup, LookupOutcome},
};
use crate::{
    event::{Connect, Exchange, Ktime, Outcome, Process, Role, SignalKind},
    k8s::model::{Pod, Protocol},
    verdict::{Context, Hop},
};

/// Calls of one request that are looked at.
const CALLS: usize = 4096;
/// A process that dies closes its sockets first; its exit is told a moment later.
pub(super) const DEATH_NS: u64 = 1_000_000_000;
/// From a process's end (`sched_process_exit`) to its last socket's, which `exit_files` closes after it (`kernel/exit.c`).
const LETTING_GO_NS: u64 = 100_000_000;
/// Made during the request, a connection that failed is let go of within this time of the answer.
const CONNECTION_END_NS: u64 = 100_000_000;
/// A DNS answer takes less than this; what has waited longer was waited for.
const LOOKUP_NS: u64 = 150_000_000;
/// Servers that relay requests, by process name or `Server` header.
const PROXIES: [&str; 12] = [
    "nginx",
    "openresty",
    "haproxy",
    "envoy",
    "traefik",
    "caddy",
    "httpd",
    "apache2",
    "kong",
    "varnishd",
    "contour",
    "pilot-agent",
];

/// Of them, those that as often have the application inside.
const SERVERS: [&str; 2] = ["httpd", "apache2"];

impl Correlator {
    pub(crate) fn context(&self) -> Context<'_> {
        Context {
            snapshot: &self.snapshot,
            lost: self.lost_failures() + self.window.exchanges.overflowed,
            lost_at: self.lost_at.max(self.window.forgotten_until),
            wall_offset_ns: self.wall_offset_ns(),
            unread: self.watches.unread(),
            nodes: &self.nodes,
            names: (0..self.nodes.options().count()).map(|node| self.node(node)).collect(),
        }
    }

    /// A node's name in the cluster: as given, unless the cluster knows no such node and its pods say another.
    pub(crate) fn node(&self, node: usize) -> Option<String> {
        let given = self.nodes.options().nth(node).and_then(|options| options.node.clone());
        if given.as_deref().is_some_and(|name| self.snapshot.node(name).is_some()) {
            return given;
        }
        self.identity.node(&self.snapshot, node).or(given)
    }

    pub(crate) fn wall_offset_ns(&self) -> i64 {
        self.nodes.options().next().map_or(0, |options| options.wall_offset_ns)
    }

    /// What a container called within an interval: begun in it, and ended or not.
    pub(crate) fn calls(&self, container: u64, from: Ktime, until: Ktime) -> Vec<Call> {
        let key = |cgroup: u64| self.identity.container_key(cgroup) == container;
        let within = |start: Ktime| start >= from && start <= until;
        let mut calls: Vec<Call> = Vec::new();
        let outbound = self.window.outbound(container).take(CALLS).filter(|x| within(x.start_ns));
        calls.extend(outbound.cloned().map(Call::Exchange));
        let open = self.window.open.iter().filter(|x| x.role == Role::Client && within(x.start_ns) && key(x.cgroup));
        calls.extend(open.filter(|x| !self.window.has_ended(x)).cloned().map(Call::Exchange));
        let connects = self.window.connects.recent().take(CALLS).filter(|c| within(c.start_ns) && key(c.cgroup));
        calls.extend(connects.cloned().map(Call::Connect));
        let ended = |c: &Connect| self.window.connects.recent().any(|other| other.conn == c.conn);
        let stuck = self.window.open_connects.iter().filter(|c| within(c.start_ns) && key(c.cgroup) && !ended(c));
        calls.extend(stuck.cloned().map(Call::Connect));
        let attempts = self.window.attempts.recent().take(CALLS);
        let attempts = attempts.filter(|(_, a)| within(a.start_ns) && key(a.cgroup));
        calls.extend(attempts.cloned().map(|(at, a)| Call::Attempt(at, a)));
        let ends = self.window.signals.recent().take(CALLS).filter(|(at, s)| {
            // Whoever answers may let go of the connection a moment later, and the peer's kernel acknowledges that later still.
            let made = within(s.established_ns) && *at <= until.saturating_add(CONNECTION_END_NS);
            let its_own = made || (s.handshake_failure().is_none() && *at >= from && *at <= until);
            s.signal == SignalKind::ConnectionEnd && its_own && key(s.cgroup) && self.is_failed_end(*at, s)
        });
        calls.extend(ends.cloned().map(|(at, s)| Call::End(at, s)));
        // A query that has just been asked isn't waited for, unless it was rejected.
        let fresh = |l: &Lookup| {
            l.outcome == LookupOutcome::Timeout
                && until.saturating_sub(l.start_ns) < LOOKUP_NS
                && !self.is_without_endpoints(l.resolver)
                && !l.clients.iter().any(|client| self.window.icmps_of(*client, l.start_ns, Ktime::MAX).is_some())
        };
        let lookups = self.window.lookups.fold(from, until, key).into_iter().filter(|l| l.failed() && !fresh(l));
        calls.extend(lookups.map(Call::Lookup));
        calls
    }

    /// Whether an address is a Service's that nobody answers for.
    fn is_without_endpoints(&self, address: SocketAddr) -> bool {
        self.target(address, None).service.is_some_and(|service| {
            let endpoints = self.snapshot.endpoints(service);
            endpoints.is_known() && endpoints.ready.is_empty()
        })
    }

    /// What an address stands for, whoever calls it.
    pub(crate) fn target(&self, remote: SocketAddr, backend: Option<SocketAddr>) -> Target<'_> {
        self.target_of(None, remote, backend)
    }

    /// What an address stands for to a caller.
    pub(crate) fn target_of(&self, caller: Option<u64>, remote: SocketAddr, backend: Option<SocketAddr>) -> Target<'_> {
        let service = |protocol| self.identity.service_at(&self.snapshot, caller, remote, protocol);
        let service = service(Protocol::Tcp).or_else(|| service(Protocol::Udp));
        let address = backend.unwrap_or(remote);
        let pod = self.identity.pod_at(&self.snapshot, address.ip());
        let who = match pod {
            Some(pod) => Some(Identity::who_pod(&self.snapshot, pod)),
            None => {
                let cgroup = self.identity.cgroup_at(&self.snapshot, address);
                cgroup.map(|cgroup| self.identity.who(&self.snapshot, cgroup, None))
            }
        };
        Target {
            service,
            pod,
            who,
            inside: service.is_some() || pod.is_some() || self.identity.is_inside(&self.snapshot, caller, address.ip()),
            name: self.identity.dns_name(caller, remote.ip()).map(str::to_owned),
            address: Some(remote),
            backend,
        }
    }

    /// The hop of a target that isn't seen as a server here.
    pub(crate) fn target_hop(&self, target: &Target<'_>, remote: SocketAddr) -> Hop {
        let mut hop = target.who.as_ref().map(Who::hop).unwrap_or_default();
        hop.service = target.service.map(service_name);
        if hop.namespace.is_none() {
            hop.namespace = target.service.map(|s| s.metadata.namespace.clone());
        }
        hop.address = Some(remote.to_string());
        if !target.inside || target.who.is_none() && target.service.is_none() {
            hop.name.clone_from(&target.name);
        }
        hop
    }

    /// Processes of the server's container that died around the exchange's end: those that read the request or, where
    /// nobody is known to have read it, any that served.
    pub(crate) fn deaths_of(&self, server: &Exchange, until: Ktime) -> Vec<(Ktime, Process)> {
        let container = self.identity.container_key(server.cgroup);
        // What nobody read was for whoever read the request before it on that connection, and may have come after the death.
        let earlier = match server.actor {
            Some(_) => None,
            None => self.window.earlier(server).find_map(|x| x.actor),
        };
        let reader = server.actor.or(earlier).map(|a| a.tgid);
        let left_behind = earlier.is_some() && server.closed_idle;
        let end = if server.outcome == Outcome::Open { until } else { server.end_ns };
        // What closed an idle connection died before the request that was sent on it; and a request that nobody read may
        // come while a process that has ended still lets go of its sockets.
        let from = if server.met_a_closing_server() || left_behind {
            server.closing_ns.saturating_sub(DEATH_NS)
        } else if server.actor.is_none() {
            server.start_ns.saturating_sub(LETTING_GO_NS)
        } else {
            server.start_ns
        };
        // What ends once its client has left ends for that, or for a reason of its own.
        let left = Some(server.closing_ns).filter(|at| server.remote_closed_first && *at != 0);
        let deaths = self.window.deaths(from, left.unwrap_or(end.saturating_add(DEATH_NS)));
        let own = deaths.filter(|(_, p)| match reader {
            Some(tgid) => p.tgid == tgid,
            None => p.served && self.identity.container_key(p.cgroup) == container,
        });
        own.cloned().collect()
    }

    /// Whether records that could show a call are missing since then.
    pub(crate) fn blind_since(&self, from: Ktime) -> bool {
        [self.lost_at, self.overwritten_at, self.window.forgotten_until].into_iter().flatten().any(|at| at >= from)
    }

    /// Why the container counts as a relay, if it does.
    pub(crate) fn proxy(&self, server: &Exchange) -> Option<String> {
        let process = self.identity.process_name(server.cgroup, server.actor.map(|a| a.tgid));
        let header = server.response.as_ref().and_then(|r| r.server.clone());
        for name in [process, self.identity.comm(server.cgroup).map(str::to_owned), header].into_iter().flatten() {
            let lower = name.to_ascii_lowercase();
            let word = lower.split(['/', ' ', ':']).next().unwrap_or_default();
            let serves = SERVERS.contains(&word) && !self.relays(self.identity.container_key(server.cgroup));
            if PROXIES.contains(&word) && !serves {
                return Some(word.to_owned());
            }
        }
        None
    }

    /// Whether a container was seen to call others by HTTP lately, or to try.
    pub(crate) fn relays(&self, container: u64) -> bool {
        let own = |cgroup: u64| self.identity.container_key(cgroup) == container;
        self.window.outbound(container).next().is_some()
            || self.window.connects.recent().take(CALLS).any(|connect| own(connect.cgroup))
    }

    /// The pod in whose network namespace something happened; none for the node's.
    pub(crate) fn pod_of_netns(&self, netns: u32) -> Option<&Pod> {
        self.identity.pod_of_netns(&self.snapshot, netns)
    }
}
