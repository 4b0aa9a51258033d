//! From events and incidents to metrics.

use std::net::SocketAddr;
use std::rc::Rc;

use rustc_hash::FxHashMap;

use crate::correlate::{Correlator, Owner, Peer};
use crate::event::{
    Connect, Dns, Drop, Event, Exchange, Ktime, Outcome, Process, Record, Role, Seen, Signal, SignalKind,
};
use crate::recent::Recent;
use crate::sink::prometheus::{Metric, Metrics, Store, TraceExemplar};
use crate::verdict::{Hop, Incident, Origin};

/// A name is asked for again after this: pods get their labels and owners late.
const KEEP_NS: Ktime = 10_000_000_000;
const NAMES: usize = 10_000;
/// A query without an answer for so long won't get one; looks at the open ones see it before.
const DNS_AGE_NS: Ktime = 6_000_000_000;

/// Names of those who act and are called, for a while.
#[derive(Debug, Default)]
pub(super) struct Names {
    owners: FxHashMap<u64, Rc<Owner>>,
    peers: FxHashMap<SocketAddr, Rc<Peer>>,
    since: Ktime,
}

impl Names {
    pub(super) fn owner(&mut self, core: &Correlator, cgroup: u64, now: Ktime) -> Rc<Owner> {
        self.refresh(now);
        let owner = || Rc::new(core.owner_of_cgroup(cgroup));
        Rc::clone(self.owners.entry(cgroup).or_insert_with(owner))
    }

    pub(super) fn peer(&mut self, core: &Correlator, address: SocketAddr, now: Ktime) -> Rc<Peer> {
        self.refresh(now);
        Rc::clone(self.peers.entry(address).or_insert_with(|| Rc::new(core.peer_at(address))))
    }

    fn refresh(&mut self, now: Ktime) {
        if now.saturating_sub(self.since) >= KEEP_NS || self.owners.len() + self.peers.len() > NAMES {
            self.owners.clear();
            self.peers.clear();
            self.since = now;
        }
    }
}

/// Counts what happens.
#[derive(Debug)]
pub(super) struct Counting {
    metrics: Metrics,
    pub(super) names: Names,
    /// Queries counted as unanswered: they may be told more than once.
    timeouts: Recent<(SocketAddr, Ktime)>,
}

impl Counting {
    pub(super) fn new(metrics: Metrics) -> Self {
        Self { metrics, names: Names::default(), timeouts: Recent::new(NAMES) }
    }

    pub(super) fn event(&mut self, record: &Record, core: &Correlator) {
        let at = record.at;
        let metrics = self.metrics.clone();
        metrics.with(|store| {
            store.add(Metric::Events, &[kind(&record.event)], 1.0, at);
            match &record.event {
                Event::Exchange(exchange) => self.unanswered(store, core, exchange, at),
                Event::Connect(connect) if !connect.open => {
                    let owner = self.names.owner(core, connect.cgroup, at);
                    self.connect_failure(store, core, &owner, reason(connect), connect.remote, at);
                }
                Event::ConnectAttempt(attempt) => {
                    let owner = self.names.owner(core, attempt.cgroup, at);
                    self.connect_failure(store, core, &owner, "not-sent", attempt.remote, at);
                }
                Event::Signal(signal) => self.signal(store, core, signal, at),
                Event::Drop(drop) => self.drop(store, core, drop, at),
                Event::Dns(dns) => self.dns(store, core, dns, at),
                Event::Process(process) => self.death(store, core, process, at),
                _ => {}
            }
        });
    }

    /// Occurrences of an incident.
    pub(super) fn incident(&self, incident: &Incident, occurrences: u64, at: Ktime, wall_ns: i64) {
        let symptom = serde_json::to_value(incident.symptom.kind).unwrap_or_default();
        let (namespace, workload, pod) = origin(incident.cause.origin.as_ref());
        let (affected_namespace, affected_workload) = incident.path.first().map(affected).unwrap_or_default();
        let labels = [
            incident.cause.id.as_str(),
            symptom.as_str().unwrap_or_default(),
            &namespace,
            &workload,
            &pod,
            &affected_namespace,
            &affected_workload,
        ];
        self.metrics.with(|store| match &incident.symptom.trace_id {
            Some(trace_id) => {
                let exemplar = TraceExemplar { trace_id: trace_id.clone(), at_ns: wall_ns };
                store.add_traced(Metric::Incidents, &labels, occurrences as f64, exemplar, at);
            }
            None => store.add(Metric::Incidents, &labels, occurrences as f64, at),
        });
    }

