//! What counts as inside the cluster though nobody has the address.

use super::{ip, snapshot};
use crate::k8s::Snapshot;
use crate::k8s::model::Object;
use crate::k8s::snapshot::Change;

fn slice(endpoints: &str) -> String {
    format!(
        "{{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {{namespace: shop, name: cart-1, \
         labels: {{kubernetes.io/service-name: cart}}}}, addressType: IPv4, endpoints: [{endpoints}]}}"
    )
}

fn service(name: &str, address: &str) -> String {
    format!(
        "--- {{apiVersion: v1, kind: Service, metadata: {{namespace: shop, name: {name}}}, spec: {{clusterIP: '{address}'}}}}\n"
    )
}

#[track_caller]
fn are_inside(snapshot: &Snapshot, expected: &[(&str, bool)]) {
    for (address, inside) in expected {
        assert_eq!(snapshot.is_in_cluster(ip(address)), *inside, "{address}");
    }
}

#[test]
fn what_pods_are_given_is_inside() {
    let node = "{apiVersion: v1, kind: Node, metadata: {name: n}, spec: {podCIDR: 10.9.0.0/24, podCIDRs: [10.9.0.0/24, 'fd09::/64']}}";
    let expected = [("10.9.0.77", true), ("::ffff:10.9.0.1", true), ("fd09::5", true), ("10.9.1.1", false)];
    are_inside(&snapshot(node), &expected);
}

#[test]
fn an_endpoint_of_a_pod_is_inside_and_one_that_people_wrote_is_not() {
    let pods = "{addresses: [10.4.0.7], targetRef: {kind: Pod, name: gone}}, {addresses: [198.51.100.7]}";
    let mut snapshot = snapshot(&slice(pods));
    are_inside(&snapshot, &[("10.4.0.7", true), ("10.4.0.8", false), ("198.51.100.7", false)]);
    let changed = serde_json::to_value(serde_saphyr::from_str::<serde_json::Value>(&slice("")).unwrap()).unwrap();
    snapshot.apply(1, Change::Put(Object::from_value(changed).unwrap()));
    are_inside(&snapshot, &[("10.4.0.7", true), ("198.51.100.7", false)]);
}

#[test]
fn what_lies_between_cluster_ips_is_inside() {
    let two = snapshot(&(service("a", "10.96.0.10") + &service("b", "10.107.3.2") + &service("c", "None")));
    are_inside(&two, &[("10.96.200.1", true), ("10.111.255.254", true), ("10.112.0.1", false), ("10.244.0.7", false)]);
    let v6 = snapshot(&(service("a", "fd00:96::1") + &service("b", "fd00:96::a")));
    are_inside(&v6, &[("fd00:96::7", true), ("fd00:96::10", false), ("10.96.0.7", false)]);
    are_inside(&snapshot(&service("a", "10.96.0.10")), &[("10.96.0.11", false)]);
    // Two ranges: what is between them may be anything.
    let ranges = snapshot(&(service("a", "10.96.0.10") + &service("b", "172.20.0.1")));
    are_inside(&ranges, &[("10.96.0.11", false), ("93.184.216.34", false)]);
}

#[test]
fn addresses_are_near_pods_while_there_are_pods() {
    let pod = |name: &str, more: &str, address: &str| {
        format!(
            "--- {{apiVersion: v1, kind: Pod, metadata: {{namespace: shop, name: {name}}}, spec: {{{more}}}, status: {{podIP: '{address}'}}}}\n"
        )
    };
    let text = pod("a", "", "10.1.2.3") + &pod("b", "hostNetwork: true", "192.168.0.1") + &pod("c", "", "fd00:1::3");
    let mut snapshot = snapshot(&text);
    for (address, near) in
        [("10.1.2.250", true), ("10.1.3.3", false), ("192.168.0.7", false), ("fd00:1::9", true), ("fd00:2::9", false)]
    {
        assert_eq!(snapshot.is_near_pods(ip(address)), near, "{address}");
    }
    let first = snapshot.refs(crate::k8s::snapshot::Collection::Pods).remove(0);
    snapshot.apply(1, Change::Remove(first));
    assert!(!snapshot.is_near_pods(ip("10.1.2.250")));
}
