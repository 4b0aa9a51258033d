//! From events to incidents: [`Correlator::push`] and nothing else moves it; no clock, no IO, no lock.
//!
//! 1. Every event is remembered in a bounded window ([`window`]) and teaches who is who ([`identity`]).
//! 2. A failure becomes a symptom, due after a settle time: a gateway's upstream may be let go a moment after its answer.
//! 3. A symptom that an inbound request waits for is that request's: it waits until the request has ended.
//! 4. What nothing waits for is descended ([`descend`]) to the deepest element that failed on its own account, and judged.
//! 5. What nothing waits for and is no HTTP failure (a connect, a lookup) has a quiet window in which a retry may heal it.
//! 6. Alike incidents are one with a count ([`fold`]).

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;

use crate::{
    event::{Event, Ktime, Record, Role, Seen, SignalKind},
    k8s::snapshot::Snapshot,
    recent::Recent,
    verdict::{self, Incident},
};

mod abandoned;
mod around;
mod call;
mod chain;
mod cluster;
mod coverage;
mod decisive;
mod descend;
mod facts;
mod fold;
mod healed;
mod identity;
mod inquiry;
mod keys;
mod leaf;
mod let_go;
mod link;
mod lookup;
mod lost;
mod nodes;
mod opaque;
mod options;
mod owner;
mod probe;
mod symptom;
#[cfg(test)]
mod tests;
mod unanswered;
mod window;

pub(crate) use around::Around;
pub(crate) use chain::{Chain, ConnectLeaf, Leaf, LookupLeaf, ServerLeaf, Target};
pub(crate) use descend::{milliseconds, outcome};
pub use identity::CGROUPS;
pub(crate) use identity::{Identity, Who, service_name};
pub(crate) use leaf::ECONNREFUSED;
pub(crate) use lookup::LookupOutcome;
#[cfg(feature = "kernel")]
pub(crate) use nodes::made_cgroup;
pub use nodes::{MOST_NODES, Node};
pub(crate) use nodes::{Nodes, pid};
pub use options::{Options, Selection, Want};
pub use owner::{Owner, Peer};
pub(crate) use probe::{Answer, ProbeRun};
use symptom::Symptom;

/// A DNS query this old won't be answered: resolvers wait 5 s by default.
const UNANSWERED_NS: u64 = 5_500_000_000;
/// The state of a network namespace is asked for anew after this.
const ASK_NS: u64 = 1_000_000_000;
/// And a process: its number may be another's by then, or its program another one.
const PROCESS_NS: u64 = 30_000_000_000;
/// Processes asked for in that time.
const PROCESSES: usize = 10_000;
/// Symptoms that wait.
const PENDING: usize = 200_000;
/// Between two looks for what has become too old, where there may be much of it.
const EXPIRE_NS: u64 = 1_000_000_000;

/// The whole core behind one method.
#[derive(Debug)]
pub struct Correlator {
    pub(crate) nodes: Nodes,
    pub(crate) snapshot: Snapshot,
    pub(crate) identity: Identity,
    pub(crate) window: window::Window,
    pub(crate) models: link::Models,
    /// Symptoms by when they are due.
    pending: BTreeMap<(Ktime, u64), Symptom>,
    next_symptom: u64,
    /// Exchanges whose symptom isn't decided yet: what they wait for belongs to them.
    undecided: FxHashMap<(crate::event::ConnId, u32), window::Id>,
    /// Hops that a printed chain passed, and calls that ended one, with when.
    explained: Recent<(std::net::SocketAddr, u32), Ktime>,
    consumed: Recent<u64, Ktime>,
    inquiries: inquiry::Inquiries,
    incidents: fold::Incidents,
    /// Totals by node.
    lost: BTreeMap<usize, Vec<(String, u64)>>,
    /// When events that may be evidence were last found lost.
    pub(crate) lost_at: Option<Ktime>,
    /// When flight records were last found overwritten before they were read.
    pub(crate) overwritten_at: Option<Ktime>,
    wants: Vec<Want>,
    wanted_processes: FxHashMap<u32, Ktime>,
    asked_node: Vec<(Want, Ktime)>,
    now: Ktime,
    expired: Ktime,
    /// Symptoms and questions for which there was no room.
    left_out: u64,
    finishing: bool,
    /// By node.
    opaque_tls: BTreeMap<usize, u64>,
    joined: BTreeMap<usize, u64>,
    watches: cluster::Watches,
}

impl Correlator {
    pub fn new(options: Options, snapshot: Snapshot) -> Self {
        Self::of_nodes(vec![Node { options, shift_ns: 0 }], snapshot)
    }

