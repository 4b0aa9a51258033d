use std::net::SocketAddr;

use rstest::rstest;

use super::*;
use crate::k8s::dump;

impl Identity {
    /// What is held, and the most that may be.
    pub(crate) fn held(&self) -> [(&'static str, usize, usize); 8] {
        [
            ("cgroups", self.cgroups.len(), 2 * CGROUPS),
            ("logs", self.logs.len(), 2 * PODS),
            ("processes", self.processes.len(), 2 * PROCESSES),
            ("comms", self.comms.len(), 2 * CGROUPS),
            ("netns", self.netns.len(), 2 * NAMESPACES),
            ("netns_pods", self.netns_pods.len(), 2 * NAMESPACES),
            ("addresses", self.servers.len(), 2 * ADDRESSES),
            ("names", self.names.len(), 2 * ADDRESSES),
        ]
    }
}

const CLUSTER: &str = "
{apiVersion: v1, kind: Node, metadata: {name: n1}, status: {addresses: [{type: InternalIP, address: 192.168.0.1}]}}
---
{apiVersion: v1, kind: Pod, metadata: {namespace: shop, name: redis-0, labels: {app: redis}}, status: {phase: Running, podIP: 10.1.0.1}}
---
{apiVersion: v1, kind: Pod, metadata: {namespace: shop, name: cart, labels: {app: cart}}, status: {phase: Running, podIP: 10.1.0.2}}
---
{apiVersion: v1, kind: Pod, metadata: {namespace: shop, name: twice, labels: {app: twice}}, status: {phase: Running, podIP: 10.1.0.3}}
---
{apiVersion: v1, kind: Service, metadata: {namespace: shop, name: redis}, spec: {clusterIP: 10.96.0.1, selector: {app: redis}, ports: [{port: 6379}]}}
---
{apiVersion: v1, kind: Service, metadata: {namespace: shop, name: redis-headless}, spec: {clusterIP: None, selector: {app: redis}, ports: [{port: 6379}]}}
---
{apiVersion: v1, kind: Service, metadata: {namespace: shop, name: cart}, spec: {clusterIP: 10.96.0.2, selector: {app: cart}, ports: [{port: 80, targetPort: 8080, nodePort: 30080}],
  externalIPs: [203.0.113.5]}, status: {loadBalancer: {ingress: [{ip: 203.0.113.6}]}}}
---
{apiVersion: v1, kind: Service, metadata: {namespace: shop, name: one}, spec: {clusterIP: 10.96.0.3, selector: {app: twice}, ports: [{port: 80}, {port: 443}]},
  status: {loadBalancer: {ingress: [{ip: 203.0.113.7}]}}}
---
{apiVersion: v1, kind: Service, metadata: {namespace: shop, name: two}, spec: {clusterIP: 10.96.0.4, selector: {app: twice}, ports: [{port: 80}, {port: 8443}]},
  status: {loadBalancer: {ingress: [{ip: 203.0.113.7}]}}}
";

/// Whatever translates it: what reaches the wire, or the socket, resolves to the same Service.
#[rstest]
#[case::cluster_ip("10.96.0.2:80", None, Some("cart"))]
#[case::cluster_ip_other_port("10.96.0.2:81", None, Some("cart"))]
#[case::external_ip("203.0.113.5:80", None, Some("cart"))]
#[case::load_balancer("203.0.113.6:80", None, Some("cart"))]
#[case::shared_load_balancer("203.0.113.7:443", None, Some("one"))]
#[case::shared_load_balancer_other_port("203.0.113.7:8443", None, Some("two"))]
#[case::shared_load_balancer_unknown_port("203.0.113.7:9999", None, None)]
#[case::node_port("192.168.0.1:30080", None, Some("cart"))]
#[case::node("192.168.0.1:22", None, None)]
#[case::translated_by_the_socket("10.1.0.2:8080", None, Some("cart"))]
#[case::pod_on_another_port("10.1.0.2:9090", None, None)]
#[case::translated_beside_a_headless_service("10.1.0.1:6379", None, Some("redis"))]
#[case::headless("10.1.0.1:6379", Some("redis-headless.shop.svc.cluster.local"), Some("redis-headless"))]
#[case::pod_of_a_headless_service(
    "10.1.0.1:6379",
    Some("redis-0.redis-headless.shop.svc.cluster.local"),
    Some("redis-headless")
)]
#[case::another_services_name("10.1.0.1:6379", Some("predis.shop.svc.cluster.local"), None)]
#[case::two_services("10.1.0.3:80", None, None)]
#[case::outside("198.51.100.1:80", None, None)]
fn a_service_by_what_was_connected_to(
    #[case] address: &str,
    #[case] name: Option<&str>,
    #[case] expected: Option<&str>,
) {
    let snapshot = Snapshot::new(dump::parse("test", CLUSTER.as_bytes()).unwrap().objects);
    let address: SocketAddr = address.parse().unwrap();
    let mut identity = Identity::new(1);
    if let Some(name) = name {
        identity.names.learn(1, address.ip(), name);
    }
    let found = identity.service_at(&snapshot, None, address, Protocol::Tcp);
    assert_eq!(found.map(|service| service.metadata.name.as_str()), expected);
}

