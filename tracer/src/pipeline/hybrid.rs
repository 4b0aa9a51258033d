//! Pods without cgroup v2 directories: on hybrid and cgroup v1 nodes runtimes make none, and every socket reports the root
//! or the runtime's unit. There the socket's network namespace decides, or for the node's own the process behind it: their
//! `/proc/PID/cgroup` names the pod. Such a pod gets an id of its own in place of the kernel's.

use rustc_hash::FxHashMap;

use crate::correlate::made_cgroup;
use crate::event::{Actor, Event, Ktime, Record};
use crate::fnv::fnv1a;
use crate::host::proc::{Proc, Process};
use crate::k8s::cgroup::parse_cgroup_path;
use crate::recent::Recent;

/// A namespace that belonged to no pod is looked at again after this: it may be a starting pod's.
const AGAIN_NS: Ktime = 1_000_000_000;
/// So is every other: the kernel gives a namespace's number to the next one when it is gone (`ns_alloc_inum`).
const OUTDATED_NS: Ktime = 10_000_000_000;
const NAMESPACES: usize = 4096;
/// Processes remembered, and for how long: their numbers are used again.
const PROCESSES: usize = 10_000;
const PROCESS_NS: Ktime = 30_000_000_000;

/// Finds the pods of sockets.
pub(super) struct Hybrid {
    proc: Proc,
    on: bool,
    node_netns: Option<u32>,
    /// Path of a namespace's pod; none of one that several share.
    namespaces: Recent<u32, Option<String>>,
    processes: Recent<u32, (Ktime, Option<String>)>,
    scanned: Ktime,
}

impl Hybrid {
    pub(super) fn new(proc: Proc, on: bool) -> Self {
        let node_netns = proc.node_netns();
        Self {
            proc,
            on,
            node_netns,
            namespaces: Recent::new(NAMESPACES),
            processes: Recent::new(PROCESSES),
            scanned: 0,
        }
    }

    /// Puts the pod's id in place of a cgroup that is no container's, given that cgroup's path. Gives the pod's id and
    /// path.
    pub(super) fn place(&mut self, record: &mut Record, path: Option<&str>) -> Option<(u64, String)> {
        if !self.on || path.is_some_and(|path| parse_cgroup_path(path).is_some()) {
            return None;
        }
        let at = record.at;
        let (cgroup, netns, tgid) = parts(&mut record.event)?;
        let path = self.pod(netns, tgid, at)?;
        let id = made_cgroup(fnv1a(path.bytes()));
        *cgroup = id;
        Some((id, path))
    }

    fn pod(&mut self, netns: u32, tgid: u32, at: Ktime) -> Option<String> {
        if netns != 0 && Some(netns) != self.node_netns {
            let known = self.namespaces.get(&netns).is_some_and(Option::is_some);
            let age = if known { OUTDATED_NS } else { AGAIN_NS };
            if self.scanned == 0 || at.saturating_sub(self.scanned) >= age {
                self.scanned = at;
                // Who isn't there any more is still told of.
                for (netns, path) in by_namespace(self.proc.processes()) {
                    self.namespaces.insert(netns, path);
                }
            }
            return self.namespaces.touch(&netns)?.clone();
        }
        if tgid == 0 {
            return None;
        }
        if let Some((since, path)) = self.processes.get(&tgid)
            && at.saturating_sub(*since) < PROCESS_NS
        {
            return path.clone();
        }
        let path = self.proc.process(tgid).and_then(|process| pod_path(process.container_cgroup()?));
        self.processes.insert(tgid, (at, path.clone()));
        path
    }
}

/// The pod of each namespace that has one: of a namespace shared by several pods (the node's) none is told.
fn by_namespace(processes: Vec<Process>) -> FxHashMap<u32, Option<String>> {
    let mut found: FxHashMap<u32, Option<String>> = FxHashMap::default();
    for process in processes {
        let Some(path) = process.container_cgroup().and_then(pod_path) else { continue };
        let known = found.entry(process.netns).or_insert_with(|| Some(path.clone()));
        if known.as_ref() != Some(&path) {
            *known = None;
        }
    }
    found
}

/// The pod's directory in a cgroup path: its containers share the namespace.
fn pod_path(path: &str) -> Option<String> {
    parse_cgroup_path(path)?.pod_uid?;
    let components: Vec<&str> = path.split('/').collect();
    let is_pod = |end: &usize| parse_cgroup_path(&components[..*end].join("/")).is_some_and(|c| c.pod_uid.is_some());
    let end = (1..=components.len()).find(is_pod)?;
    Some(components[..end].join("/"))
}

/// Cgroup, network namespace and process of an event that belongs to a socket.
fn parts(event: &mut Event) -> Option<(&mut u64, u32, u32)> {
    let of = |actor: Option<Actor>| actor.map_or(0, |actor| actor.tgid);
    Some(match event {
        Event::Exchange(x) => {
            let tgid = of(x.actor.or(x.connector));
            (&mut x.cgroup, x.netns, tgid)
        }
        Event::Connect(x) => (&mut x.cgroup, x.netns, x.actor.tgid),
        Event::ConnectAttempt(x) => (&mut x.cgroup, x.netns, x.actor.tgid),
        Event::OpaqueConnection(x) => {
            let tgid = of(x.connector);
            (&mut x.cgroup, x.netns, tgid)
        }
        Event::UnansweredSyn(x) => (&mut x.cgroup, x.netns, 0),
        // Runs in any process's context.
        Event::Signal(x) if x.cgroup != 0 => (&mut x.cgroup, x.netns, 0),
        Event::Dns(x) => (&mut x.cgroup, x.netns, x.actor.tgid),
        Event::Process(x) => (&mut x.cgroup, 0, x.tgid),
        Event::Signal(_)
        | Event::Drop(_)
        | Event::Icmp(_)
        | Event::Cgroup { .. }
        | Event::Host(_)
        | Event::Lost { .. }
        | Event::Opaque { .. }
        | Event::Joined { .. }
        | Event::Cluster { .. }
        | Event::Watch { .. }
        | Event::Tick => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const POD: &str = "/kubepods/burstable/pod11111111-2222-3333-4444-555555555555";

    #[test]
    fn a_container_belongs_to_its_pods_directory() {
        assert_eq!(pod_path(&format!("{POD}/{}", "ab".repeat(32))).as_deref(), Some(POD));
        assert_eq!(pod_path(POD).as_deref(), Some(POD));
        assert_eq!(pod_path("/system.slice/ssh.service"), None);
    }

    #[test]
    fn a_namespace_of_several_pods_is_nobodys() {
        let process = |netns, path: String| Process { netns, memory_cgroup: Some(path), ..Process::default() };
        let other = POD.replace('1', "9");
        let found = by_namespace(vec![
            process(1, format!("{POD}/{}", "ab".repeat(32))),
            process(1, format!("{POD}/{}", "cd".repeat(32))),
            process(2, POD.to_owned()),
            process(2, other),
            process(3, "/user.slice".to_owned()),
        ]);
        assert_eq!(found, FxHashMap::from_iter([(1, Some(POD.to_owned())), (2, None)]));
    }
}
