//! Who is who: cgroups, network namespaces and addresses to pods, Services, workloads or, without Kubernetes, processes.

mod addresses;
#[cfg(test)]
mod tests;
mod who;

use std::net::{IpAddr, SocketAddr};

use addresses::{Names, Servers};

use super::{nodes::node_of, probe::KUBELETS};
use crate::{
    event::{Conntrack, Event, HostFact, LocalPorts},
    k8s::{
        cgroup::parse_cgroup_path,
        model::{Metadata, Pod, Protocol, Service},
        snapshot::{AddressOwner, Snapshot},
    },
    recent::Recent,
};

pub(crate) use who::Who;

/// Of a node, as many are remembered at least; those that nothing was heard of for longest are forgotten first.
pub const CGROUPS: usize = 10_000;
const PODS: usize = 10_000;
const PROCESSES: usize = 10_000;
const NAMESPACES: usize = 4096;
const ADDRESSES: usize = 20_000;

#[derive(Clone, Debug, Default)]
struct Container {
    path: String,
    pod_uid: Option<String>,
    container_id: Option<String>,
}

#[derive(Clone, Debug, Default)]
struct ProcessName {
    comm: String,
    exe: Option<String>,
}

/// What was learned about the node's inhabitants.
#[derive(Debug)]
pub(crate) struct Identity {
    cgroups: Recent<u64, Container>,
    /// Pods known by `/var/log/pods` alone: uid to namespace and name.
    logs: Recent<String, (String, String)>,
    /// Pods that the cluster no longer has, in the same way.
    departed: Recent<String, (String, String)>,
    processes: Recent<u32, ProcessName>,
    /// Last process name seen serving or connecting from a cgroup.
    comms: Recent<u64, String>,
    /// Which container lives in a network namespace: from sockets and processes seen there.
    netns: Recent<u32, u64>,
    /// Which pod's process was found in a network namespace: of pods that have no socket of their own yet.
    netns_pods: Recent<u32, String>,
    /// Network namespaces of processes that are in no container: the node's.
    node_netns: Recent<u32>,
    /// Names pods that no snapshot knows.
    servers: Servers,
    names: Names,
    /// A kubelet was seen outside of pods.
    pub(crate) kubelet: bool,
    pub(crate) listeners: Recent<u32, Vec<u16>>,
    pub(crate) local_ports: Recent<u32, LocalPorts>,
    pub(crate) conntrack: Recent<u32, Conntrack>,
    /// `ListenOverflows` and `ListenDrops` of a network namespace.
    pub(crate) listen_counts: Recent<u32, (u64, u64)>,
}

impl Identity {
    pub(crate) fn new(nodes: usize) -> Self {
        Self {
            cgroups: Recent::new(nodes * CGROUPS),
            logs: Recent::new(nodes * PODS),
            departed: Recent::new(PODS),
            processes: Recent::new(nodes * PROCESSES),
            comms: Recent::new(nodes * CGROUPS),
            netns: Recent::new(nodes * NAMESPACES),
            netns_pods: Recent::new(nodes * NAMESPACES),
            node_netns: Recent::new(nodes * NAMESPACES),
            servers: Servers::new(nodes * ADDRESSES),
            names: Names::new(nodes * ADDRESSES),
            kubelet: false,
            listeners: Recent::new(nodes * NAMESPACES),
            local_ports: Recent::new(nodes * NAMESPACES),
            conntrack: Recent::new(nodes * NAMESPACES),
            listen_counts: Recent::new(nodes * NAMESPACES),
        }
    }

