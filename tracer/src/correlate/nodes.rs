//! Captures of several nodes in one core. Each node numbers its cgroups, processes and network namespaces by itself and
//! has a clock of its own: here its events get numbers that no other node has, and the first node's time. The first node's
//! own events stay as they are, so a single capture isn't touched at all.

use rustc_hash::FxHashMap;

use super::Options;
use crate::event::{
    Actor, ConnId, Connect, ConnectAttempt, Dns, Drop, Event, Exchange, HostFact, Icmp, Ktime, OpaqueConnection,
    Process, Resources, Rule, Signal, UnansweredSyn,
};

/// As many as process numbers leave room for.
pub const MOST_NODES: usize = 1 << (u32::BITS - PID_BITS);
/// `PID_MAX_LIMIT` is 4,194,304 on 64-bit kernels (`include/linux/threads.h`).
const PID_BITS: u32 = 22;
/// A kernfs id is an inode number of 32 bits below a generation that grows each time those have been used up.
const CGROUP_BITS: u32 = 52;
/// `PROC_DYNAMIC_FIRST` (`fs/proc/generic.c`): no namespace's inode number is below, so lower ones are free for ours.
const FIRST_INODE: u32 = 0xF000_0000;

/// A node whose events are told.
#[derive(Clone, Debug)]
pub struct Node {
    pub options: Options,
    /// Added to its events' times for the first node's.
    pub shift_ns: i64,
}

/// The nodes, the first one first.
#[derive(Debug)]
pub(crate) struct Nodes {
    nodes: Vec<Node>,
    /// Namespaces of the others, numbered from 1: node and inode number.
    namespaces: Vec<(usize, u32)>,
    numbers: FxHashMap<(usize, u32), u32>,
}

impl Nodes {
    pub(super) fn new(nodes: Vec<Node>) -> Self {
        Self { nodes, namespaces: Vec::new(), numbers: FxHashMap::default() }
    }

    pub(crate) fn several(&self) -> bool {
        self.nodes.len() > 1
    }

    pub(super) fn options(&self) -> impl Iterator<Item = &Options> {
        self.nodes.iter().map(|node| &node.options)
    }

    /// What was asked for on a cgroup's node.
    pub(super) fn options_of(&self, cgroup: u64) -> Option<&Options> {
        self.nodes.get(node_of(cgroup)).map(|node| &node.options)
    }

    pub(crate) fn node_of_netns(&self, netns: u32) -> usize {
        if netns >= FIRST_INODE { 0 } else { self.namespace(netns).map_or(0, |(node, _)| node) }
    }

    /// The namespace's number on its own node.
    pub(crate) fn inode(&self, netns: u32) -> u32 {
        self.namespace(netns).map_or(netns, |(_, inode)| inode)
    }

    fn namespace(&self, netns: u32) -> Option<(usize, u32)> {
        self.namespaces.get(usize::try_from(netns).ok()?.checked_sub(1)?).copied()
    }

    /// Puts an event of a node into the first one's terms.
    pub(super) fn scope(&mut self, node: usize, event: &mut Event) {
        let shift_ns = self.nodes.get(node).map_or(0, |node| node.shift_ns);
        if node != 0 {
            Scope { nodes: self, node, shift_ns }.event(event);
        }
    }
}

/// A cgroup's number that the kernel gives to none on this node: it would be of the 524,288th generation of inode numbers.
#[cfg(feature = "kernel")]
pub(crate) fn made_cgroup(hash: u64) -> u64 {
    const MADE: u64 = 1 << (CGROUP_BITS - 1);
    MADE | (hash & (MADE - 1))
}

/// Where a cgroup is.
pub(crate) fn node_of(cgroup: u64) -> usize {
    usize::try_from(cgroup >> CGROUP_BITS).unwrap_or_default()
}

/// The process's number on its own node.
pub(crate) fn pid(tgid: u32) -> u32 {
    tgid & ((1 << PID_BITS) - 1)
}

struct Scope<'a> {
    nodes: &'a mut Nodes,
    node: usize,
    shift_ns: i64,
}

