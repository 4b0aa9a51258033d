//! Answers to what the core wants to know of the node, and what it is told of the node at the start.

use rustc_hash::{FxHashMap, FxHashSet};

use super::naming::Naming;
use crate::correlate::Want;
use crate::event::HostFact;
use crate::host::proc::{Proc, Process};
use crate::host::{HostRoot, pod_logs};
use crate::host::{listeners, netns};
use crate::k8s::cgroup::parse_cgroup_path;

/// Reads the node.
pub(super) struct Node {
    root: HostRoot,
    proc: Proc,
    own_tgid: u32,
    /// Pods told, by UID.
    pods: FxHashSet<String>,
    /// Pods that appeared in a cgroup path and had no log directory yet.
    nameless: FxHashSet<String>,
}

impl Node {
    pub(super) fn new(root: &HostRoot) -> Self {
        let proc = Proc::new(root);
        let own_tgid = proc.own_pid().unwrap_or_else(std::process::id);
        Self { root: root.clone(), proc, own_tgid, pods: FxHashSet::default(), nameless: FxHashSet::default() }
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
        self.nameless.extend(uid.filter(|uid| !self.pods.contains(uid)));
    }

    /// Pods whose log directories appeared since they were noted.
    pub(super) fn late_pods(&mut self) -> Vec<HostFact> {
        if self.nameless.is_empty() { Vec::new() } else { self.new_pods() }
    }

    /// What the core asked for; nothing for what can't be known.
    pub(super) fn answer(&self, wants: &[Want]) -> Vec<HostFact> {
        let mut by_netns = None;
        let mut member = |netns: u32| -> Option<u32> {
            let members: &FxHashMap<_, _> = by_netns.get_or_insert_with(|| self.proc.by_netns());
            members.get(&netns)?.iter().copied().filter(|pid| *pid != self.own_tgid).min()
        };
        let answer = |want: &Want| match want {
            // Read from the kernel programs' maps.
            Want::Flight => None,
            Want::Process { tgid } => self.proc.process(*tgid).map(fact),
            Want::Netns { netns } => self.proc.process(member(*netns)?).map(fact),
            Want::Listeners { netns } => {
                let found = listeners::of_process(&self.proc, member(*netns)?).ok()?;
                let mut ports: Vec<u16> = found.into_iter().map(|listener| listener.port).collect();
                ports.dedup();
                Some(HostFact::Listeners { netns: *netns, ports })
            }
            Want::LocalPorts { netns } => {
                let ports = netns::local_ports(&self.proc, member(*netns)?).ok()?;
                let netns::LocalPorts { low, high, sockets, time_wait } = ports;
                Some(HostFact::LocalPorts { netns: *netns, low, high, sockets, time_wait })
            }
            Want::Conntrack { netns } => {
                let netns::Conntrack { count, max, insert_failed } =
                    netns::conntrack(&self.proc, member(*netns)?).ok()?;
                Some(HostFact::Conntrack { netns: *netns, count, max, insert_failed })
            }
        };
        wants.iter().filter_map(answer).collect()
    }

    fn new_pods(&mut self) -> Vec<HostFact> {
        let mut found: Vec<_> =
            pod_logs::read(&self.root).into_iter().filter(|(uid, _)| !self.pods.contains(uid)).collect();
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