    /// Of several nodes in one cluster. The first one's time is everybody's.
    pub fn of_nodes(nodes: Vec<Node>, snapshot: Snapshot) -> Self {
        Self {
            identity: Identity::new(nodes.len()),
            nodes: Nodes::new(nodes),
            snapshot,
            window: window::Window::default(),
            models: link::Models::default(),
            pending: BTreeMap::new(),
            next_symptom: 0,
            undecided: FxHashMap::default(),
            explained: Recent::new(window::EXCHANGES),
            consumed: Recent::new(window::EXCHANGES),
            inquiries: inquiry::Inquiries::default(),
            incidents: fold::Incidents::default(),
            lost: BTreeMap::new(),
            lost_at: None,
            overwritten_at: None,
            wants: Vec::new(),
            wanted_processes: FxHashMap::default(),
            asked_node: Vec::new(),
            now: 0,
            expired: 0,
            left_out: 0,
            finishing: false,
            opaque_tls: BTreeMap::new(),
            joined: BTreeMap::new(),
            watches: cluster::Watches::default(),
        }
    }

    /// Takes one event. Incidents that became certain, or changed their count, are added to `out`.
    pub fn push(&mut self, record: Record, out: &mut Vec<Incident>) {
        self.push_of(0, record, out);
    }

    /// Takes one event of a node, by the node's place among those given. Only `at` is in the first one's time already.
    pub fn push_of(&mut self, node: usize, record: Record, out: &mut Vec<Incident>) {
        let Record { at, mut event } = record;
        self.nodes.scope(node, &mut event);
        self.now = self.now.max(at);
        self.identity.learn(&event);
        match event {
            Event::Tick => self.tick(out),
            event => self.remember(node, at, event),
        }
    }

    /// The capture is over at that time: what waited is decided; what is still in flight is dropped.
    pub fn finish(&mut self, at: Ktime, out: &mut Vec<Incident>) {
        self.now = self.now.max(at);
        self.finishing = true;
        self.decide(Ktime::MAX, out);
    }

    /// What the core would like to be told, since the last call. Replays ignore it: the answers are in the file.
    pub fn wants(&mut self) -> Vec<Want> {
        std::mem::take(&mut self.wants)
    }

    /// A cgroup's inhabitant, for the summary.
    pub fn name_of_cgroup(&self, cgroup: u64) -> Option<verdict::Hop> {
        let mut who = self.identity.who(&self.snapshot, cgroup, None);
        // A cgroup that is no container's holds many processes: its path says more than the name of one of them.
        if !who.is_pod() && who.container.is_none() {
            who.process = self.identity.path_of(cgroup).map(str::to_owned).or(who.process);
        }
        (who != Who::default()).then(|| who.hop())
    }

    /// From which status on an answer is a failure on a node.
    pub fn min_status(&self, node: usize) -> u16 {
        self.nodes.options().nth(node).map_or(500, |options| options.min_status)
    }

    /// The same for whoever lives in a cgroup.
    pub(crate) fn min_status_of(&self, cgroup: u64) -> u16 {
        self.nodes.options_of(cgroup).map_or(500, |options| options.min_status)
    }

    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// Events of cgroups outside the observed subtree aren't ours; those without a cgroup may be.
    fn is_observed(&self, cgroup: u64) -> bool {
        let Some(subtree) = self.nodes.options_of(cgroup).and_then(|options| options.cgroup.as_ref()) else {
            return true;
        };
        match self.identity.path_of(cgroup) {
            Some(path) => {
                path.strip_prefix(subtree.trim_end_matches('/')).is_some_and(|r| r.is_empty() || r.starts_with('/'))
            }
            None => cgroup == 0,
        }
    }

