//! The objects of a snapshot by kind, and the changes to them. A change gives back the change that undoes it.

use serde::{Deserialize, Serialize};

use super::index::Index;
use super::table::{Key, Keyed, Table};
use crate::k8s::model::{
    Controller, EndpointSlice, Endpoints, Event, Namespace, NetworkPolicy, Node, Object, Objects, OtherObject, Pod,
    Service,
};

/// Serializes as [`Objects`] does.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Store {
    #[serde(skip_serializing_if = "Table::is_empty")]
    pub(super) pods: Table<Pod>,
    #[serde(skip_serializing_if = "Table::is_empty")]
    pub(super) services: Table<Service>,
    #[serde(skip_serializing_if = "Table::is_empty")]
    pub(super) endpoint_slices: Table<EndpointSlice>,
    #[serde(skip_serializing_if = "Table::is_empty")]
    pub(super) endpoints: Table<Endpoints>,
    #[serde(skip_serializing_if = "Table::is_empty")]
    pub(super) network_policies: Table<NetworkPolicy>,
    #[serde(skip_serializing_if = "Table::is_empty")]
    pub(super) namespaces: Table<Namespace>,
    #[serde(skip_serializing_if = "Table::is_empty")]
    pub(super) nodes: Table<Node>,
    #[serde(skip_serializing_if = "Table::is_empty")]
    pub(super) events: Table<Event>,
    #[serde(skip_serializing_if = "Table::is_empty")]
    pub(super) controllers: Table<Controller>,
    #[serde(skip_serializing_if = "Table::is_empty")]
    pub(super) others: Table<OtherObject>,
}

/// Which table an object is in.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub enum Collection {
    Pods,
    Services,
    EndpointSlices,
    Endpoints,
    NetworkPolicies,
    Namespaces,
    Nodes,
    Events,
    Controllers,
    Others,
}

/// An object's place: its table, and what tells it from others there.
#[derive(Clone, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub struct ObjectRef {
    #[serde(rename = "in")]
    pub collection: Collection,
    pub key: [String; 3],
}

/// One step of the cluster's state.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// New, or in place of the one of the same name.
    Put(Object),
    Remove(ObjectRef),
}

/// Runs an expression on the table of a collection.
macro_rules! in_table {
    ($store:expr, $collection:expr, $table:ident => $result:expr) => {
        match $collection {
            Collection::Pods => {
                let $table = &$store.pods;
                $result
            }
            Collection::Services => {
                let $table = &$store.services;
                $result
            }
            Collection::EndpointSlices => {
                let $table = &$store.endpoint_slices;
                $result
            }
            Collection::Endpoints => {
                let $table = &$store.endpoints;
                $result
            }
            Collection::NetworkPolicies => {
                let $table = &$store.network_policies;
                $result
            }
            Collection::Namespaces => {
                let $table = &$store.namespaces;
                $result
            }
            Collection::Nodes => {
                let $table = &$store.nodes;
                $result
            }
            Collection::Events => {
                let $table = &$store.events;
                $result
            }
            Collection::Controllers => {
                let $table = &$store.controllers;
                $result
            }
            Collection::Others => {
                let $table = &$store.others;
                $result
            }
        }
    };
}

impl ObjectRef {
    /// Where an object belongs; nowhere if its kind isn't read.
    pub fn of(object: &Object) -> Option<Self> {
        let (collection, key) = match object {
            Object::Pod(object) => (Collection::Pods, object.key()),
            Object::Service(object) => (Collection::Services, object.key()),
            Object::EndpointSlice(object) => (Collection::EndpointSlices, object.key()),
            Object::Endpoints(object) => (Collection::Endpoints, object.key()),
            Object::NetworkPolicy(object) => (Collection::NetworkPolicies, object.key()),
            Object::Namespace(object) => (Collection::Namespaces, object.key()),
            Object::Node(object) => (Collection::Nodes, object.key()),
            Object::Event(object) => (Collection::Events, object.key()),
            Object::Controller(object) => (Collection::Controllers, object.key()),
            Object::Other(object) => (Collection::Others, object.key()),
            Object::Unread(_) => return None,
        };
        Some(Self::new(collection, key))
    }

    fn new(collection: Collection, (first, second, third): Key<'_>) -> Self {
        Self { collection, key: [first, second, third].map(str::to_owned) }
    }

    fn key(&self) -> Key<'_> {
        let [first, second, third] = &self.key;
        (first, second, third)
    }
}

impl Store {
    /// Sorts them. Of two with the same name the later one counts.
    pub(super) fn new(mut objects: Objects) -> Self {
        objects.normalize();
        for at in 1..objects.pods.len() {
            let (before, rest) = objects.pods.split_at_mut(at);
            rest[0].share(&before[at - 1]);
        }
        Self {
            pods: Table::from_sorted(objects.pods),
            services: Table::from_sorted(objects.services),
            endpoint_slices: Table::from_sorted(objects.endpoint_slices),
            endpoints: Table::from_sorted(objects.endpoints),
            network_policies: Table::from_sorted(objects.network_policies),
            namespaces: Table::from_sorted(objects.namespaces),
            nodes: Table::from_sorted(objects.nodes),
            events: Table::from_sorted(objects.events),
            controllers: Table::from_sorted(objects.controllers),
            others: Table::from_sorted(objects.others),
        }
    }

    pub(super) fn into_objects(self) -> Objects {
        Objects {
            pods: self.pods.into_vec(),
            services: self.services.into_vec(),
            endpoint_slices: self.endpoint_slices.into_vec(),
            endpoints: self.endpoints.into_vec(),
            network_policies: self.network_policies.into_vec(),
            namespaces: self.namespaces.into_vec(),
            nodes: self.nodes.into_vec(),
            events: self.events.into_vec(),
            controllers: self.controllers.into_vec(),
            others: self.others.into_vec(),
        }
    }