const POD_UIDS: [&str; 2] = ["9c6bb9e9-ee48-47f9-83a1-7e108e5b2838", "bff3d977-3c55-4526-8cb7-fc70fbec34cf"];

/// Knows two pods' containers, cgroups 1 and 2, and a process of the node, cgroup 3, in the network namespace 30.
fn inhabited() -> Identity {
    let mut identity = Identity::new(1);
    for (id, uid) in [1, 2].into_iter().zip(POD_UIDS) {
        identity.learn(&Event::Cgroup { id, path: format!("/kubepods/pod{uid}/{id:064x}") });
    }
    identity.learn(&Event::Cgroup { id: 3, path: "/system.slice/sshd.service".to_owned() });
    let cgroup = Some("/system.slice/sshd.service".to_owned());
    identity.learn(&Event::Host(HostFact::Process { tgid: 1, comm: "sshd".to_owned(), exe: None, cgroup, netns: 30 }));
    identity
}

/// Who answered on port 9100 of an address is taken for who should have on 8080 only if the address is nobody else's.
#[rstest]
#[case::pods_own("10.9.0.1", &[(1, 10)], Some(1))]
#[case::pods_own_again("10.9.0.1", &[(1, 10), (1, 10)], Some(1))]
#[case::pods_own_of_the_snapshot("10.1.0.2", &[(1, 10)], Some(1))]
#[case::address_of_a_node("192.168.0.1", &[(1, 30)], None)]
#[case::address_of_a_service("203.0.113.6", &[(1, 10)], None)]
#[case::namespace_of_the_node("10.9.0.1", &[(1, 30)], None)]
#[case::no_container("10.9.0.1", &[(3, 31)], None)]
#[case::two_pods("10.9.0.1", &[(1, 10), (2, 10)], None)]
#[case::two_pods_in_turn("10.9.0.1", &[(1, 10), (2, 10), (1, 10)], None)]
#[case::pod_and_process("10.9.0.1", &[(3, 10), (1, 10)], None)]
fn who_is_at_another_port(#[case] address: &str, #[case] served: &[(u64, u32)], #[case] expected: Option<u64>) {
    let snapshot = Snapshot::new(dump::parse("test", CLUSTER.as_bytes()).unwrap().objects);
    let mut identity = inhabited();
    let address: IpAddr = address.parse().unwrap();
    for (cgroup, netns) in served {
        identity.serves((address, 9100).into(), *cgroup, *netns);
    }
    let last = served.last().map(|(cgroup, _)| *cgroup);
    assert_eq!(identity.cgroup_at(&snapshot, (address, 9100).into()), last, "where it answered");
    assert_eq!(identity.cgroup_at(&snapshot, (address, 8080).into()), expected);
}

#[test]
fn a_name_is_the_askers_or_everybodys() {
    let mut identity = inhabited();
    let address: IpAddr = "198.51.100.7".parse().unwrap();
    let mut resolve = |cgroup: u64, name: &str| {
        let dns = serde_json::from_value(serde_json::json!({
            "role": "client", "cgroup": cgroup, "netns": 1, "local": "10.1.0.5:57148", "remote": "10.96.0.10:53",
            "actor": {"tgid": 1, "tid": 1}, "comm": "app", "start_ns": 0, "end_ns": 0, "transmissions": 1, "tcp": false,
            "name": name, "query_type": "A", "rcode": 0, "addresses": [address]
        }));
        identity.learn(&Event::Dns(dns.unwrap()));
        [Some(1), Some(2), Some(3), None].map(|asker| identity.dns_name(asker, address).map(str::to_owned))
    };
    let names = |names: [Option<&str>; 4]| names.map(|name| name.map(str::to_owned));
    let (storage, events) = (Some("storage.example"), Some("pubsub.example"));
    assert_eq!(resolve(1, "storage.example"), names([storage; 4]), "nobody has another name for it");
    assert_eq!(resolve(2, "pubsub.example"), names([storage, events, None, None]));
    assert_eq!(resolve(2, "pubsub.example"), names([storage, events, None, None]));
    assert_eq!(resolve(1, "pubsub.example"), names([None, events, None, None]), "either may be meant");
}
