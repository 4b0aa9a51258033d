//! The indexes of a snapshot: slots of its tables, kept true object by object.

use std::cmp::Reverse;
use std::collections::hash_map::Entry;
use std::net::IpAddr;

use rustc_hash::FxHashMap;

use super::created;
use super::inside::vicinity;
use super::store::Store;
use crate::fnv::fnv1a;
use crate::k8s::model::{EndpointSlice, Metadata, Node, NodeAddress, NodeStatus, Pod, Protocol, Service};

/// Static pods are known to the node by this hash, to the API server by another UID.
const CONFIG_HASH: &str = "kubernetes.io/config.hash";

/// Whose an address may be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Owner {
    ClusterIp(u32),
    Pod(u32),
    Node(u32),
    /// Of a node that pods tell of.
    Host(u32),
    External(u32),
}

/// A node as its pods tell of it (`hostIP`, `nodeName`): it may have no object, or one without this address.
#[derive(Clone, Debug, Default)]
struct Host {
    node: Node,
    /// How many pods say so.
    addresses: Vec<(IpAddr, u32)>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    /// Pods by a hash of their uid, and of the config hash; cheaper than owned strings.
    uids: FxHashMap<u64, u32>,
    addresses: FxHashMap<IpAddr, Owner>,
    /// How many pods' addresses each network holds.
    vicinities: FxHashMap<IpAddr, u32>,
    /// All who claim an address, where it is more than one.
    contested: FxHashMap<IpAddr, Vec<Owner>>,
    hosts: Vec<Host>,
    hosts_by_name: FxHashMap<Box<str>, u32>,
    /// Services by their external addresses; one address is often shared by Services of different ports.
    external: FxHashMap<IpAddr, Vec<u32>>,
    node_ports: FxHashMap<(u16, Protocol), Vec<u32>>,
    /// EndpointSlices by a hash of their Service's name.
    slices: FxHashMap<u64, Vec<u32>>,
}

impl Index {
    pub(super) fn new(store: &Store) -> Self {
        let mut index = Self::default();
        index.uids.reserve(store.pods.len());
        index.addresses.reserve(store.pods.len() + store.services.len() + store.nodes.len());
        store.services.entries().for_each(|(slot, _)| index.add_service(store, slot));
        store.pods.entries().for_each(|(slot, _)| index.add_pod(store, slot));
        store.nodes.entries().for_each(|(slot, _)| index.add_node(store, slot));
        store.endpoint_slices.entries().for_each(|(slot, _)| index.add_slice(store, slot));
        index
    }

    /// The slot of the pod; its uid is to be compared.
    pub(super) fn pod(&self, uid: &str) -> Option<u32> {
        self.uids.get(&fnv1a(uid.bytes())).copied()
    }

    pub(super) fn owner(&self, address: IpAddr) -> Option<Owner> {
        self.addresses.get(&address).copied()
    }

    pub(super) fn owners(&self) -> impl Iterator<Item = (IpAddr, Owner)> {
        self.addresses.iter().map(|(address, owner)| (*address, *owner))
    }

    pub(super) fn has_pods_near(&self, address: IpAddr) -> bool {
        self.vicinities.contains_key(&vicinity(address))
    }

    pub(super) fn host(&self, slot: u32) -> Option<&Node> {
        self.hosts.get(slot as usize).map(|host| &host.node)
    }

    pub(super) fn host_named(&self, name: &str) -> Option<&Node> {
        let host = &self.hosts[*self.hosts_by_name.get(name)? as usize];
        (!host.addresses.is_empty()).then_some(&host.node)
    }

    pub(super) fn external(&self, address: IpAddr) -> &[u32] {
        self.external.get(&address).map_or(&[], Vec::as_slice)
    }

    pub(super) fn node_port(&self, port: u16, protocol: Protocol) -> &[u32] {
        self.node_ports.get(&(port, protocol)).map_or(&[], Vec::as_slice)
    }

    /// Slots of the slices of a Service, and perhaps of others.
    pub(super) fn slices(&self, namespace: &str, service: &str) -> &[u32] {
        self.slices.get(&slice_hash(namespace, service)).map_or(&[], Vec::as_slice)
    }

    pub(super) fn add_pod(&mut self, store: &Store, slot: u32) {
        let Some(pod) = store.pods.get(slot) else { return };
        for uid in uids(pod) {
            self.uids.insert(fnv1a(uid.bytes()), slot);
        }
        for address in own_addresses(pod) {
            self.claim(store, address, Owner::Pod(slot));
            *self.vicinities.entry(vicinity(address)).or_default() += 1;
        }
        let Some(name) = host_name(pod) else { return };
        for address in host_addresses(pod) {
            let host = self.host_slot(name);
            let addresses = &mut self.hosts[host as usize].addresses;
            match addresses.iter_mut().find(|(known, _)| *known == address) {
                Some((_, pods)) => *pods += 1,
                None => {
                    addresses.push((address, 1));
                    self.tell_addresses(host);
                    self.claim(store, address, Owner::Host(host));
                }
            }
        }
    }

