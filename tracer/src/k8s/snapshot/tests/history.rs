//! The snapshot as it was.

use super::*;

fn object(yaml: &str) -> Object {
    Object::from_value(serde_saphyr::from_str(yaml).unwrap()).unwrap()
}

fn pod(name: &str, phase: &str, address: &str) -> Object {
    object(&format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{namespace: shop, name: {name}, uid: uid-{name}, labels: {{app: cart}}}}, \
         spec: {{nodeName: n9, containers: [{{name: c}}]}}, status: {{phase: {phase}, podIP: {address}, hostIP: 192.168.0.9}}}}"
    ))
}

fn remove(object: &Object) -> Change {
    Change::Remove(ObjectRef::of(object).unwrap())
}

#[test]
fn an_address_is_whose_it_was() {
    let mut snapshot = snapshot(CLUSTER);
    let (old, new) = (pod("old", "Running", "10.1.7.7"), pod("new", "Running", "10.1.7.7"));
    snapshot.apply(10, Change::Put(old.clone()));
    snapshot.apply(20, remove(&old));
    assert_eq!(owner(&snapshot, "10.1.7.7"), "departed old");
    assert_eq!(snapshot.pod_by_uid("uid-old").unwrap().metadata.name, "old");
    snapshot.apply(30, Change::Put(new));
    for (at, expected) in [(9, "nobody"), (10, "pod old"), (25, "departed old"), (30, "pod new"), (12, "pod old")] {
        snapshot.as_of(at);
        assert_eq!(owner(&snapshot, "10.1.7.7"), expected, "at {at}");
        assert_eq!(
            owner(&snapshot, "192.168.0.9"),
            if (10..20).contains(&at) || at >= 30 { "node n9" } else { "nobody" }
        );
    }
    snapshot.present();
    assert_eq!(owner(&snapshot, "10.1.7.7"), "pod new");
}

#[test]
fn going_back_and_forth_changes_nothing() {
    let first = snapshot(CLUSTER);
    let mut snapshot = first.clone();
    let all = first.clone().into_objects();
    let mut objects: Vec<Object> = all.pods.into_iter().map(|pod| Object::Pod(Box::new(pod))).collect();
    objects.extend(all.services.into_iter().map(|service| Object::Service(Box::new(service))));
    objects.extend(all.nodes.into_iter().map(|node| Object::Node(Box::new(node))));
    for (at, object) in (1..).zip(&objects) {
        snapshot.apply(at, remove(object));
    }
    assert!(snapshot.pods().next().is_none() && owner(&snapshot, "10.96.0.1") == "nobody");
    assert!(snapshot.as_of(0));
    assert_eq!(snapshot, first);
    for address in ["10.1.0.1", "fd00::1", "10.96.0.1", "203.0.113.1", "192.168.0.1", "192.168.0.2", "fd01::1"] {
        assert_eq!(owner(&snapshot, address), owner(&first, address), "{address}");
    }
    snapshot.present();
    assert_eq!(snapshot.count(Collection::Services), 0);
}

#[test]
fn what_befell_a_pod_is_known_a_moment_later_but_not_for_ever() {
    const SECOND: Ktime = 1_000_000_000;
    let mut snapshot = Snapshot::empty();
    for (at, phase) in [(1, "Pending"), (12, "Running"), (40, "Failed")] {
        snapshot.apply(at * SECOND, Change::Put(pod("a", phase, "10.1.7.7")));
    }
    snapshot.as_of(10 * SECOND);
    let then = snapshot.pod_by_uid("uid-a").unwrap();
    assert_eq!((then.status.phase.as_str(), snapshot.soon_after(then).status.phase.as_str()), ("Pending", "Running"));
}

#[test]
fn history_is_bounded_by_time_and_number() {
    let mut snapshot = Snapshot::empty();
    for at in 0..past::KEEP as Ktime + 5 {
        snapshot.apply(at, Change::Put(pod("a", if at % 2 == 0 { "Running" } else { "Pending" }, "10.1.7.7")));
    }
    assert_eq!(snapshot.forgotten(), 5);
    snapshot.apply(past::KEEP_NS * 2, remove(&pod("a", "Running", "10.1.7.7")));
    snapshot.as_of(0);
    // Only the last change is recent enough to be undone.
    assert_eq!(owner(&snapshot, "10.1.7.7"), "pod a");
}
