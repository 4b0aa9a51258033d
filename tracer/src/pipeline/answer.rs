//! Answers to what the core wants to know of the node, and what it is told of the node at the start.

use rustc_hash::{FxHashMap, FxHashSet};

use super::inspect::Inspector;
use super::naming::Naming;
use super::rules::Rules;
use crate::correlate::Want;
use crate::event::{HostFact, Ktime};
use crate::host::proc::{Proc, Process};
use crate::host::{HostRoot, listeners, netns, netstat, pod_logs, resources};
use crate::k8s::cgroup::parse_cgroup_path;

/// Looks for a pod's log directory, one a second: without a kubelet none comes.
const LOOKS: u32 = 60;
/// Pods whose names are looked for at a time.
const NAMELESS: usize = 1000;

/// Reads the node.
pub(super) struct Node {
    root: HostRoot,
    proc: Proc,
    inspector: Inspector,
    rules: Rules,
    own_tgid: u32,
    /// Pods told, by UID, as long as their directories are there.
    pods: FxHashSet<String>,
    /// Pods that appeared in a cgroup path and had no log directory yet, and how often it was looked for.
    nameless: FxHashMap<String, u32>,
}

impl Node {
    pub(super) fn new(root: &HostRoot) -> Self {
        let proc = Proc::new(root);
        let own_tgid = proc.own_pid().unwrap_or_else(std::process::id);
        Self {
            root: root.clone(),
            proc,
            inspector: Inspector::new(root),
            rules: Rules::default(),
            own_tgid,
            pods: FxHashSet::default(),
            nameless: FxHashMap::default(),
        }
    }

    /// This process, as the kernel numbers it.
    pub(super) fn own_tgid(&self) -> u32 {
        self.own_tgid
    }

    /// What there is before the first event: the node's pods, the processes of what is observed.
    pub(super) fn initial(&mut self, naming: &Naming) -> Vec<HostFact> {
        let mut facts = self.new_pods();
        let mut processes = self.proc.processes();
        processes.sort_by_key(|process| process.pid);
        // Kernel threads have no executable and own no sockets.
        let told = processes.into_iter().filter(|process| {
            process.pid != self.own_tgid && process.exe.is_some() && naming.observes(process.cgroup.as_deref())
        });
        facts.extend(told.map(fact));
        facts
    }

    /// A cgroup was named: if it is a pod's, its name will be looked for.
    pub(super) fn note_cgroup(&mut self, path: &str) {
        let uid = parse_cgroup_path(path).and_then(|container| container.pod_uid);
        // Who is told of anew may be forgotten by the core.
        let Some(uid) = uid.filter(|_| self.nameless.len() < NAMELESS) else { return };
        self.pods.remove(&uid);
        self.nameless.insert(uid, 0);
    }

    /// Pods whose log directories appeared since they were noted.
    pub(super) fn late_pods(&mut self) -> Vec<HostFact> {
        if self.nameless.is_empty() {
            return Vec::new();
        }
        let pods = self.new_pods();
        self.nameless.retain(|_, looks| {
            *looks += 1;
            *looks < LOOKS
        });
        pods
    }

    /// What the core asked for; nothing for what can't be known.
    pub(super) fn answer(&mut self, wants: &[Want], now: Ktime) -> Vec<HostFact> {
        let Self { proc, inspector, rules, own_tgid, .. } = self;
        let mut by_netns = None;
        let mut members = |netns: u32| -> Vec<u32> {
            let all: &FxHashMap<u32, Vec<u32>> = by_netns.get_or_insert_with(|| proc.by_netns());
            let mut found = all.get(&netns).cloned().unwrap_or_default();
            found.retain(|pid| pid != own_tgid);
            found.sort_unstable();
            found
        };
        let mut facts: Vec<HostFact> = rules.answers().collect();
        for want in wants {
            match want {
                // Read from the kernel programs' maps, and asked of the API server.
                Want::Flight | Want::Pod { .. } => {}
                Want::Process { tgid } => facts.extend(proc.process(*tgid).map(fact)),
                Want::Netns { netns } => {
                    facts.extend(members(*netns).first().and_then(|pid| proc.process(*pid)).map(fact));
                }
                Want::Listeners { netns } => {
                    let Some(pid) = members(*netns).first().copied() else { continue };
                    let Ok(ports) = listeners::open_ports(proc, pid) else { continue };
                    facts.push(HostFact::Listeners { netns: *netns, ports });
                }
                Want::Resources { cgroup, tgid, netns, port, since } => {
                    let pid = match tgid {
                        0 => resources::listener(proc, &members(*netns), *port),
                        tgid => Some(*tgid),
                    };
                    facts.extend(pid.map(|pid| inspector.resources(proc, *cgroup, pid, *since, now)));
                }
                Want::Rule(flow) => match members(flow.netns).first() {
                    Some(pid) => rules.ask(proc, *pid, flow),
                    None => facts.push(HostFact::NoRule(flow.clone())),
                },
                Want::LocalPorts { netns } => {
                    let Some(pid) = members(*netns).first().copied() else { continue };
                    let Ok(found) = netns::local_ports(proc, pid) else { continue };
                    facts.push(HostFact::LocalPorts { netns: *netns, ports: found });
                }
                Want::Conntrack { netns } => {
                    let Some(pid) = members(*netns).first().copied() else { continue };
                    let Ok(found) = netns::conntrack(proc, pid) else { continue };
                    facts.push(HostFact::Conntrack { netns: *netns, table: found });
                }
                Want::ListenCounts { netns } => {
                    let Some(pid) = members(*netns).first().copied() else { continue };
                    let Ok(found) = netstat::listen_counts(proc, pid) else { continue };
                    facts.push(HostFact::ListenCounts {
                        netns: *netns,
                        overflows: found.overflows,
                        drops: found.drops,
                    });
                }
                Want::Log { uid, container, from, until } => {
                    facts.extend(inspector.log(uid, container.as_deref(), *from, *until));
                }
            }
        }
        facts
    }

    /// These processes take long over a request.
    pub(super) fn note_slow(&mut self, pids: &[u32], now: Ktime) {
        self.inspector.note_slow(&self.proc, pids, now);
    }

    fn new_pods(&mut self) -> Vec<HostFact> {
        let there = pod_logs::read(&self.root);
        self.pods.retain(|uid| there.contains_key(uid));
        let mut found: Vec<_> = there.into_iter().filter(|(uid, _)| !self.pods.contains(uid)).collect();
        found.sort_by(|(a, _), (b, _)| a.cmp(b));
        for (uid, _) in &found {
            self.pods.insert(uid.clone());
            self.nameless.remove(uid);
        }
        let fact = |(uid, pod): (_, pod_logs::Pod)| HostFact::PodLogs { uid, namespace: pod.namespace, name: pod.name };
        found.into_iter().map(fact).collect()
    }
}

fn fact(process: Process) -> HostFact {
    let cgroup = process.container_cgroup().map(str::to_owned);
    HostFact::Process { tgid: process.pid, comm: process.comm, exe: process.exe, cgroup, netns: process.netns }
}