    pub(super) fn len(&self, collection: Collection) -> usize {
        in_table!(self, collection, table => table.len())
    }

    pub(super) fn has(&self, place: &ObjectRef) -> bool {
        in_table!(self, place.collection, table => table.find(place.key()).is_some())
    }

    pub(super) fn is_empty(&self) -> bool {
        use Collection as C;
        let all = [
            C::Pods,
            C::Services,
            C::EndpointSlices,
            C::Endpoints,
            C::NetworkPolicies,
            C::Namespaces,
            C::Nodes,
            C::Events,
            C::Controllers,
            C::Others,
        ];
        all.into_iter().all(|collection| self.len(collection) == 0)
    }

    pub(super) fn refs(&self, collection: Collection) -> Vec<ObjectRef> {
        in_table!(self, collection, table => {
            table.iter().map(|object| ObjectRef::new(collection, object.key())).collect()
        })
    }

    /// Whether exactly this object is there.
    pub(super) fn holds(&self, object: &Object) -> bool {
        fn same<T: Keyed + PartialEq>(table: &Table<T>, object: &T) -> bool {
            table.find(object.key()).and_then(|slot| table.get(slot)) == Some(object)
        }
        match object {
            Object::Pod(object) => same(&self.pods, object),
            Object::Service(object) => same(&self.services, object),
            Object::EndpointSlice(object) => same(&self.endpoint_slices, object),
            Object::Endpoints(object) => same(&self.endpoints, object),
            Object::NetworkPolicy(object) => same(&self.network_policies, object),
            Object::Namespace(object) => same(&self.namespaces, object),
            Object::Node(object) => same(&self.nodes, object),
            Object::Event(object) => same(&self.events, object),
            Object::Controller(object) => same(&self.controllers, object),
            Object::Other(object) => same(&self.others, object),
            Object::Unread(_) => true,
        }
    }

    /// Makes the change; what undoes it, if there was something to do.
    pub(super) fn apply(&mut self, index: &mut Index, change: Change) -> Option<Change> {
        match change {
            Change::Put(object) => self.put(index, object),
            Change::Remove(place) => self.remove(index, &place).map(Change::Put),
        }
    }

    fn put(&mut self, index: &mut Index, object: Object) -> Option<Change> {
        let place = ObjectRef::of(&object)?;
        /// The object that was replaced.
        fn replace<T: Keyed>(table: &mut Table<T>, object: Box<T>, wrap: impl Fn(Box<T>) -> Object) -> Option<Object> {
            table.put(object).1.map(wrap)
        }
        let old = match object {
            // The indexed kinds leave the index as they were and enter it as they are.
            Object::Pod(mut pod) => {
                // Its former self, and the pods of the same workload, whose names begin alike.
                self.pods.around(place.key()).for_each(|other| pod.share(other));
                let old = self.remove(index, &place);
                let (slot, _) = self.pods.put(pod);
                index.add_pod(self, slot);
                old
            }
            Object::Service(service) => {
                let old = self.remove(index, &place);
                let (slot, _) = self.services.put(service);
                index.add_service(self, slot);
                old
            }
            Object::EndpointSlice(slice) => {
                let old = self.remove(index, &place);
                let (slot, _) = self.endpoint_slices.put(slice);
                index.add_slice(self, slot);
                old
            }
            Object::Node(node) => {
                let old = self.remove(index, &place);
                let (slot, _) = self.nodes.put(node);
                index.add_node(self, slot);
                old
            }
            Object::Endpoints(object) => replace(&mut self.endpoints, object, Object::Endpoints),
            Object::NetworkPolicy(object) => replace(&mut self.network_policies, object, Object::NetworkPolicy),
            Object::Namespace(object) => replace(&mut self.namespaces, object, Object::Namespace),
            Object::Event(object) => replace(&mut self.events, object, Object::Event),
            Object::Controller(object) => replace(&mut self.controllers, object, Object::Controller),
            Object::Other(object) => replace(&mut self.others, object, Object::Other),
            Object::Unread(_) => None,
        };
        Some(old.map_or(Change::Remove(place), Change::Put))
    }

    fn remove(&mut self, index: &mut Index, place: &ObjectRef) -> Option<Object> {
        let key = place.key();
        Some(match place.collection {
            Collection::Pods => {
                index.drop_pod(self, self.pods.find(key)?);
                Object::Pod(self.pods.remove(key)?.1)
            }
            Collection::Services => {
                index.drop_service(self, self.services.find(key)?);
                Object::Service(self.services.remove(key)?.1)
            }
            Collection::EndpointSlices => {
                index.drop_slice(self, self.endpoint_slices.find(key)?);
                Object::EndpointSlice(self.endpoint_slices.remove(key)?.1)
            }
            Collection::Nodes => {
                index.drop_node(self, self.nodes.find(key)?);
                Object::Node(self.nodes.remove(key)?.1)
            }
            Collection::Endpoints => Object::Endpoints(self.endpoints.remove(key)?.1),
            Collection::NetworkPolicies => Object::NetworkPolicy(self.network_policies.remove(key)?.1),
            Collection::Namespaces => Object::Namespace(self.namespaces.remove(key)?.1),
            Collection::Events => Object::Event(self.events.remove(key)?.1),
            Collection::Controllers => Object::Controller(self.controllers.remove(key)?.1),
            Collection::Others => Object::Other(self.others.remove(key)?.1),
        })
    }
}
