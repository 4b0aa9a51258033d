//! The state of a cluster at one moment, indexed for the questions an incident asks.
//!
//! Immutable: a watch builds a new one and swaps it in. It serializes as its objects in a fixed order, so a capture file
//! carries it and equal states give equal bytes; the indexes are rebuilt on load.

mod endpoints;
mod index;
mod near_miss;
mod services;
#[cfg(test)]
mod tests;
mod workload;

use std::net::IpAddr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::model::{Controller, ControllerKind, Event, Labels, Namespace, NetworkPolicy, Node, Objects, Pod, Service};
use index::{Index, Owner};

pub use endpoints::{Endpoint, EndpointPort, EndpointSource, ServiceEndpoints};
pub use near_miss::NearMiss;
pub use workload::Workload;

/// Indexed cluster state.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    objects: Objects,
    index: Index,
}

/// Who an address belongs to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum AddressOwner<'a> {
    /// Never a `hostNetwork` pod: its address is the node's, shared with everything else there.
    Pod(&'a Pod),
    Service(&'a Service),
    Node(&'a Node),
}

impl Snapshot {
    /// Indexes the objects. Of two with the same name the later one counts.
    pub fn new(mut objects: Objects) -> Self {
        objects.normalize();
        let index = Index::new(&objects);
        Self { objects, index }
    }

    /// Nothing known: what a node without an API and without a dump has.
    pub fn empty() -> Self {
        Self::default()
    }

    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    /// One state from several captures' states; of the same object the later snapshot's version counts.
    pub fn merge(snapshots: impl IntoIterator<Item = Self>) -> Self {
        let mut objects = Objects::default();
        for snapshot in snapshots {
            objects.append(snapshot.objects);
        }
        Self::new(objects)
    }

    pub fn objects(&self) -> &Objects {
        &self.objects
    }

    pub fn pods(&self) -> &[Pod] {
        &self.objects.pods
    }

    pub fn services(&self) -> &[Service] {
        &self.objects.services
    }

    pub fn nodes(&self) -> &[Node] {
        &self.objects.nodes
    }

    /// A pod by its UID, or by the config hash that the kubelet uses in place of a static pod's UID in paths.
    pub fn pod_by_uid(&self, uid: &str) -> Option<&Pod> {
        self.index.pod_by_uid(uid).map(|at| &self.objects.pods[at])
    }

    /// A pod by name; where a deleted and a recreated one are both known, the one that lives, else the newest.
    pub fn pod(&self, namespace: &str, name: &str) -> Option<&Pod> {
        let pods = in_namespace(&self.objects.pods, namespace, |pod| &pod.metadata.namespace);
        let start = pods.partition_point(|pod| pod.metadata.name.as_str() < name);
        pods[start..]
            .iter()
            .take_while(|pod| pod.metadata.name == name)
            .max_by_key(|pod| (!pod.is_finished(), pod.metadata.deletion_timestamp.is_none(), created(pod)))
    }

    /// The pods of a namespace, by name.
    pub fn pods_in(&self, namespace: &str) -> &[Pod] {
        in_namespace(&self.objects.pods, namespace, |pod| &pod.metadata.namespace)
    }

    /// A Service by name.
    pub fn service(&self, namespace: &str, name: &str) -> Option<&Service> {
        self.services_in(namespace)
            .binary_search_by(|service| service.metadata.name.as_str().cmp(name))
            .ok()
            .map(|at| &self.services_in(namespace)[at])
    }

    /// The Services of a namespace, by name.
    pub fn services_in(&self, namespace: &str) -> &[Service] {
        in_namespace(&self.objects.services, namespace, |service| &service.metadata.namespace)
    }

    /// The NetworkPolicies of a namespace, by name.
    pub fn policies_in(&self, namespace: &str) -> &[NetworkPolicy] {
        in_namespace(&self.objects.network_policies, namespace, |policy| &policy.metadata.namespace)
    }

    pub fn namespace(&self, name: &str) -> Option<&Namespace> {
        let namespaces = &self.objects.namespaces;
        namespaces.binary_search_by(|item| item.metadata.name.as_str().cmp(name)).ok().map(|at| &namespaces[at])
    }

    pub fn node(&self, name: &str) -> Option<&Node> {
        self.objects.nodes.iter().chain(self.index.derived_nodes()).find(|node| node.metadata.name == name)
    }

    /// An owner kind by name, where the dump or watch holds it.
    pub fn controller(&self, kind: ControllerKind, namespace: &str, name: &str) -> Option<&Controller> {
        let wanted = (kind, namespace, name);
        let controllers = &self.objects.controllers;
        controllers
            .binary_search_by(|item| {
                (item.kind, item.metadata.namespace.as_str(), item.metadata.name.as_str()).cmp(&wanted)
            })
            .ok()
            .map(|at| &controllers[at])
    }

    /// The events about an object, oldest first.
    pub fn events_of(&self, kind: &str, namespace: &str, name: &str) -> Vec<&Event> {
        let about = |event: &&Event| {
            let object = &event.involved_object;
            object.kind == kind && object.namespace == namespace && object.name == name
        };
        let mut events: Vec<_> = self.objects.events.iter().filter(about).collect();
        events.sort_by_key(|event| event.last_seen());
        events
    }

    /// Whose address this is. Pods that have ended own theirs only while no other pod does.
    pub fn owner_of(&self, address: IpAddr) -> Option<AddressOwner<'_>> {
        Some(match self.index.owner(address.to_canonical())? {
            Owner::Pod(at) => AddressOwner::Pod(&self.objects.pods[at as usize]),
            Owner::Service(at) => AddressOwner::Service(&self.objects.services[at as usize]),
            Owner::Node(at) => AddressOwner::Node(&self.objects.nodes[at as usize]),
            Owner::DerivedNode(at) => AddressOwner::Node(&self.index.derived_nodes()[at as usize]),
        })
    }

    /// Whether the address is a pod's, a Service's or a node's.
    pub fn is_in_cluster(&self, address: IpAddr) -> bool {
        self.index.owner(address.to_canonical()).is_some()
    }

    pub fn is_pod_ready(&self, pod: &Pod) -> bool {
        pod.is_ready()
    }
}

impl PartialEq for Snapshot {
    fn eq(&self, other: &Self) -> bool {
        self.objects == other.objects
    }
}

impl Serialize for Snapshot {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.objects.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Snapshot {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Objects::deserialize(deserializer).map(Self::new)
    }
}

/// RFC 3339 in UTC sorts as text; absent sorts first.
fn created(pod: &Pod) -> Option<&str> {
    pod.metadata.creation_timestamp.as_deref()
}

/// The slice of a namespace within objects sorted by namespace first.
fn in_namespace<'a, T>(items: &'a [T], namespace: &str, of: impl Fn(&T) -> &String) -> &'a [T] {
    let start = items.partition_point(|item| of(item).as_str() < namespace);
    let length = items[start..].partition_point(|item| of(item).as_str() == namespace);
    &items[start..start + length]
}

/// Whether a plain (`matchLabels` style) selector selects an object with these labels.
fn selects(selector: &Labels, labels: &Labels) -> bool {
    selector.iter().all(|(key, value)| labels.get(key) == Some(value))
}
