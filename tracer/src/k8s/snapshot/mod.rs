//! The state of a cluster, indexed for the questions an incident asks.
//!
//! A watch changes it object by object; each change leaves behind what undoes it, so that the snapshot can be put back to
//! the time of an event ([`Snapshot::as_of`]) and every question is answered as of then. It serializes as its objects in a
//! fixed order, so a capture file carries it and equal states give equal bytes; the indexes are rebuilt on load.

mod endpoints;
mod index;
mod inside;
mod near_miss;
mod past;
mod services;
mod store;
mod table;
#[cfg(test)]
mod tests;
mod workload;

use std::net::IpAddr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::model::{
    Controller, ControllerKind, EndpointSlice, Event, Labels, Namespace, NetworkPolicy, Node, Object, Objects,
    OtherObject, Pod, Service,
};
use crate::event::Ktime;
use index::{Index, Owner, is_called};
use past::Past;
use store::Store;

pub use endpoints::{Endpoint, EndpointPort, EndpointSource, ServiceEndpoints};
pub use near_miss::NearMiss;
pub use store::{Change, Collection, ObjectRef};
pub use table::Listed;
pub use workload::Workload;

/// Indexed cluster state.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    objects: Store,
    index: Index,
    past: Past,
}

/// Who an address belongs to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum AddressOwner<'a> {
    /// Never a `hostNetwork` pod: its address is the node's, shared with everything else there.
    Pod(&'a Pod),
    /// A pod that had it and is gone, while nobody else has it.
    Departed(&'a Pod),
    Service(&'a Service),
    Node(&'a Node),
}

impl Snapshot {
    /// Indexes the objects. Of two with the same name the later one counts.
    pub fn new(objects: Objects) -> Self {
        let objects = Store::new(objects);
        let index = Index::new(&objects);
        Self { objects, index, past: Past::default() }
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
            objects.append(snapshot.objects.into_objects());
        }
        Self::new(objects)
    }

    /// The objects alone, in order.
    pub fn into_objects(self) -> Objects {
        self.objects.into_objects()
    }

    /// Makes a change that became known at that time, which is no earlier than that of the change before.
    pub fn apply(&mut self, at: Ktime, change: Change) {
        self.present();
        if let Some(undo) = self.objects.apply(&mut self.index, change) {
            self.past.remember(at, undo);
        }
    }

    /// Makes a change that belongs to the beginning: there is no state before it.
    pub fn begin_with(&mut self, change: Change) {
        self.objects.apply(&mut self.index, change);
    }

    /// Puts the snapshot back to that time, as far as the history goes; whether that made a difference.
    pub fn as_of(&mut self, at: Ktime) -> bool {
        let mut moved = false;
        self.past.put_back_to(at);
        while let Some((then, change)) = self.past.pop_undone(at) {
            moved = true;
            if let Some(undo) = self.objects.apply(&mut self.index, change) {
                self.past.push_done(then, undo);
            }
        }
        while let Some((then, change)) = self.past.pop_done(at) {
            moved = true;
            if let Some(redo) = self.objects.apply(&mut self.index, change) {
                self.past.push_undone(then, redo);
            }
        }
        moved
    }

    /// Brings the snapshot back to the present.
    pub fn present(&mut self) {
        if !self.past.is_present() {
            self.as_of(Ktime::MAX);
        }
    }

    /// How many changes were forgotten before their time because there were too many.
    pub fn forgotten(&self) -> u64 {
        self.past.forgotten()
    }

    /// Whether the snapshot holds exactly this object.
    pub fn holds(&self, object: &Object) -> bool {
        self.objects.holds(object)
    }

    /// Whether there is an object in that place.
    pub fn has(&self, place: &ObjectRef) -> bool {
        self.objects.has(place)
    }

    pub fn count(&self, collection: Collection) -> usize {
        self.objects.len(collection)
    }

    /// The places of all objects of a table.
    pub fn refs(&self, collection: Collection) -> Vec<ObjectRef> {
        self.objects.refs(collection)
    }

    pub fn pods(&self) -> Listed<'_, Pod> {
        self.objects.pods.iter()
    }

    pub fn services(&self) -> Listed<'_, Service> {
        self.objects.services.iter()
    }

    pub fn nodes(&self) -> Listed<'_, Node> {
        self.objects.nodes.iter()
    }

    /// Kinds of which only names are known.
    pub fn others(&self) -> Listed<'_, OtherObject> {
        self.objects.others.iter()
    }

    /// A pod by its UID, or by the config hash that the kubelet uses in place of a static pod's UID in paths; also one
    /// that is gone, as far as the history goes.
    pub fn pod_by_uid(&self, uid: &str) -> Option<&Pod> {
        let known = self.index.pod(uid).and_then(|slot| self.objects.pods.get(slot));
        known.filter(|pod| is_called(pod, uid)).or_else(|| self.past.pod_by_uid(uid))
    }

    /// The pod as it was told soon after the time to which the snapshot is put back: what its containers came to is told
    /// later than it happens.
    pub fn soon_after<'a>(&'a self, pod: &'a Pod) -> &'a Pod {
        self.past.soon_after(&pod.metadata.uid).unwrap_or(pod)
    }

    /// A pod by name; where a deleted and a recreated one are both known, the one that lives, else the newest.
    pub fn pod(&self, namespace: &str, name: &str) -> Option<&Pod> {
        self.objects
            .pods
            .named(namespace, name)
            .max_by_key(|pod| (!pod.is_finished(), pod.metadata.deletion_timestamp.is_none(), created(pod)))
    }

    /// The pods of a namespace, by name.
    pub fn pods_in(&self, namespace: &str) -> Listed<'_, Pod> {
        self.objects.pods.within(namespace)
    }

    /// A Service by name.
    pub fn service(&self, namespace: &str, name: &str) -> Option<&Service> {
        self.objects.services.named(namespace, name).next()
    }

    /// The Services of a namespace, by name.
    pub fn services_in(&self, namespace: &str) -> Listed<'_, Service> {
        self.objects.services.within(namespace)
    }

    /// The NetworkPolicies of a namespace, by name.
    pub fn policies_in(&self, namespace: &str) -> Listed<'_, NetworkPolicy> {
        self.objects.network_policies.within(namespace)
    }

    pub fn namespace(&self, name: &str) -> Option<&Namespace> {
        self.objects.namespaces.named("", name).next()
    }

    pub fn node(&self, name: &str) -> Option<&Node> {
        self.objects.nodes.named("", name).next().or_else(|| self.index.host_named(name))
    }

    /// An owner kind by name, where the dump or watch holds it.
    pub fn controller(&self, kind: ControllerKind, namespace: &str, name: &str) -> Option<&Controller> {
        let controllers = &self.objects.controllers;
        controllers.get(controllers.find((kind.as_str(), namespace, name))?)
    }

    /// The event in that place.
    pub fn event(&self, place: &ObjectRef) -> Option<&Event> {
        let [namespace, name, _] = &place.key;
        self.objects.events.named(namespace, name).next()
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
        let address = address.to_canonical();
        let Some(owner) = self.index.owner(address) else {
            return self.past.pod_at(address).map(AddressOwner::Departed);
        };
        let objects = &self.objects;
        match owner {
            Owner::Pod(slot) => objects.pods.get(slot).map(AddressOwner::Pod),
            Owner::ClusterIp(slot) | Owner::External(slot) => objects.services.get(slot).map(AddressOwner::Service),
            Owner::Node(slot) => objects.nodes.get(slot).map(AddressOwner::Node),
            Owner::Host(slot) => {
                let host = self.index.host(slot)?;
                Some(AddressOwner::Node(self.objects.nodes.named("", &host.metadata.name).next().unwrap_or(host)))
            }
        }
    }

    /// The EndpointSlices of a Service.
    fn slices_of(&self, service: &Service) -> impl Iterator<Item = &EndpointSlice> {
        let (namespace, name) = (&service.metadata.namespace, &service.metadata.name);
        let slots = self.index.slices(namespace, name).iter();
        slots
            .filter_map(|slot| self.objects.endpoint_slices.get(*slot))
            .filter(move |slice| slice.metadata.namespace == *namespace && slice.service_name() == Some(name))
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

/// Whether a plain (`matchLabels` style) selector selects an object with these labels.
fn selects(selector: &Labels, labels: &Labels) -> bool {
    selector.iter().all(|(key, value)| labels.get(key) == Some(value))
}