    fn remember(&mut self, node: usize, at: Ktime, event: Event) {
        match event {
            Event::Exchange(exchange) => {
                if !self.is_observed(exchange.cgroup) {
                    return;
                }
                if exchange.seen == Seen::Open {
                    self.window.look(node, at);
                    self.window.open.push(exchange);
                    return;
                }
                self.models.learn(&exchange);
                let tgid = exchange.actor.map(|a| a.tgid);
                let failed = exchange.failed(self.min_status(node)) || self.fails_a_probe(&exchange);
                self.note_exchange(&exchange);
                let container = self.identity.container_key(exchange.cgroup);
                let flight = exchange.seen == Seen::Flight;
                let key = (exchange.conn, exchange.number);
                let remote = exchange.remote;
                let id = self.window.exchange(container, exchange);
                if failed && !flight {
                    self.ask_pod(remote);
                    self.ask_process(tgid);
                    self.undecided.insert(key, id);
                    self.symptom(Symptom::Exchange(id), at);
                }
            }
            Event::Connect(connect) => {
                if !self.is_observed(connect.cgroup) {
                    return;
                }
                if connect.open {
                    self.window.look(node, at);
                    self.window.open_connects.push(connect);
                    return;
                }
                self.note_connect(&connect);
                self.ask_process(Some(connect.actor.tgid));
                self.ask_pod(connect.nat_remote.unwrap_or(connect.remote));
                if connect.got_no_port() {
                    self.ask_node(Want::LocalPorts { netns: connect.netns });
                }
                let (id, _) = self.window.connects.push(connect);
                self.symptom(Symptom::Connect(id), at);
            }
            Event::ConnectAttempt(attempt) => {
                if self.is_observed(attempt.cgroup) {
                    let (id, _) = self.window.attempts.push((at, attempt));
                    self.symptom(Symptom::Attempt(id), at);
                }
            }
            Event::OpaqueConnection(conn) => {
                if self.is_observed(conn.cgroup) {
                    let container = self.identity.container_key(conn.cgroup);
                    self.window.opaque.add(container, conn);
                }
            }
            Event::UnansweredSyn(syn) => {
                self.inquire_syn(&syn);
                self.window.syns.push((at, syn));
            }
            Event::Signal(signal) => {
                if signal.no_socket {
                    self.inquire_listeners(signal.netns);
                }
                let failed = signal.is_broken_end() || unanswered::was_waited_for(&signal, at, signal.established_ns);
                let end = failed && self.is_observed(signal.cgroup);
                // What may only be what a failing request waited for is kept, and told by no means alone.
                if signal.signal == SignalKind::ConnectionEnd && !end && signal.handshake_failure().is_none() {
                    return;
                }
                let (id, _) = self.window.signals.push((at, signal));
                if end {
                    self.symptom(Symptom::End(id), at);
                }
            }
            Event::Drop(drop) => {
                self.ask_pod(drop.source);
                self.ask_pod(drop.destination);
                if drop.at_closed_port() {
                    self.inquire_listeners(drop.netns);
                }
                if self.pod_of_netns(drop.netns).is_none() {
                    self.inquire_netns(drop.netns);
                }
                self.inquire_drop(&drop);
                if drop.may_be_conntrack() {
                    self.ask_node(Want::Conntrack { netns: drop.netns });
                }
                self.window.drops.push((at, drop));
            }
            Event::Icmp(icmp) => {
                self.window.icmps.push((at, icmp));
            }
            Event::Dns(dns) => {
                if !self.is_observed(dns.cgroup) {
                    return;
                }
                let namespace = self.identity.who(&self.snapshot, dns.cgroup, None).namespace;
                // A query that is merely open at a look may still be answered.
                let given_up = dns.rcode.is_some() || at.saturating_sub(dns.start_ns) >= UNANSWERED_NS;
                let cgroup = dns.cgroup;
                let failed = dns.role == Role::Client && dns.rcode != Some(0) && given_up;
                let added = self.window.lookups.add(dns, namespace.as_deref());
                if let Some(sequence) = added.filter(|_| failed) {
                    self.symptom(Symptom::Lookup { cgroup, sequence }, at);
                }
            }
            Event::Process(process) => {
                self.window.processes.push((at, process));
            }
            Event::Lost { totals } => {
                let flight =
                    |totals: &[(String, u64)]| totals.iter().find(|(place, _)| place == "flight").map_or(0, |t| t.1);
                if flight(&totals) > self.lost.get(&node).map_or(0, |known| flight(known)) {
                    self.overwritten_at = Some(at);
                }
                let before = self.lost_failures();
                self.lost.insert(node, totals);
                if self.lost_failures() > before {
                    self.lost_at = Some(at);
                }
            }
            Event::Opaque { processes } => {
                self.opaque_tls.insert(node, processes);
            }
            Event::Joined { connections } => {
                self.joined.insert(node, connections);
            }
            Event::Host(fact) => self.inquiries.learn(at, &fact),
            Event::Cluster { changes } => self.change_cluster(at, changes),
            Event::Watch { resource, state } => self.watches.note(at, resource, state),
            Event::Cgroup { .. } | Event::Tick => {}
        }
    }

    fn ask_process(&mut self, tgid: Option<u32>) {
        let Some(tgid) = tgid.filter(|tgid| *tgid != 0 && !self.wanted_processes.contains_key(tgid)) else { return };
        if self.wanted_processes.len() >= PROCESSES {
            self.left_out += 1;
            return;
        }
        // Even of a known one: it may have replaced its program since.
        self.wanted_processes.insert(tgid, self.now);
        self.wants.push(Want::Process { tgid });
    }

    /// Asks for the state of a network namespace, at most once a second.
    fn ask_node(&mut self, want: Want) {
        let now = self.now;
        self.asked_node.retain(|(_, at)| now.saturating_sub(*at) < ASK_NS);
        if self.asked_node.len() < 1024 && !self.asked_node.iter().any(|(asked, _)| *asked == want) {
            self.asked_node.push((want.clone(), now));
            self.wants.push(want);
        }
    }

    fn tick(&mut self, out: &mut Vec<Incident>) {
        if !self.pending.is_empty() {
            self.wants.push(Want::Flight);
        }
        let now = self.now;
        // Verdicts wait for the answers to what was asked just now, until the next tick.
        let awaited = [self.inquire_again(), self.rule_awaited_since()].into_iter().flatten();
        let limit = awaited.fold(now, |limit, since| limit.min(since + symptom::SETTLE_NS - 1));
        self.decide(limit, out);
        self.window.expire(now);
        self.forget_asked();
        if now.saturating_sub(self.expired) >= EXPIRE_NS {
            self.expired = now;
            let limit = now.saturating_sub(window::KEEP_NS);
            self.explained.retain(|_, at| *at >= limit);
            self.consumed.retain(|_, at| *at >= limit);
            self.inquiries.expire(limit);
            self.wanted_processes.retain(|_, asked| now.saturating_sub(*asked) < PROCESS_NS);
            let window = &self.window;
            self.undecided.retain(|_, id| window.exchanges.get(*id).is_some());
        }
    }
}