    /// What made room for others, by what it was.
    pub(crate) fn forgotten(&self) -> [(&'static str, u64); 5] {
        [
            ("cgroups", self.cgroups.forgotten()),
            ("pods", self.logs.forgotten() + self.departed.forgotten()),
            ("processes", self.processes.forgotten()),
            ("namespaces", self.netns.forgotten() + self.netns_pods.forgotten()),
            ("addresses", self.servers.forgotten() + self.names.forgotten()),
        ]
    }

    /// Learns from an event.
    pub(crate) fn learn(&mut self, event: &Event) {
        self.touch(event);
        match event {
            Event::Cgroup { id, path } => self.cgroup(*id, path),
            Event::Host(HostFact::PodLogs { uid, namespace, name }) => {
                self.logs.insert(uid.clone(), (namespace.clone(), name.clone()));
            }
            Event::Host(HostFact::Process { tgid, comm, exe, cgroup, netns }) => {
                self.processes.insert(*tgid, ProcessName { comm: comm.clone(), exe: exe.clone() });
                self.kubelet |= KUBELETS.contains(&comm.as_str());
                match cgroup.as_deref().and_then(parse_cgroup_path) {
                    Some(container) => _ = container.pod_uid.map(|uid| self.netns_pods.insert(*netns, uid)),
                    None => _ = self.node_netns.insert(*netns, ()),
                }
            }
            Event::Host(HostFact::Listeners { netns, ports }) => {
                self.listeners.insert(*netns, ports.clone());
            }
            Event::Host(HostFact::LocalPorts { netns, ports }) => {
                self.local_ports.insert(*netns, *ports);
            }
            Event::Host(HostFact::Conntrack { netns, table }) => {
                self.conntrack.insert(*netns, *table);
            }
            Event::Host(HostFact::ListenCounts { netns, overflows, drops }) => {
                self.listen_counts.insert(*netns, (*overflows, *drops));
            }
            Event::Exchange(x) => {
                self.socket(x.cgroup, x.netns, &x.comm);
                if x.role == crate::event::Role::Server {
                    self.serves(x.local, x.cgroup, x.netns);
                }
            }
            Event::Connect(x) => self.socket(x.cgroup, x.netns, &x.comm),
            Event::UnansweredSyn(x) => {
                self.socket(x.cgroup, x.netns, "");
                self.serves(x.local, x.cgroup, x.netns);
            }
            Event::Dns(x) => {
                self.socket(x.cgroup, x.netns, &x.comm);
                if x.role == crate::event::Role::Client && x.addresses.len() < 64 {
                    let asker = self.container_key(x.cgroup);
                    x.addresses.iter().for_each(|address| self.names.learn(asker, *address, &x.name));
                }
            }
            _ => {}
        }
    }

    /// A pod is gone from the cluster's state.
    pub(crate) fn remember_pod(&mut self, uid: &str, namespace: &str, name: &str) {
        self.departed.insert(uid.to_owned(), (namespace.to_owned(), name.to_owned()));
    }

    /// Who is heard of isn't forgotten.
    fn touch(&mut self, event: &Event) {
        let Some(id) = event.named_cgroup() else { return };
        if let Some(Container { pod_uid: Some(uid), .. }) = self.cgroups.touch(&id) {
            self.logs.touch(uid.as_str());
        }
    }

    fn cgroup(&mut self, id: u64, path: &str) {
        let parsed = parse_cgroup_path(path).unwrap_or_default();
        let container = Container { path: path.to_owned(), pod_uid: parsed.pod_uid, container_id: parsed.container_id };
        self.cgroups.insert(id, container);
    }

    fn socket(&mut self, cgroup: u64, netns: u32, comm: &str) {
        if cgroup == 0 {
            return;
        }
        let pod = self.cgroups.get(&cgroup).is_some_and(|c| c.pod_uid.is_some());
        if !comm.is_empty() {
            self.kubelet |= !pod && KUBELETS.contains(&comm);
            self.comms.insert(cgroup, comm.to_owned());
        }
        // A host-network pod must not name the node's namespace, but without pods any process may.
        if netns != 0 && (pod || self.netns.touch(&netns).is_none()) {
            self.netns.insert(netns, cgroup);
        }
    }

    fn serves(&mut self, address: SocketAddr, cgroup: u64, netns: u32) {
        let Self { cgroups, servers, .. } = self;
        let key = |cgroup: u64| cgroups.get(&cgroup).and_then(|c| c.pod_uid.as_ref().or(c.container_id.as_ref()));
        let own = key(cgroup);
        servers.learn(address, cgroup, netns, |other| if own.is_some() { key(other) == own } else { other == cgroup });
    }

    /// The node that the pods seen there are bound to.
    pub(crate) fn node(&self, snapshot: &Snapshot, node: usize) -> Option<String> {
        self.cgroups
            .iter()
            .filter(|(cgroup, _)| node_of(**cgroup) == node)
            .find_map(|(cgroup, _)| self.pod_of(snapshot, *cgroup)?.spec.node_name.clone())
    }

    pub(crate) fn path_of(&self, cgroup: u64) -> Option<&str> {
        self.cgroups.get(&cgroup).map(|c| c.path.as_str())
    }

    /// Groups a container's cgroups (an init system inside may make several): by container id, or the cgroup itself.
    pub(crate) fn container_key(&self, cgroup: u64) -> u64 {
        let Some(container) = self.cgroups.get(&cgroup) else { return cgroup };
        let Some(id) = &container.container_id else { return cgroup };
        crate::fnv::fnv1a(id.bytes())
    }

    pub(crate) fn pod_of<'a>(&self, snapshot: &'a Snapshot, cgroup: u64) -> Option<&'a Pod> {
        let uid = self.cgroups.get(&cgroup)?.pod_uid.as_deref()?;
        snapshot.pod_by_uid(uid)
    }

    /// Who lives in a cgroup.
    pub(crate) fn who(&self, snapshot: &Snapshot, cgroup: u64, tgid: Option<u32>) -> Who {
        let Some(container) = self.cgroups.get(&cgroup) else {
            return Who { process: self.process_name(cgroup, tgid), ..Who::default() };
        };
        let Some(uid) = &container.pod_uid else {
            let id = container.container_id.as_ref().map(|id| id.chars().take(12).collect());
            return Who { container: id, process: self.process_name(cgroup, tgid), ..Who::default() };
        };
        if let Some(pod) = snapshot.pod_by_uid(uid) {
            let mut who = Self::who_pod(snapshot, pod);
            who.container = container.container_id.as_deref().and_then(|id| container_name(pod, id));
            return who;
        }
        let (namespace, pod) = self.logs.get(uid).or_else(|| self.departed.get(uid)).cloned().unzip();
        Who { namespace, pod, uid: Some(uid.clone()), ..Who::default() }
    }

    pub(crate) fn who_pod(snapshot: &Snapshot, pod: &Pod) -> Who {
        let workload = snapshot.workload(pod);
        Who {
            namespace: Some(pod.metadata.namespace.clone()),
            pod: Some(pod.metadata.name.clone()),
            uid: Some(pod.metadata.uid.clone()),
            workload: Some(workload.to_string()),
            ..Who::default()
        }
    }

    pub(crate) fn process_name(&self, cgroup: u64, tgid: Option<u32>) -> Option<String> {
        tgid.and_then(|tgid| self.processes.get(&tgid))
            .map(|p| p.exe.clone().unwrap_or_else(|| p.comm.clone()))
            .or_else(|| self.comms.get(&cgroup).cloned())
    }

    pub(crate) fn is_in_pod(&self, cgroup: u64) -> bool {
        self.cgroups.get(&cgroup).is_some_and(|c| c.pod_uid.is_some())
    }

    /// The name of a process, else of what was last seen in its cgroup.
    pub(crate) fn comm_of(&self, tgid: Option<u32>, cgroup: u64) -> Option<&str> {
        let process = tgid.and_then(|tgid| self.processes.get(&tgid)).map(|p| p.comm.as_str());
        process.or_else(|| self.comm(cgroup))
    }

    pub(crate) fn comm(&self, cgroup: u64) -> Option<&str> {
        self.comms.get(&cgroup).map(String::as_str)
    }

    /// The pod that lives in a network namespace, if it is a pod's own.
    pub(crate) fn pod_of_netns<'a>(&self, snapshot: &'a Snapshot, netns: u32) -> Option<&'a Pod> {
        let by_socket = self.netns.get(&netns).and_then(|cgroup| self.pod_of(snapshot, *cgroup));
        let pod = by_socket.or_else(|| snapshot.pod_by_uid(self.netns_pods.get(&netns)?))?;
        (!pod.spec.host_network).then_some(pod)
    }

    /// Who answered there or, at an address of a container's own, on another port.
    pub(crate) fn cgroup_at(&self, snapshot: &Snapshot, address: SocketAddr) -> Option<u64> {
        let shared = matches!(snapshot.owner_of(address.ip()), Some(AddressOwner::Node(_) | AddressOwner::Service(_)));
        self.servers.at(address).or_else(|| self.alone_at(address.ip()).filter(|_| !shared))
    }

    /// The container whose own an address is, as far as was seen: what the node's processes share is nobody's.
    fn alone_at(&self, address: IpAddr) -> Option<u64> {
        let (cgroup, netns) = self.servers.alone_at(address)?;
        let contained = self.cgroups.get(&cgroup).is_some_and(|c| c.pod_uid.is_some() || c.container_id.is_some());
        (contained && !self.node_netns.contains_key(&netns)).then_some(cgroup)
    }

    /// The name that DNS answers gave to an address, if it is one: those to a container, or to any.
    pub(crate) fn dns_name(&self, asker: Option<u64>, address: IpAddr) -> Option<&str> {
        match self.names_of(asker, address) {
            [only] => Some(only),
            _ => None,
        }
    }

    fn names_of(&self, asker: Option<u64>, address: IpAddr) -> &[String] {
        self.names.of(asker.map(|cgroup| self.container_key(cgroup)), address)
    }

    pub(crate) fn pod_at<'a>(&self, snapshot: &'a Snapshot, address: IpAddr) -> Option<&'a Pod> {
        match snapshot.owner_of(address) {
            Some(AddressOwner::Pod(pod) | AddressOwner::Departed(pod)) => Some(pod),
            Some(_) => None,
            None => self.pod_of(snapshot, self.alone_at(address)?).filter(|pod| !pod.spec.host_network),
        }
    }

    /// The Service behind an address that a client used.
    pub(crate) fn service_at<'a>(
        &self,
        snapshot: &'a Snapshot,
        asker: Option<u64>,
        address: SocketAddr,
        protocol: Protocol,
    ) -> Option<&'a Service> {
        match snapshot.owner_of(address.ip()) {
            Some(AddressOwner::Service(_) | AddressOwner::Node(_)) => {
                snapshot.service_at(address.ip(), address.port(), protocol)
            }
            Some(AddressOwner::Pod(pod)) => {
                // Called directly (headless, an ingress that resolves endpoints), or translated where the socket connects, as
                // Cilium does it: only if there is no doubt.
                let serving = snapshot.services_of_pod(pod).into_iter().filter(|service| {
                    service
                        .spec
                        .ports
                        .iter()
                        .any(|port| snapshot.target_port(service, port, pod).unwrap_or(port.port) == address.port())
                });
                let is_meant = |service: &&Service| match self.names_of(asker, address.ip()) {
                    [] => !service.is_headless(),
                    names => names.iter().any(|name| is_of(name, service)),
                };
                match serving.collect::<Vec<_>>().as_slice() {
                    [only] => Some(only),
                    several => {
                        let mut meant = several.iter().copied().filter(is_meant);
                        meant.next().filter(|_| meant.next().is_none())
                    }
                }
            }
            Some(AddressOwner::Departed(_)) | None => None,
        }
    }

    /// Whether an address belongs to the cluster or to this node. One next to pods' isn't called outside either, unless a
    /// name that isn't of the cluster led to it.
    pub(crate) fn is_inside(&self, snapshot: &Snapshot, asker: Option<u64>, address: IpAddr) -> bool {
        let near = || {
            let names = self.names_of(asker, address);
            names.iter().all(|name| name.contains(".svc.")) && snapshot.is_near_pods(address)
        };
        address.is_loopback() || self.servers.contains(address) || snapshot.is_in_cluster(address) || near()
    }
}

pub(crate) fn service_name(service: &Service) -> String {
    format!("{}/{}", service.metadata.namespace, service.metadata.name)
}

/// Whether a DNS name is the Service's, or one of its pods' under it.
fn is_of(name: &str, service: &Service) -> bool {
    let Metadata { namespace, name: own, .. } = &service.metadata;
    let before = name.split_once(".svc.").map(|(before, _)| before);
    let rest = before
        .and_then(|before| before.strip_suffix(namespace.as_str())?.strip_suffix('.')?.strip_suffix(own.as_str()));
    rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// The container's name by its runtime id (`containerd://<id>`).
fn container_name(pod: &Pod, id: &str) -> Option<String> {
    let statuses = pod.status.container_statuses.iter().chain(&pod.status.init_container_statuses);
    let mut named = statuses.filter(|status| {
        status.container_id.as_deref().and_then(|full| full.rsplit('/').next()).is_some_and(|full| full.starts_with(id))
    });
    named.next().map(|status| status.name.to_string()).or_else(|| match pod.spec.containers.as_ref() {
        [only] => Some(only.name.clone()),
        _ => None,
    })
}
