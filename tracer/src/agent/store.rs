//! Incidents in memory, bounded, by id.
//!
//! Counts are the sum of what was counted by this process and, after a restart, what an earlier one had written to the
//! journal. Every change has a revision that grows over restarts, too: a reader that knows one asks for what is newer.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};

use rustc_hash::FxHashMap;

use crate::verdict::Incident;

/// An incident, and where it stands.
#[derive(Clone, Debug)]
struct Entry {
    /// With the total count.
    incident: Incident,
    /// What this process's core last said.
    told: u64,
    revision: u64,
}

/// The incidents.
#[derive(Debug)]
pub(super) struct Store {
    max: usize,
    entries: FxHashMap<String, Entry>,
    /// Ids by the revision of their last change.
    by_revision: BTreeMap<u64, String>,
    revision: u64,
}

/// Which incidents are asked for. Empty: all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Query {
    /// Changed after this revision.
    pub(super) after: u64,
    /// RFC 3339, as incidents have it: seen since then.
    pub(super) since: Option<String>,
    /// Path or origin touches this namespace.
    pub(super) namespace: Option<String>,
    /// Id of a cause.
    pub(super) cause: Option<String>,
}

impl Store {
    /// `first_revision` must be larger than any that an earlier process gave: a clock's reading.
    pub(super) fn new(max: usize, first_revision: u64) -> Self {
        Self { max, entries: FxHashMap::default(), by_revision: BTreeMap::new(), revision: first_revision }
    }

    /// What an earlier process knew. Nothing of it counts as new.
    pub(super) fn restore(&mut self, incidents: impl IntoIterator<Item = Incident>) {
        for incident in incidents {
            self.put(Entry { incident, told: 0, revision: 0 });
        }
    }

    /// Takes an incident's new state, with the core's count. Gives how many occurrences are new, and how many incidents
    /// were forgotten for it.
    pub(super) fn update(&mut self, mut incident: Incident) -> (u64, usize) {
        let told = incident.count;
        let mut new = told;
        if let Some(known) = self.entries.get(&incident.id) {
            // A count that shrank: the core had forgotten it and begins anew.
            new = told.checked_sub(known.told).unwrap_or(told);
            incident.count = known.incident.count + new;
            if known.incident.first_seen < incident.first_seen {
                incident.first_seen.clone_from(&known.incident.first_seen);
            }
        }
        (new, self.put(Entry { incident, told, revision: 0 }))
    }

    /// Forgets what hasn't been seen since then (RFC 3339).
    pub(super) fn expire(&mut self, before: &str) {
        let old: Vec<u64> = self
            .entries
            .values()
            .filter(|entry| entry.incident.last_seen.as_str() < before)
            .map(|entry| entry.revision)
            .collect();
        old.into_iter().for_each(|revision| self.remove(revision));
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The latest change.
    pub(super) fn revision(&self) -> u64 {
        self.revision
    }

    /// Incidents with their revisions, newest change first.
    pub(super) fn newest<'a>(&'a self, query: &'a Query) -> impl Iterator<Item = (u64, &'a Incident)> {
        self.by_revision.range((Excluded(query.after), Unbounded)).rev().filter_map(|(revision, id)| {
            let incident = &self.entries.get(id)?.incident;
            query.matches(incident).then_some((*revision, incident))
        })
    }

    /// Copies of what changed after a revision, oldest change first, and the revision up to which that is all.
    pub(super) fn changes(&self, query: &Query, limit: usize) -> (Vec<Incident>, u64) {
        let mut found = Vec::new();
        for (revision, id) in self.by_revision.range((Excluded(query.after), Unbounded)) {
            let Some(entry) = self.entries.get(id).filter(|entry| query.matches(&entry.incident)) else { continue };
            found.push(entry.incident.clone());
            if found.len() == limit {
                return (found, *revision);
            }
        }
        (found, self.revision.max(query.after))
    }

