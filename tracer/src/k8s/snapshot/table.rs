//! Objects of one kind, in slots that don't move while others come and go, listed in the order of their keys.

use std::cmp::Ordering;

use serde::{Serialize, Serializer};

use crate::k8s::model::{
    Controller, EndpointSlice, Endpoints, Event, Metadata, Namespace, NetworkPolicy, Node, OtherObject, Pod, Service,
};

/// What tells an object from others of its kind, and orders them.
pub(super) type Key<'a> = (&'a str, &'a str, &'a str);

pub(super) trait Keyed {
    fn key(&self) -> Key<'_>;
}

#[derive(Clone, Debug)]
pub(super) struct Table<T> {
    slots: Vec<Option<Box<T>>>,
    free: Vec<u32>,
    order: Vec<u32>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { slots: Vec::new(), free: Vec::new(), order: Vec::new() }
    }
}

impl<T> Table<T> {
    pub(super) fn get(&self, slot: u32) -> Option<&T> {
        self.slots.get(slot as usize)?.as_deref()
    }
}

impl<T: Keyed> Table<T> {
    /// From objects in the order of their keys.
    pub(super) fn from_sorted(objects: Vec<T>) -> Self {
        let order = (0..objects.len()).map(slot).collect();
        Self { slots: objects.into_iter().map(|object| Some(Box::new(object))).collect(), free: Vec::new(), order }
    }

    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    pub(super) fn iter(&self) -> Listed<'_, T> {
        Listed { table: self, slots: self.order.iter() }
    }

    /// With their slots, in the order of their keys.
    pub(super) fn entries(&self) -> impl Iterator<Item = (u32, &T)> {
        self.order.iter().filter_map(|slot| Some((*slot, self.get(*slot)?)))
    }

    pub(super) fn find(&self, key: Key<'_>) -> Option<u32> {
        self.position(key).ok().map(|at| self.order[at])
    }

    /// Those whose key begins so.
    pub(super) fn within(&self, first: &str) -> Listed<'_, T> {
        self.range(|key| key.0.cmp(first))
    }

    /// Those whose key begins with both.
    pub(super) fn named(&self, first: &str, second: &str) -> Listed<'_, T> {
        self.range(|key| (key.0, key.1).cmp(&(first, second)))
    }

    /// Takes the object in, and gives back the one in whose place it is.
    pub(super) fn put(&mut self, object: Box<T>) -> (u32, Option<Box<T>>) {
        match self.position(object.key()) {
            Ok(at) => {
                let slot = self.order[at];
                (slot, self.slots[slot as usize].replace(object))
            }
            Err(at) => {
                let slot = self.free.pop().unwrap_or_else(|| {
                    self.slots.push(None);
                    slot(self.slots.len() - 1)
                });
                self.slots[slot as usize] = Some(object);
                self.order.insert(at, slot);
                (slot, None)
            }
        }
    }

    /// Those that are, or would be, before, at and behind that key.
    pub(super) fn around(&self, key: Key<'_>) -> impl Iterator<Item = &T> {
        let (Ok(at) | Err(at)) = self.position(key);
        let slots = self.order.iter().skip(at.saturating_sub(1)).take(3);
        slots.filter_map(|slot| self.get(*slot))
    }

    pub(super) fn remove(&mut self, key: Key<'_>) -> Option<(u32, Box<T>)> {
        let at = self.position(key).ok()?;
        let slot = self.order.remove(at);
        self.free.push(slot);
        Some((slot, self.slots[slot as usize].take()?))
    }

    pub(super) fn into_vec(mut self) -> Vec<T> {
        let Self { slots, order, .. } = &mut self;
        order.iter().filter_map(|slot| slots[*slot as usize].take()).map(|object| *object).collect()
    }

    fn position(&self, key: Key<'_>) -> Result<usize, usize> {
        self.order.binary_search_by(|slot| self.get(*slot).map(Keyed::key).cmp(&Some(key)))
    }

    fn range(&self, compare: impl Fn(Key<'_>) -> Ordering) -> Listed<'_, T> {
        let of = |slot: &u32| self.get(*slot).map(|object| compare(object.key()));
        let start = self.order.partition_point(|slot| of(slot).is_some_and(Ordering::is_lt));
        let length = self.order[start..].partition_point(|slot| of(slot).is_some_and(Ordering::is_eq));
        Listed { table: self, slots: self.order[start..start + length].iter() }
    }
}

/// Objects of a table, in the order of their keys.
#[derive(Debug)]
pub struct Listed<'a, T> {
    table: &'a Table<T>,
    slots: std::slice::Iter<'a, u32>,
}

impl<T> Clone for Listed<'_, T> {
    fn clone(&self) -> Self {
        Self { table: self.table, slots: self.slots.clone() }
    }
}

impl<'a, T> Iterator for Listed<'a, T> {
    type Item = &'a T;

    fn next(&mut self) -> Option<&'a T> {
        self.slots.find_map(|slot| self.table.get(*slot))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.slots.size_hint()
    }
}

impl<T> DoubleEndedIterator for Listed<'_, T> {
    fn next_back(&mut self) -> Option<Self::Item> {
        let table = self.table;
        self.slots.by_ref().rev().find_map(|slot| table.get(*slot))
    }
}

impl<T> ExactSizeIterator for Listed<'_, T> {}

impl<T: Keyed + PartialEq> PartialEq for Table<T> {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().eq(other.iter())
    }
}

impl<T: Keyed + Serialize> Serialize for Table<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

/// More than four thousand million objects don't fit in memory.
fn slot(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

fn named(metadata: &Metadata) -> Key<'_> {
    (&metadata.namespace, &metadata.name, "")
}

impl Keyed for Pod {
    /// Pods of one name but different uid are different pods: events may refer to either.
    fn key(&self) -> Key<'_> {
        (&self.metadata.namespace, &self.metadata.name, &self.metadata.uid)
    }
}

macro_rules! keyed_by_name {
    ($($kind:ty),*) => {
        $(impl Keyed for $kind {
            fn key(&self) -> Key<'_> {
                named(&self.metadata)
            }
        })*
    };
}

keyed_by_name!(Service, EndpointSlice, Endpoints, NetworkPolicy, Namespace, Node, Event);

impl Keyed for Controller {
    fn key(&self) -> Key<'_> {
        (self.kind.as_str(), &self.metadata.namespace, &self.metadata.name)
    }
}

impl Keyed for OtherObject {
    fn key(&self) -> Key<'_> {
        (&self.kind, &self.metadata.namespace, &self.metadata.name)
    }
}
