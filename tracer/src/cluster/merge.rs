//! One list of incidents out of several nodes' lists.
//!
//! 1. A hop that two nodes saw has the same key on both; of an incident that recurs, some keys of its occurrences are
//!    known. Where one node's path passes a hop at which another node's path begins, the other node saw what came of it:
//!    its part of the path, its cause and its evidence go on from there.
//! 2. The same id from several nodes is the same failure of the same workloads: the counts add up.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::verdict::{Hop, Incident, cause};

/// An incident, and who saw it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Merged {
    #[serde(flatten)]
    pub incident: Incident,
    pub nodes: Vec<String>,
}

/// Merges what nodes told; the latest first.
pub fn merge(told: Vec<(String, Incident)>) -> Vec<Merged> {
    let continued = continuations(&told);
    let parts: BTreeSet<usize> = continued.iter().flatten().copied().collect();
    let mut by_id: BTreeMap<String, Merged> = BTreeMap::new();
    let whole = (0..told.len()).filter(|at| !parts.contains(at));
    let mut passed = BTreeSet::new();
    // Of services that call each other in a circle, every one's is a part of another one's: one of them begins it.
    for at in whole.chain(parts.iter().copied()) {
        if passed.contains(&at) {
            continue;
        }
        let (node, incident) = &told[at];
        let mut merged = Merged { incident: incident.clone(), nodes: vec![node.clone()] };
        let mut here = BTreeSet::from([at]);
        let mut next = continued[at];
        while let Some(part) = next.filter(|part| here.insert(*part)) {
            let (node, deeper) = &told[part];
            go_on(&mut merged, node, deeper);
            next = continued[part];
        }
        passed.append(&mut here);
        match by_id.get_mut(&merged.incident.id) {
            Some(known) => add(known, merged),
            None => {
                by_id.insert(merged.incident.id.clone(), merged);
            }
        }
    }
    let mut found: Vec<_> = by_id.into_values().collect();
    found.sort_by(|a, b| {
        b.incident.last_seen.cmp(&a.incident.last_seen).then_with(|| a.incident.id.cmp(&b.incident.id))
    });
    found
}

/// Of each incident, the other node's incident that begins at a hop of its path.
fn continuations(told: &[(String, Incident)]) -> Vec<Option<usize>> {
    let mut beginnings: BTreeMap<&String, Vec<usize>> = BTreeMap::new();
    for (at, (_, incident)) in told.iter().enumerate() {
        for key in incident.path.first().into_iter().flat_map(keys) {
            beginnings.entry(key).or_default().push(at);
        }
    }
    let continuation = |(node, incident): &(String, Incident)| {
        let begin_there = incident.path.iter().skip(1).flat_map(keys).filter_map(|key| beginnings.get(key)).flatten();
        let others = begin_there.copied().filter(|other| {
            let (of, other) = &told[*other];
            // Where both begin with it, none is the outer one.
            of != node && joint(incident, other).is_some_and(|at| at > 0)
        });
        others.min()
    };
    told.iter().map(continuation).collect()
}

/// Where in a path the other path begins: the first hop of which they have an occurrence in common.
fn joint(incident: &Incident, deeper: &Incident) -> Option<usize> {
    let first = deeper.path.first()?;
    let same = |hop: &Hop| keys(first).any(|key| keys(hop).any(|other| other == key));
    incident.path.iter().position(same)
}

/// The keys of a hop's occurrences that are known.
fn keys(hop: &Hop) -> impl Iterator<Item = &String> {
    hop.key.iter().chain(&hop.keys)
}

fn go_on(merged: &mut Merged, node: &str, deeper: &Incident) {
    let incident = &mut merged.incident;
    if let Some(at) = joint(incident, deeper) {
        let link = incident.path[at].link;
        incident.path.truncate(at);
        let joined = incident.path.len();
        incident.path.extend(deeper.path.iter().cloned());
        incident.path[joined].link = link;
    }
    // A cause that was found beats one that wasn't.
    if deeper.cause.id != cause::UNKNOWN || incident.cause.id == cause::UNKNOWN {
        incident.cause = deeper.cause.clone();
        incident.evidence.clone_from(&deeper.evidence);
        incident.next.clone_from(&deeper.next);
    }
    incident.coverage.lost_events += deeper.coverage.lost_events;
    if !merged.nodes.iter().any(|known| known == node) {
        merged.nodes.push(node.to_owned());
    }
}