    /// Answered requests are counted in the kernel; those that never were, here.
    fn unanswered(&mut self, store: &mut Store, core: &Correlator, exchange: &Exchange, at: Ktime) {
        // A broken answer's status was counted when it came.
        if exchange.seen != Seen::Event || exchange.outcome != Outcome::Unanswered || exchange.cut.is_some() {
            return;
        }
        let Owner { namespace, workload, pod } = &*self.names.owner(core, exchange.cgroup, at);
        let method = exchange.request.as_ref().map_or("_OTHER", |head| known_method(&head.method));
        let error = exchange.silence();
        let seconds = exchange.end_ns.saturating_sub(exchange.start_ns) as f64 / 1e9;
        match exchange.role {
            Role::Server => {
                let labels = [namespace.as_str(), workload, pod, method, "", error];
                store.observe(Metric::ServerDuration, &labels, seconds, at);
            }
            Role::Client => {
                let peer = self.names.peer(core, exchange.remote, at);
                let address = exchange.remote.to_string();
                let labels =
                    [namespace.as_str(), workload, pod, &peer.namespace, &peer.name, &address, method, "", error];
                store.observe(Metric::ClientDuration, &labels, seconds, at);
            }
        }
    }

    fn connect_failure(
        &mut self,
        store: &mut Store,
        core: &Correlator,
        owner: &Owner,
        reason: &str,
        remote: SocketAddr,
        at: Ktime,
    ) {
        let peer = self.names.peer(core, remote, at);
        let Owner { namespace, workload, pod } = owner;
        let address = remote.to_string();
        let labels = [reason, namespace, workload, pod, &peer.namespace, &peer.name, &address];
        store.add(Metric::ConnectFailures, &labels, 1.0, at);
    }

    fn signal(&mut self, store: &mut Store, core: &Correlator, signal: &Signal, at: Ktime) {
        let direction = match signal.signal {
            SignalKind::TcpReceiveReset => "received",
            SignalKind::TcpSendReset => "sent",
            SignalKind::TcpRetransmitSkb | SignalKind::TcpRetransmitSynack => "",
            SignalKind::InetSkErrorReport | SignalKind::ConnectionEnd => return,
        };
        let owner = if signal.no_socket {
            Rc::new(core.owner_at(signal.local))
        } else {
            self.names.owner(core, signal.cgroup, at)
        };
        let Owner { namespace, workload, pod } = &*owner;
        if direction.is_empty() {
            let packet = if signal.signal == SignalKind::TcpRetransmitSkb { "syn" } else { "syn-ack" };
            return store.add(Metric::TcpRetransmits, &[packet, namespace, workload, pod], 1.0, at);
        }
        let peer = self.names.peer(core, signal.remote, at);
        let reason = signal.reason.as_deref().unwrap_or_default();
        let address = signal.remote.to_string();
        let labels = [direction, reason, namespace, workload, pod, &peer.namespace, &peer.name, &address];
        store.add(Metric::TcpResets, &labels, 1.0, at);
    }

    fn drop(&mut self, store: &mut Store, core: &Correlator, drop: &Drop, at: Ktime) {
        let mut owner = core.owner_at(drop.source);
        if owner == Owner::default() && drop.cgroup != 0 {
            owner = core.owner_of_cgroup(drop.cgroup);
        }
        let meant = drop.original_destination.unwrap_or(drop.destination);
        let peer = self.names.peer(core, meant, at);
        let (reason, mechanism) = (drop.reason.as_deref(), drop.mechanism.as_deref());
        let address = meant.to_string();
        let labels = [
            reason.unwrap_or_default(),
            mechanism.unwrap_or_default(),
            &owner.namespace,
            &owner.workload,
            &owner.pod,
            &peer.namespace,
            &peer.name,
            &address,
        ];
        store.add(Metric::Drops, &labels, 1.0, at);
    }