    fn put(&mut self, entry: Entry) -> usize {
        self.revision += 1;
        let entry = Entry { revision: self.revision, ..entry };
        let id = entry.incident.id.clone();
        if let Some(known) = self.entries.get(&id) {
            self.by_revision.remove(&known.revision);
        }
        self.by_revision.insert(entry.revision, id.clone());
        self.entries.insert(id, entry);
        let mut forgotten = 0;
        while self.entries.len() > self.max {
            let Some(oldest) = self.by_revision.keys().next().copied() else { break };
            self.remove(oldest);
            forgotten += 1;
        }
        forgotten
    }

    fn remove(&mut self, revision: u64) {
        if let Some(id) = self.by_revision.remove(&revision) {
            self.entries.remove(&id);
        }
    }
}

impl Query {
    fn matches(&self, incident: &Incident) -> bool {
        self.since.as_ref().is_none_or(|since| incident.last_seen >= *since)
            && self.cause.as_ref().is_none_or(|cause| incident.cause.id == *cause)
            && self.namespace.as_ref().is_none_or(|namespace| incident.touches(namespace))
    }
}

#[cfg(test)]
pub(super) fn incident(id: &str, count: u64, last_seen: &str) -> Incident {
    serde_json::from_value(serde_json::json!({
        "id": id, "first_seen": "2026-03-01T14:00:00.000Z", "last_seen": last_seen, "count": count,
        "symptom": {"kind": "reset"}, "path": [{"namespace": "shop", "pod": "cart-0"}], "evidence": [], "next": [],
        "cause": {"id": "connection-reset", "confidence": 0.9, "summary": "the peer reset it",
                  "origin": {"service": "pay/api"}},
        "coverage": {"lost_events": 0, "opaque_tls_processes": 0, "notes": []}
    }))
    .unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    const T1: &str = "2026-03-01T14:00:01.000Z";
    const T2: &str = "2026-03-01T14:00:02.000Z";

    fn ids(store: &Store, query: &Query) -> Vec<String> {
        store.newest(query).map(|(_, incident)| incident.id.clone()).collect()
    }

    #[test]
    fn counts_add_up_over_restarts_and_nothing_counts_twice() {
        let mut store = Store::new(10, 100);
        store.restore([incident("a", 7, T1)]);
        assert_eq!(store.update(incident("a", 1, T2)), (1, 0));
        assert_eq!(store.update(incident("a", 4, T2)), (3, 0));
        let counts: Vec<u64> = store.newest(&Query::default()).map(|(_, incident)| incident.count).collect();
        assert_eq!(counts, [11]);
        // The core forgot it and begins anew.
        assert_eq!(store.update(incident("a", 2, T2)).0, 2);
    }

    #[test]
    fn bounded_by_number_and_age() {
        let mut store = Store::new(2, 0);
        store.update(incident("a", 1, T1));
        store.update(incident("b", 1, T1));
        store.update(incident("a", 2, T2));
        assert_eq!(store.update(incident("c", 1, T2)), (1, 1));
        assert_eq!(ids(&store, &Query::default()), ["c", "a"]);
        store.expire("2026-03-01T14:00:03.000Z");
        assert_eq!(store.len(), 0);
    }

    #[test]
    fn queries() {
        let mut store = Store::new(10, 0);
        store.update(incident("a", 1, T1));
        let seen = store.revision();
        store.update(incident("b", 1, T2));
        let with = |query: Query| ids(&store, &query);
        assert_eq!(with(Query { after: seen, ..Query::default() }), ["b"]);
        assert_eq!(with(Query { since: Some(T2.into()), ..Query::default() }), ["b"]);
        assert_eq!(with(Query { namespace: Some("shop".into()), ..Query::default() }).len(), 2);
        assert_eq!(with(Query { namespace: Some("pay".into()), ..Query::default() }).len(), 2);
        assert!(with(Query { namespace: Some("web".into()), ..Query::default() }).is_empty());
        assert!(with(Query { cause: Some("app-error".into()), ..Query::default() }).is_empty());
        let (first, at) = store.changes(&Query::default(), 1);
        assert_eq!(first[0].id, "a");
        assert_eq!(store.changes(&Query { after: at, ..Query::default() }, 1).0[0].id, "b");
    }
}