    pub(super) fn drop_pod(&mut self, store: &Store, slot: u32) {
        let Some(pod) = store.pods.get(slot) else { return };
        for uid in uids(pod).map(|uid| fnv1a(uid.bytes())) {
            if self.uids.get(&uid) == Some(&slot) {
                self.uids.remove(&uid);
            }
        }
        for address in own_addresses(pod) {
            self.release(store, address, Owner::Pod(slot));
            if let Entry::Occupied(mut pods) = self.vicinities.entry(vicinity(address)) {
                *pods.get_mut() -= 1;
                if *pods.get() == 0 {
                    pods.remove();
                }
            }
        }
        let Some(name) = host_name(pod) else { return };
        for address in host_addresses(pod) {
            let host = self.host_slot(name);
            let addresses = &mut self.hosts[host as usize].addresses;
            let Some(at) = addresses.iter().position(|(known, _)| *known == address) else { continue };
            addresses[at].1 -= 1;
            if addresses[at].1 == 0 {
                addresses.remove(at);
                self.tell_addresses(host);
                self.release(store, address, Owner::Host(host));
            }
        }
    }

    pub(super) fn add_service(&mut self, store: &Store, slot: u32) {
        let Some(service) = store.services.get(slot) else { return };
        cluster_addresses(service).for_each(|address| self.claim(store, address, Owner::ClusterIp(slot)));
        for address in external_addresses(service) {
            self.claim(store, address, Owner::External(slot));
            enter(self.external.entry(address).or_default(), slot);
        }
        for port in node_ports(service) {
            enter(self.node_ports.entry(port).or_default(), slot);
        }
    }

    pub(super) fn drop_service(&mut self, store: &Store, slot: u32) {
        let Some(service) = store.services.get(slot) else { return };
        cluster_addresses(service).for_each(|address| self.release(store, address, Owner::ClusterIp(slot)));
        for address in external_addresses(service) {
            self.release(store, address, Owner::External(slot));
            leave(&mut self.external, &address, slot);
        }
        for port in node_ports(service) {
            leave(&mut self.node_ports, &port, slot);
        }
    }

    pub(super) fn add_node(&mut self, store: &Store, slot: u32) {
        let Some(node) = store.nodes.get(slot) else { return };
        node.addresses().for_each(|address| self.claim(store, address, Owner::Node(slot)));
    }

    pub(super) fn drop_node(&mut self, store: &Store, slot: u32) {
        let Some(node) = store.nodes.get(slot) else { return };
        node.addresses().for_each(|address| self.release(store, address, Owner::Node(slot)));
    }

    pub(super) fn add_slice(&mut self, store: &Store, slot: u32) {
        let Some(key) = store.endpoint_slices.get(slot).and_then(slice_key) else { return };
        enter(self.slices.entry(key).or_default(), slot);
    }

    pub(super) fn drop_slice(&mut self, store: &Store, slot: u32) {
        let Some(key) = store.endpoint_slices.get(slot).and_then(slice_key) else { return };
        leave(&mut self.slices, &key, slot);
    }

    fn claim(&mut self, store: &Store, address: IpAddr, owner: Owner) {
        let Some(current) = self.addresses.get(&address).copied() else {
            self.addresses.insert(address, owner);
            return;
        };
        let claims = self.contested.entry(address).or_insert_with(|| vec![current]);
        enter(claims, owner);
        self.settle(store, address);
    }

    fn release(&mut self, store: &Store, address: IpAddr, owner: Owner) {
        let Some(claims) = self.contested.get_mut(&address) else {
            if self.addresses.get(&address) == Some(&owner) {
                self.addresses.remove(&address);
            }
            return;
        };
        claims.retain(|other| *other != owner);
        self.settle(store, address);
        if self.contested.get(&address).is_some_and(|claims| claims.len() < 2) {
            self.contested.remove(&address);
        }
    }

