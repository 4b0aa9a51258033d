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
            ("addresses", self.addresses.len(), 2 * ADDRESSES),
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
{apiVersion: v1, kind: Service, metadata: {namespace: shop, name: one}, spec: {clusterIP: 10.96.0.3, selector: {app: twice}, ports: [{port: 80}]}}
---
{apiVersion: v1, kind: Service, metadata: {namespace: shop, name: two}, spec: {clusterIP: 10.96.0.4, selector: {app: twice}, ports: [{port: 80}]}}
";

/// Whatever translates it: what reaches the wire, or the socket, resolves to the same Service.
#[rstest]
#[case::cluster_ip("10.96.0.2:80", None, Some("cart"))]
#[case::cluster_ip_other_port("10.96.0.2:81", None, Some("cart"))]
#[case::external_ip("203.0.113.5:80", None, Some("cart"))]
#[case::load_balancer("203.0.113.6:80", None, Some("cart"))]
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
        identity.names.insert(address.ip(), name.to_owned());
    }
    let found = identity.service_at(&snapshot, address, Protocol::Tcp);
    assert_eq!(found.map(|service| service.metadata.name.as_str()), expected);
}