impl Scope<'_> {
    fn event(&mut self, event: &mut Event) {
        match event {
            Event::Exchange(x) => self.exchange(x),
            Event::Connect(Connect {
                conn,
                cgroup,
                netns,
                local: _,
                remote: _,
                nat_remote: _,
                actor,
                comm: _,
                start_ns,
                end_ns,
                error: _,
                error_soft: _,
                reset: _,
                syn_retransmits: _,
                synchronous: _,
                open: _,
            }) => {
                self.conn(conn);
                self.place(cgroup, netns, actor);
                self.times([start_ns, end_ns]);
            }
            Event::ConnectAttempt(ConnectAttempt { cgroup, netns, remote: _, actor, comm: _, start_ns }) => {
                self.place(cgroup, netns, actor);
                self.times([start_ns]);
            }
            Event::UnansweredSyn(UnansweredSyn { cgroup, netns, start_ns, .. }) => {
                self.cgroup(cgroup);
                self.netns(netns);
                self.times([start_ns]);
            }
            Event::OpaqueConnection(OpaqueConnection {
                conn,
                cgroup,
                netns,
                local: _,
                remote: _,
                connector,
                tls: _,
                start_ns,
                last_ns,
                answered: _,
            }) => {
                self.conn(conn);
                self.cgroup(cgroup);
                self.netns(netns);
                connector.iter_mut().for_each(|actor| self.actor(actor));
                self.times([start_ns, last_ns]);
            }
            Event::Signal(x) => self.signal(x),
            Event::Drop(Drop { netns, cgroup, tgid, .. }) => {
                self.netns(netns);
                self.cgroup(cgroup);
                self.pid(tgid);
            }
            Event::Icmp(Icmp { netns, .. }) => self.netns(netns),
            Event::Dns(x) => self.dns(x),
            Event::Process(Process { cgroup, tgid, comm: _, oom_victim: _, signal: _, exit_code: _, served: _ }) => {
                self.cgroup(cgroup);
                self.pid(tgid);
            }
            Event::Cgroup { id, path: _ } => self.cgroup(id),
            Event::Host(fact) => self.fact(fact),
            Event::Lost { totals: _ }
            | Event::Opaque { processes: _ }
            | Event::Joined { connections: _ }
            | Event::Cluster { .. }
            | Event::Watch { .. }
            | Event::Tick => {}
        }
    }

    fn exchange(&mut self, exchange: &mut Exchange) {
        let Exchange { conn, cgroup, netns, connector, actor, responder, read_ns, .. } = exchange;
        self.conn(conn);
        self.cgroup(cgroup);
        self.netns(netns);
        for actor in [connector, actor, responder].into_iter().flatten() {
            self.actor(actor);
        }
        self.times(read_ns.iter_mut());
        let Exchange { established_ns, start_ns, end_ns, closing_ns, .. } = exchange;
        self.times([established_ns, start_ns, end_ns, closing_ns]);
    }

    fn signal(&mut self, signal: &mut Signal) {
        let Signal { conn, cgroup, netns, actor, established_ns, .. } = signal;
        conn.iter_mut().for_each(|conn| self.conn(conn));
        self.place(cgroup, netns, actor);
        self.times([established_ns]);
    }

    fn dns(&mut self, dns: &mut Dns) {
        let Dns { cgroup, netns, actor, start_ns, end_ns, .. } = dns;
        self.place(cgroup, netns, actor);
        self.times([start_ns, end_ns]);
    }

    fn fact(&mut self, fact: &mut HostFact) {
        match fact {
            HostFact::PodLogs { uid: _, namespace: _, name: _ } => {}
            HostFact::Process { tgid, comm: _, exe: _, cgroup: _, netns } => {
                self.pid(tgid);
                self.netns(netns);
            }
            HostFact::Listeners { netns, ports: _ }
            | HostFact::ListenCounts { netns, overflows: _, drops: _ }
            | HostFact::LocalPorts { netns, ports: _ }
            | HostFact::Conntrack { netns, table: _ } => self.netns(netns),
            HostFact::Resources(resources) => {
                let Resources { cgroup, tgid, cpu, runnable, sleeping, .. } = &mut **resources;
                self.cgroup(cgroup);
                for thread in [tgid].into_iter().chain(runnable).chain(sleeping) {
                    self.pid(thread);
                }
                self.times(cpu.iter_mut().flat_map(|cpu| [&mut cpu.from_ns, &mut cpu.to_ns]));
            }
            HostFact::Rule(Rule { flow, .. }) | HostFact::NoRule(flow) => self.netns(&mut flow.netns),
            HostFact::Log(log) => self.times(log.entries.iter_mut().map(|entry| &mut entry.at)),
        }
    }

    fn place(&mut self, cgroup: &mut u64, netns: &mut u32, actor: &mut Actor) {
        self.cgroup(cgroup);
        self.netns(netns);
        self.actor(actor);
    }

    fn actor(&self, actor: &mut Actor) {
        self.pid(&mut actor.tgid);
        self.pid(&mut actor.tid);
    }

    fn conn(&self, conn: &mut ConnId) {
        // The upper bits of a kernel address are all alike.
        conn.sock ^= (self.node as u64) << CGROUP_BITS;
        self.times([&mut conn.born_ns]);
    }

    // 0 stands for what isn't known, on every node.
    fn times<'t>(&self, times: impl IntoIterator<Item = &'t mut Ktime>) {
        for time in times.into_iter().filter(|time| **time != 0) {
            *time = time.saturating_add_signed(self.shift_ns);
        }
    }

    fn cgroup(&self, cgroup: &mut u64) {
        if *cgroup != 0 {
            *cgroup = (self.node as u64) << CGROUP_BITS | (*cgroup & ((1 << CGROUP_BITS) - 1));
        }
    }

    fn pid(&self, number: &mut u32) {
        if *number != 0 {
            *number = (self.node as u32) << PID_BITS | pid(*number);
        }
    }

    fn netns(&mut self, netns: &mut u32) {
        if *netns == 0 {
            return;
        }
        let Nodes { namespaces, numbers, .. } = &mut *self.nodes;
        let key = (self.node, *netns);
        *netns = *numbers.entry(key).or_insert_with(|| {
            namespaces.push(key);
            namespaces.len() as u32
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(feature = "kernel")]
    #[test]
    fn made_cgroups_are_the_first_nodes() {
        for hash in [0, 1, u64::MAX] {
            assert!(node_of(made_cgroup(hash)) == 0 && made_cgroup(hash) >> (CGROUP_BITS - 1) == 1);
        }
    }

    fn nodes() -> Nodes {
        let options = Options {
            min_status: 500,
            wall_offset_ns: 0,
            node: None,
            cgroup: None,
            selection: super::super::Selection::default(),
            notes: Vec::new(),
        };
        let node = |shift_ns| Node { options: options.clone(), shift_ns };
        Nodes::new(vec![node(0), node(-50)])
    }

    fn attempt() -> ConnectAttempt {
        ConnectAttempt {
            cgroup: 7,
            netns: 0xF000_0001,
            remote: "10.0.0.1:80".parse().unwrap(),
            actor: Actor { tgid: 9, tid: 10 },
            comm: String::new(),
            start_ns: 100,
        }
    }

    fn scoped(nodes: &mut Nodes, node: usize) -> ConnectAttempt {
        let mut event = Event::ConnectAttempt(attempt());
        nodes.scope(node, &mut event);
        let Event::ConnectAttempt(attempt) = event else { unreachable!() };
        attempt
    }

    #[test]
    fn the_first_nodes_events_stay_as_they_are() {
        assert_eq!(scoped(&mut nodes(), 0), attempt());
    }

    #[test]
    fn equal_numbers_of_two_nodes_differ_and_can_be_told_again() {
        let mut nodes = nodes();
        let other = scoped(&mut nodes, 1);
        assert_ne!((other.cgroup, other.netns, other.actor), (7, 0xF000_0001, attempt().actor));
        assert_eq!((node_of(other.cgroup), node_of(7)), (1, 0));
        assert_eq!((nodes.node_of_netns(other.netns), nodes.node_of_netns(0xF000_0001)), (1, 0));
        assert_eq!((pid(other.actor.tgid), nodes.inode(other.netns)), (9, 0xF000_0001));
        assert_eq!(other.start_ns, 50);
        assert_eq!(scoped(&mut nodes, 1), other, "the same every time");
    }
}
