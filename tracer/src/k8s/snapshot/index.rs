//! The indexes of a snapshot: positions into its sorted objects.

use std::collections::hash_map::Entry;
use std::net::IpAddr;

use rustc_hash::FxHashMap;

use super::created;
use crate::k8s::model::{Metadata, Node, NodeAddress, NodeStatus, Objects, Pod, Service};

/// Static pods are known to the node by this hash, to the API server by another UID.
const CONFIG_HASH: &str = "kubernetes.io/config.hash";

#[derive(Clone, Copy, Debug)]
pub(super) enum Owner {
    Pod(u32),
    Service(u32),
    Node(u32),
    DerivedNode(u32),
}

#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    /// Positions of pods, sorted by uid and by config hash; cheaper than a map of owned strings.
    uids: Vec<(Box<str>, u32)>,
    addresses: FxHashMap<IpAddr, Owner>,
    /// Nodes that only pods tell about (`hostIP`, `nodeName`), where the dump holds no such node.
    derived_nodes: Vec<Node>,
    /// Services by their external addresses; one address is often shared by Services of different ports.
    pub(super) external: FxHashMap<IpAddr, Vec<u32>>,
}

impl Index {
    pub(super) fn new(objects: &Objects) -> Self {
        let mut index = Self { uids: uids(&objects.pods), ..Self::default() };
        // The order decides where addresses collide. A cluster IP is nobody else's; a load balancer that runs on the
        // nodes hands out node addresses.
        for (at, service) in positions(&objects.services) {
            for address in cluster_addresses(service) {
                index.addresses.entry(address).or_insert(Owner::Service(at));
            }
        }
        index.add_pods(&objects.pods);
        for (at, node) in positions(&objects.nodes) {
            for address in node.addresses() {
                index.addresses.entry(address).or_insert(Owner::Node(at));
            }
        }
        index.derive_nodes(objects);
        for (at, service) in positions(&objects.services) {
            for address in external_addresses(service) {
                index.addresses.entry(address).or_insert(Owner::Service(at));
                index.external.entry(address).or_default().push(at);
            }
        }
        index.addresses.shrink_to_fit();
        index
    }

    pub(super) fn pod_by_uid(&self, uid: &str) -> Option<usize> {
        let found = self.uids.binary_search_by(|(known, _)| known.as_ref().cmp(uid)).ok()?;
        Some(self.uids[found].1 as usize)
    }

    pub(super) fn owner(&self, address: IpAddr) -> Option<Owner> {
        self.addresses.get(&address).copied()
    }

    pub(super) fn derived_nodes(&self) -> &[Node] {
        &self.derived_nodes
    }

    fn add_pods(&mut self, pods: &[Pod]) {
        // An address passes from an ended pod to a new one; the living one owns it, else the newer one.
        let claim = |pod: &Pod| (!pod.is_finished(), created(pod).map(str::to_owned));
        for (at, pod) in positions(pods).filter(|(_, pod)| !pod.spec.host_network) {
            for address in pod.addresses() {
                match self.addresses.entry(address) {
                    Entry::Vacant(entry) => {
                        entry.insert(Owner::Pod(at));
                    }
                    Entry::Occupied(mut entry) => {
                        if let Owner::Pod(other) = *entry.get()
                            && claim(&pods[other as usize]) < claim(pod)
                        {
                            entry.insert(Owner::Pod(at));
                        }
                    }
                }
            }
        }
    }

    fn derive_nodes(&mut self, objects: &Objects) {
        let known: FxHashMap<&str, u32> =
            positions(&objects.nodes).map(|(at, node)| (node.metadata.name.as_str(), at)).collect();
        let mut derived: FxHashMap<&str, u32> = FxHashMap::default();
        for pod in &objects.pods {
            let Some(name) = pod.spec.node_name.as_deref() else { continue };
            let own = pod.addresses().filter(|_| pod.spec.host_network);
            for address in pod.status.host_ip.map(|ip| ip.to_canonical()).into_iter().chain(own) {
                if self.addresses.contains_key(&address) {
                    continue;
                }
                let owner = match known.get(name) {
                    Some(at) => Owner::Node(*at),
                    None => Owner::DerivedNode(*derived.entry(name).or_insert_with(|| {
                        let metadata = Metadata { name: name.to_owned(), ..Metadata::default() };
                        self.derived_nodes.push(Node { metadata, status: NodeStatus::default() });
                        position(self.derived_nodes.len() - 1)
                    })),
                };
                if let Owner::DerivedNode(at) = owner {
                    let address = NodeAddress { kind: "InternalIP".to_owned(), address: address.to_string() };
                    self.derived_nodes[at as usize].status.addresses.push(address);
                }
                self.addresses.insert(address, owner);
            }
        }
    }
}

fn uids(pods: &[Pod]) -> Vec<(Box<str>, u32)> {
    let mut uids = Vec::with_capacity(pods.len());
    for (at, pod) in positions(pods) {
        let hash = pod.metadata.annotations.get(CONFIG_HASH).map(String::as_str);
        let uid = Some(pod.metadata.uid.as_str());
        for uid in uid.into_iter().chain(hash.filter(|hash| Some(*hash) != uid)).filter(|uid| !uid.is_empty()) {
            uids.push((Box::from(uid), at));
        }
    }
    uids.sort();
    uids.dedup_by(|later, earlier| later.0 == earlier.0);
    uids
}

fn cluster_addresses(service: &Service) -> impl Iterator<Item = IpAddr> + '_ {
    parse_all(service.spec.cluster_ip.iter().chain(&service.spec.cluster_ips))
}

fn external_addresses(service: &Service) -> impl Iterator<Item = IpAddr> + '_ {
    let balancer = service.status.load_balancer.ingress.iter().filter_map(|ingress| ingress.ip.as_ref());
    parse_all(service.spec.external_ips.iter().chain(balancer))
}

/// `None` and the empty string are no addresses.
fn parse_all<'a>(texts: impl Iterator<Item = &'a String>) -> impl Iterator<Item = IpAddr> {
    texts.filter_map(|text| text.parse::<IpAddr>().ok()).map(|ip| ip.to_canonical())
}

fn positions<T>(items: &[T]) -> impl Iterator<Item = (u32, &T)> {
    items.iter().enumerate().map(|(at, item)| (position(at), item))
}

/// A snapshot of more than four thousand million objects doesn't fit in memory.
fn position(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}