fn add(known: &mut Merged, other: Merged) {
    known.incident.count += other.incident.count;
    if other.incident.first_seen < known.incident.first_seen {
        known.incident.first_seen = other.incident.first_seen;
    }
    if other.incident.last_seen > known.incident.last_seen {
        known.incident.last_seen = other.incident.last_seen;
    }
    let new: Vec<_> = other.nodes.into_iter().filter(|node| !known.nodes.contains(node)).collect();
    known.nodes.extend(new);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn incident(id: &str, cause: &str, path: &[(&str, Option<&str>)]) -> Incident {
        let hops: Vec<_> = path
            .iter()
            .map(|(pod, key)| match key {
                Some(key) => json!({"pod": pod, "key": key, "outcome": "500"}),
                None => json!({"pod": pod}),
            })
            .collect();
        serde_json::from_value(json!({
            "id": id, "first_seen": "2026-03-01T14:00:00.000Z", "last_seen": "2026-03-01T14:00:01.000Z", "count": 2,
            "symptom": {"kind": "http-5xx"}, "path": hops, "evidence": [], "next": [],
            "cause": {"id": cause, "confidence": 0.9, "summary": cause},
            "coverage": {"lost_events": 0, "opaque_tls_processes": 0, "notes": []}
        }))
        .unwrap()
    }

    fn pods(merged: &Merged) -> Vec<&str> {
        merged.incident.path.iter().filter_map(|hop| hop.pod.as_deref()).collect()
    }

    #[test]
    fn a_path_goes_on_where_the_other_node_saw_more() {
        let told = vec![
            ("b".to_owned(), incident("2", "no-listener", &[("cart", Some("k2")), ("redis", None)])),
            ("a".to_owned(), incident("1", "unknown", &[("client", None), ("web", Some("k1")), ("cart", Some("k2"))])),
        ];
        let [merged] = &merge(told)[..] else { panic!("not one") };
        assert_eq!(pods(merged), ["client", "web", "cart", "redis"]);
        assert_eq!(
            (merged.incident.cause.id.as_str(), &merged.nodes),
            ("no-listener", &vec!["a".to_owned(), "b".to_owned()])
        );
        assert_eq!(merged.incident.count, 2);
    }

    #[test]
    fn any_occurrence_joins_them() {
        let mut outer = incident("1", "unknown", &[("client", None), ("cart", Some("k1"))]);
        let mut deeper = incident("2", "app-error", &[("cart", Some("k5"))]);
        outer.path[1].keys = vec!["k2".to_owned(), "k3".to_owned()];
        deeper.path[0].keys = vec!["k3".to_owned()];
        let told = |deeper: &Incident| vec![("a".to_owned(), outer.clone()), ("b".to_owned(), deeper.clone())];
        assert_eq!(merge(told(&deeper)).len(), 1);
        deeper.path[0].keys.clear();
        assert_eq!(merge(told(&deeper)).len(), 2);
    }

    #[test]
    fn over_three_nodes_and_not_over_one() {
        let told = vec![
            ("a".to_owned(), incident("1", "unknown", &[("client", None), ("web", Some("k1"))])),
            ("b".to_owned(), incident("2", "unknown", &[("web", Some("k1")), ("cart", Some("k2"))])),
            ("c".to_owned(), incident("3", "app-error", &[("cart", Some("k2"))])),
        ];
        let [merged] = &merge(told)[..] else { panic!("not one") };
        assert_eq!(pods(merged), ["client", "web", "cart"]);
        assert_eq!(merged.incident.cause.id, "app-error");
        // What one node told itself stays as it told it.
        let same = |id: &str| ("a".to_owned(), incident(id, "app-error", &[("cart", Some("k2"))]));
        assert_eq!(merge(vec![same("1"), same("2")]).len(), 2);
    }

    #[test]
    fn a_circle_is_told_once() {
        let told = vec![
            ("a".to_owned(), incident("1", "unknown", &[("web", Some("k1")), ("cart", Some("k2"))])),
            ("b".to_owned(), incident("2", "app-error", &[("cart", Some("k2")), ("web", Some("k1"))])),
        ];
        let [merged] = &merge(told)[..] else { panic!("not one") };
        assert_eq!((merged.incident.cause.id.as_str(), merged.nodes.len()), ("app-error", 2));
    }

    #[test]
    fn the_same_failure_on_two_nodes_adds_up() {
        let told = vec![
            ("a".to_owned(), incident("1", "app-error", &[("cart", Some("k1"))])),
            ("b".to_owned(), incident("1", "app-error", &[("cart", Some("k2"))])),
        ];
        let [merged] = &merge(told)[..] else { panic!("not one") };
        assert_eq!((merged.incident.count, merged.nodes.len()), (4, 2));
    }
}