    fn dns(&mut self, store: &mut Store, core: &Correlator, dns: &Dns, at: Ktime) {
        let outcome = match dns.rcode {
            _ if dns.role != Role::Client => return,
            // RFC 1035 section 4.1.1.
            Some(0) => "noerror",
            Some(1) => "formerr",
            Some(2) => "servfail",
            Some(3) => "nxdomain",
            Some(4) => "notimp",
            Some(5) => "refused",
            Some(_) => "other",
            None if at.saturating_sub(dns.start_ns) < DNS_AGE_NS => return,
            None => {
                if self.timeouts.insert((dns.local, dns.start_ns), ()).is_some() {
                    return;
                }
                "timeout"
            }
        };
        let Owner { namespace, workload, pod } = &*self.names.owner(core, dns.cgroup, at);
        store.add(Metric::DnsLookups, &[outcome, namespace, workload, pod], 1.0, at);
        if dns.rcode.is_some() {
            let seconds = dns.end_ns.saturating_sub(dns.start_ns) as f64 / 1e9;
            store.observe(Metric::DnsDuration, &[namespace, workload, pod], seconds, at);
        }
    }

    fn death(&mut self, store: &mut Store, core: &Correlator, process: &Process, at: Ktime) {
        let reason = match process {
            Process { oom_victim: true, .. } => "oom-killed",
            Process { signal: Some(_), .. } => "signal",
            Process { exit_code: Some(code), served: true, .. } if *code != 0 => "exit-code",
            _ => return,
        };
        let Owner { namespace, workload, pod } = &*self.names.owner(core, process.cgroup, at);
        store.add(Metric::ProcessDeaths, &[reason, namespace, workload, pod], 1.0, at);
    }
}

/// Why a connect failed.
fn reason(connect: &Connect) -> &'static str {
    let error = if connect.error != 0 { connect.error } else { connect.error_soft };
    match error as i32 {
        _ if connect.reset => "refused",
        libc::ECONNREFUSED => "refused",
        libc::ETIMEDOUT => "timeout",
        libc::ENETUNREACH | libc::EHOSTUNREACH | libc::EACCES | libc::EPERM | libc::ENOPROTOOPT => "unreachable",
        libc::EADDRNOTAVAIL => "no-source-port",
        0 if connect.local.port() == 0 => "no-source-port",
        0 if connect.syn_retransmits > 0 => "timeout",
        0 => "abandoned",
        _ => "other",
    }
}

fn kind(event: &Event) -> &'static str {
    match event {
        Event::Exchange(_) => "exchange",
        Event::Connect(_) => "connect",
        Event::ConnectAttempt(_) => "connect-attempt",
        Event::UnansweredSyn(_) => "unanswered-syn",
        Event::OpaqueConnection(_) => "opaque-connection",
        Event::Signal(_) => "signal",
        Event::Drop(_) => "drop",
        Event::Icmp(_) => "icmp",
        Event::Dns(_) => "dns",
        Event::Process(_) => "process",
        Event::Cgroup { .. } => "cgroup",
        Event::Host(_) => "host",
        Event::Tick => "tick",
        _ => "other",
    }
}

/// Namespace, workload and pod of an origin.
fn origin(origin: Option<&Origin>) -> (String, String, String) {
    let Some(origin) = origin else { return <_>::default() };
    let service = origin.service.as_ref().and_then(|service| service.split_once('/'));
    let namespace = origin.namespace.clone().or_else(|| service.map(|(namespace, _)| namespace.to_owned()));
    let pod = origin.pod.clone().unwrap_or_default();
    let workload = origin
        .workload
        .clone()
        .or_else(|| service.map(|(_, name)| format!("Service/{name}")))
        .or_else(|| origin.pod.as_ref().map(|pod| format!("Pod/{pod}")))
        .or_else(|| origin.process.as_ref().map(|process| format!("Process/{process}")))
        .or_else(|| origin.node.is_some().then(|| "node".to_owned()))
        .or_else(|| (origin.address.is_some() || origin.name.is_some()).then(|| "external".to_owned()));
    (namespace.unwrap_or_default(), workload.unwrap_or_default(), pod)
}

/// The methods that the kernel counts by; a client may write what it likes.
fn known_method(method: &str) -> &'static str {
    ["GET", "POST", "PUT", "HEAD", "DELETE", "PATCH", "OPTIONS", "CONNECT", "TRACE"]
        .into_iter()
        .find(|known| *known == method)
        .unwrap_or("_OTHER")
}

/// Namespace and workload of the outermost hop.
fn affected(hop: &Hop) -> (String, String) {
    let workload = hop
        .workload
        .clone()
        .or_else(|| hop.pod.as_ref().map(|pod| format!("Pod/{pod}")))
        .or_else(|| hop.process.as_ref().map(|process| format!("Process/{process}")));
    (hop.namespace.clone().unwrap_or_default(), workload.unwrap_or_default())
}

#[cfg(test)]
mod tests;
