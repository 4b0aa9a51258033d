//! Pods without cgroup v2 directories: on hybrid and cgroup v1 nodes runtimes make none, and every socket reports the root
//! or the runtime's unit. There the socket's network namespace decides, or for the node's own the process behind it: their
//! `/proc/PID/cgroup` names the pod. Such a pod gets an id of its own, with the top bit set, in place of the kernel's.

use rustc_hash::{FxHashMap, FxHashSet};

use crate::event::{Actor, Event, Ktime, Record};
use crate::fnv::fnv1a;
use crate::host::proc::{Proc, Process};
use crate::k8s::cgroup::parse_cgroup_path;

/// A namespace that belonged to no pod is looked at again after this: it may be a starting pod's.
const AGAIN_NS: Ktime = 1_000_000_000;
const MADE: u64 = 1 << 63;
/// Processes and namespaces remembered.
const BOUND: usize = 20_000;

/// Finds the pods of sockets.
pub(super) struct Hybrid {
    proc: Proc,
    on: bool,
    own_netns: Option<u32>,
    /// Path of a namespace's pod.
    namespaces: FxHashMap<u32, String>,
    processes: FxHashMap<u32, Option<String>>,
    scanned: Ktime,
    told: FxHashSet<u64>,
}

impl Hybrid {
    pub(super) fn new(proc: Proc, own_tgid: u32, on: bool) -> Self {
        let own_netns = proc.netns(own_tgid);
        Self {
            proc,
            on,
            own_netns,
            namespaces: FxHashMap::default(),
            processes: FxHashMap::default(),
            scanned: 0,
            told: FxHashSet::default(),
        }
    }

    /// Puts the pod's id in place of a cgroup that is no container's, given that cgroup's path. Gives the pod's
    /// introduction the first time.
    pub(super) fn place(&mut self, record: &mut Record, path: Option<&str>) -> Option<Record> {
        if !self.on || path.is_some_and(|path| parse_cgroup_path(path).is_some()) {
            return None;
        }
        let at = record.at;
        let (cgroup, netns, tgid) = parts(&mut record.event)?;
        let path = self.pod(netns, tgid, at)?;
        let id = MADE | fnv1a(path.bytes());
        *cgroup = id;
        self.told.insert(id).then_some(Record { at, event: Event::Cgroup { id, path } })
    }

    fn pod(&mut self, netns: u32, tgid: u32, at: Ktime) -> Option<String> {
        if netns != 0 && Some(netns) != self.own_netns {
            if !self.namespaces.contains_key(&netns)
                && (self.scanned == 0 || at.saturating_sub(self.scanned) >= AGAIN_NS)
            {
                self.scanned = at;
                self.namespaces = by_namespace(self.proc.processes());
            }
            return self.namespaces.get(&netns).cloned();
        }
        if tgid == 0 {
            return None;
        }
        if self.processes.len() > BOUND {
            self.processes.clear();
        }
        let proc = &self.proc;
        self.processes.entry(tgid).or_insert_with(|| pod_path(proc.process(tgid)?.container_cgroup()?)).clone()
    }
}

/// The pod of each namespace that has one: of a namespace shared by several pods (the node's) none is told.
fn by_namespace(processes: Vec<Process>) -> FxHashMap<u32, String> {
    let mut found: FxHashMap<u32, String> = FxHashMap::default();
    let mut shared: FxHashSet<u32> = FxHashSet::default();
    for process in processes {
        let Some(path) = process.container_cgroup().and_then(pod_path) else { continue };
        if let Some(known) = found.insert(process.netns, path.clone())
            && known != path
        {
            shared.insert(process.netns);
        }
    }
    found.retain(|netns, _| !shared.contains(netns));
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
        _ => return None,
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
        assert_eq!(found, FxHashMap::from_iter([(1, POD.to_owned())]));
    }
}