    /// A cluster IP is nobody else's. An address passes from an ended pod to a new one: the living one owns it, else the
    /// newer one. A load balancer that runs on the nodes hands out node addresses.
    fn settle(&mut self, store: &Store, address: IpAddr) {
        let Some(claims) = self.contested.get(&address) else { return };
        let of_pod = |slot| store.pods.get(slot).map(|pod| (pod.is_finished(), Reverse(created(pod))));
        let of_service = |slot| store.services.get(slot).map(|service| &service.metadata);
        let of_node = |slot| store.nodes.get(slot).map(|node| &node.metadata);
        let name = |metadata: Option<&Metadata>| metadata.map(|m| (m.namespace.clone(), m.name.clone()));
        let rank = |owner: &Owner| match *owner {
            Owner::ClusterIp(slot) => (0, None, name(of_service(slot))),
            Owner::Pod(slot) => (1, of_pod(slot), name(store.pods.get(slot).map(|pod| &pod.metadata))),
            Owner::Node(slot) => (2, None, name(of_node(slot))),
            Owner::Host(slot) => (3, None, name(self.host(slot).map(|node| &node.metadata))),
            Owner::External(slot) => (4, None, name(of_service(slot))),
        };
        match claims.iter().min_by_key(|owner| rank(owner)) {
            Some(best) => self.addresses.insert(address, *best),
            None => self.addresses.remove(&address),
        };
    }

    fn host_slot(&mut self, name: &str) -> u32 {
        if let Some(slot) = self.hosts_by_name.get(name) {
            return *slot;
        }
        let slot = u32::try_from(self.hosts.len()).unwrap_or(u32::MAX);
        let metadata = Metadata { name: name.to_owned(), ..Metadata::default() };
        let node = Node { metadata, status: NodeStatus::default(), ..Node::default() };
        self.hosts.push(Host { node, addresses: Vec::new() });
        self.hosts_by_name.insert(name.into(), slot);
        slot
    }

    fn tell_addresses(&mut self, slot: u32) {
        let Host { node, addresses } = &mut self.hosts[slot as usize];
        let of = |(ip, _): &(IpAddr, u32)| NodeAddress { kind: "InternalIP".to_owned(), address: ip.to_string() };
        node.status.addresses = addresses.iter().map(of).collect();
    }
}

fn enter<T: PartialEq>(list: &mut Vec<T>, item: T) {
    if !list.contains(&item) {
        list.push(item);
    }
}

fn leave<K: std::hash::Hash + Eq>(map: &mut FxHashMap<K, Vec<u32>>, key: &K, slot: u32) {
    let Some(list) = map.get_mut(key) else { return };
    list.retain(|other| *other != slot);
    if list.is_empty() {
        map.remove(key);
    }
}

fn uids(pod: &Pod) -> impl Iterator<Item = &str> {
    let hash = pod.metadata.annotations.get(CONFIG_HASH);
    Some(pod.metadata.uid.as_str()).into_iter().chain(hash).filter(|uid| !uid.is_empty())
}

/// Whether the pod goes by that uid.
pub(super) fn is_called(pod: &Pod, uid: &str) -> bool {
    uids(pod).any(|own| own == uid)
}

/// Those that are the pod's alone.
fn own_addresses(pod: &Pod) -> impl Iterator<Item = IpAddr> + '_ {
    pod.addresses().filter(|_| !pod.spec.host_network)
}

fn host_name(pod: &Pod) -> Option<&str> {
    pod.spec.node_name.as_deref().filter(|name| !name.is_empty())
}

fn host_addresses(pod: &Pod) -> impl Iterator<Item = IpAddr> + '_ {
    let own = pod.addresses().filter(|_| pod.spec.host_network);
    let host = pod.status.host_ip.map(|ip| ip.to_canonical());
    host.into_iter().chain(own.filter(move |ip| Some(*ip) != host))
}

fn cluster_addresses(service: &Service) -> impl Iterator<Item = IpAddr> + '_ {
    let first = service.spec.cluster_ip.iter();
    let rest = service.spec.cluster_ips.iter().filter(|text| Some(*text) != service.spec.cluster_ip.as_ref());
    parse_all(first.chain(rest))
}

fn external_addresses(service: &Service) -> impl Iterator<Item = IpAddr> + '_ {
    let balancer = service.status.load_balancer.ingress.iter().filter_map(|ingress| ingress.ip.as_ref());
    parse_all(service.spec.external_ips.iter().chain(balancer))
}

fn node_ports(service: &Service) -> impl Iterator<Item = (u16, Protocol)> + '_ {
    service.spec.ports.iter().filter_map(|port| Some((port.node_port?, port.protocol)))
}

fn slice_key(slice: &EndpointSlice) -> Option<u64> {
    Some(slice_hash(&slice.metadata.namespace, slice.service_name()?))
}

fn slice_hash(namespace: &str, service: &str) -> u64 {
    fnv1a(namespace.bytes().chain([b'/']).chain(service.bytes()))
}

/// `None` and the empty string are no addresses.
fn parse_all<'a>(texts: impl Iterator<Item = &'a String>) -> impl Iterator<Item = IpAddr> {
    texts.filter_map(|text| text.parse::<IpAddr>().ok()).map(|ip| ip.to_canonical())
}
