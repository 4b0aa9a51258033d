//! What a snapshot answers about a small cluster.

mod history;
mod inside;

use std::net::IpAddr;

use rstest::rstest;

use super::*;
use crate::k8s::dump;
use crate::k8s::model::Protocol;

fn snapshot(yaml: &str) -> Snapshot {
    Snapshot::new(dump::parse("test", yaml.as_bytes()).unwrap().objects)
}

const CLUSTER: &str = "
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Namespace, metadata: {name: shop}}
- {apiVersion: v1, kind: Node, metadata: {name: n1}, status: {addresses: [{type: InternalIP, address: 192.168.0.1}, {type: Hostname, address: n1}]}}
- {apiVersion: v1, kind: Pod, metadata: {namespace: shop, name: cart-5d4-x, uid: u1, labels: {app: cart}}, spec: {nodeName: n1, containers: [{name: c, ports: [{name: http, containerPort: 8080}]}]},
   status: {phase: Running, podIP: 10.1.0.1, podIPs: [{ip: 10.1.0.1}, {ip: 'fd00::1'}], hostIP: 192.168.0.1, conditions: [{type: Ready, status: 'True'}]}}
- {apiVersion: v1, kind: Pod, metadata: {namespace: shop, name: cart-5d4-y, uid: u2, labels: {app: cart}}, spec: {nodeName: n2, containers: [{name: c, ports: [{name: http, containerPort: 9090}]}]},
   status: {phase: Running, podIP: 10.1.0.2, hostIP: 192.168.0.2, conditions: [{type: Ready, status: 'False'}]}}
- {apiVersion: v1, kind: Pod, metadata: {namespace: shop, name: job-1, uid: u3, labels: {app: cart}}, spec: {nodeName: n1, containers: [{name: c}]}, status: {phase: Succeeded, podIP: 10.1.0.1}}
- {apiVersion: v1, kind: Pod, metadata: {namespace: kube-system, name: etcd-n1, uid: mirror, annotations: {kubernetes.io/config.hash: 0123456789abcdef0123456789abcdef, note: dropped}}, spec: {nodeName: n1, hostNetwork: true, containers: [{name: c}]},
   status: {phase: Running, podIP: 192.168.0.1, podIPs: [{ip: 192.168.0.1}, {ip: 'fd01::1'}], hostIP: 192.168.0.1}}
- {apiVersion: v1, kind: Service, metadata: {namespace: shop, name: cart}, spec: {clusterIP: 10.96.0.1, clusterIPs: [10.96.0.1, 'fd02::1'], externalIPs: [203.0.113.1], selector: {app: cart}, ports: [{name: http, port: 80, targetPort: http, nodePort: 30080}, {name: m, port: 81, targetPort: 9000}, {name: p, port: 82}]},
   status: {loadBalancer: {ingress: [{ip: 203.0.113.2}, {hostname: lb}]}}}
- {apiVersion: v1, kind: Service, metadata: {namespace: shop, name: other}, spec: {clusterIP: 10.96.0.2, selector: {app: other}, externalIPs: [203.0.113.1, 192.168.0.1], ports: [{port: 443}]}}
- {apiVersion: v1, kind: Service, metadata: {namespace: shop, name: headless}, spec: {clusterIP: None, selector: {app: cart}, ports: [{port: 80}]}}
- {apiVersion: v1, kind: Service, metadata: {namespace: kube-system, name: kube-dns, labels: {k8s-app: kube-dns}}, spec: {clusterIP: 10.96.0.10, selector: {k8s-app: kube-dns}, ports: [{name: dns, port: 53, protocol: UDP}, {name: dns-tcp, port: 53}]}}
";

fn owner(snapshot: &Snapshot, address: &str) -> String {
    match snapshot.owner_of(address.parse().unwrap()) {
        Some(AddressOwner::Pod(pod)) => format!("pod {}", pod.metadata.name),
        Some(AddressOwner::Service(service)) => format!("service {}", service.metadata.name),
        Some(AddressOwner::Node(node)) => format!("node {}", node.metadata.name),
        Some(AddressOwner::Departed(pod)) => format!("departed {}", pod.metadata.name),
        None => "nobody".to_owned(),
    }
}

#[rstest]
#[case::pod_not_the_finished_one_before_it("10.1.0.1", "pod cart-5d4-x")]
#[case::second_family("fd00::1", "pod cart-5d4-x")]
#[case::mapped("::ffff:10.1.0.2", "pod cart-5d4-y")]
#[case::cluster_ip("10.96.0.1", "service cart")]
#[case::cluster_ip_second_family("fd02::1", "service cart")]
#[case::external_ip("203.0.113.1", "service cart")]
#[case::load_balancer("203.0.113.2", "service cart")]
#[case::node_not_its_host_network_pod("192.168.0.1", "node n1")]
#[case::node_that_only_a_pod_names("192.168.0.2", "node n2")]
#[case::node_address_that_only_a_host_network_pod_shows("fd01::1", "node n1")]
#[case::outside("8.8.8.8", "nobody")]
fn an_address_has_an_owner(#[case] address: &str, #[case] expected: &str) {
    let snapshot = snapshot(CLUSTER);
    assert_eq!(owner(&snapshot, address), expected);
    assert_eq!(snapshot.is_in_cluster(address.parse().unwrap()), expected != "nobody");
}

#[rstest]
#[case::cluster_ip("10.96.0.1", 80, Some("cart"))]
#[case::cluster_ip_without_that_port("10.96.0.1", 8888, Some("cart"))]
#[case::shared_external_ip_by_port("203.0.113.1", 443, Some("other"))]
#[case::node_port("192.168.0.1", 30080, Some("cart"))]
#[case::external_ip_that_is_a_node("192.168.0.1", 443, Some("other"))]
#[case::node_without_service("192.168.0.1", 22, None)]
#[case::pod("10.1.0.1", 80, None)]
fn a_service_is_found_by_address_and_port(#[case] address: &str, #[case] port: u16, #[case] expected: Option<&str>) {
    let snapshot = snapshot(CLUSTER);
    let found = snapshot.service_at(address.parse().unwrap(), port, Protocol::Tcp);
    assert_eq!(found.map(|service| service.metadata.name.as_str()), expected);
}

#[test]
fn pods_are_found_by_uid_hash_and_name() {
    let snapshot = snapshot(CLUSTER);
    let name = |pod: Option<&Pod>| pod.map(|pod| pod.metadata.name.clone());
    assert_eq!(name(snapshot.pod_by_uid("u2")).as_deref(), Some("cart-5d4-y"));
    assert_eq!(name(snapshot.pod_by_uid("mirror")).as_deref(), Some("etcd-n1"));
    let etcd = snapshot.pod_by_uid("0123456789abcdef0123456789abcdef").unwrap();
    assert_eq!(etcd.metadata.name, "etcd-n1");
    assert!(!etcd.metadata.annotations.contains_key("note"), "annotations nobody uses are not kept");
    assert_eq!(name(snapshot.pod("shop", "job-1")).as_deref(), Some("job-1"));
    assert_eq!((snapshot.pod("shop", "etcd-n1"), snapshot.pod_by_uid("")), (None, None));
}

#[test]
fn of_two_pods_with_one_name_the_living_one_is_meant() {
    let pod = |uid: &str, phase: &str, created: &str| {
        format!(
            "---\napiVersion: v1\nkind: Pod\nmetadata: {{namespace: a, name: web-0, uid: {uid}, creationTimestamp: '{created}'}}\nstatus: {{phase: {phase}, podIP: 10.0.0.1}}\n"
        )
    };
    let yaml = pod("a", "Failed", "2026-11-22T10:00:00Z")
        + &pod("c", "Running", "2026-11-22T09:00:00Z")
        + &pod("b", "Running", "2026-11-22T08:00:00Z");
    let snapshot = snapshot(&yaml);
    assert_eq!(snapshot.pod("a", "web-0").unwrap().metadata.uid, "c");
    assert_eq!(snapshot.pod_by_uid("a").unwrap().metadata.uid, "a");
    let AddressOwner::Pod(pod) = snapshot.owner_of("10.0.0.1".parse().unwrap()).unwrap() else { panic!("no pod") };
    assert_eq!(pod.metadata.uid, "c");
}

#[test]
fn services_select_pods_and_resolve_their_ports() {
    let snapshot = snapshot(CLUSTER);
    let service = snapshot.service("shop", "cart").unwrap();
    let pods = snapshot.selected_pods(service);
    assert_eq!(pods.iter().map(|pod| pod.metadata.name.as_str()).collect::<Vec<_>>(), ["cart-5d4-x", "cart-5d4-y"]);
    let target =
        |port, pod| snapshot.target_port(service, snapshot.service_port(service, port, Protocol::Tcp).unwrap(), pod);
    assert_eq!((target(80, pods[0]), target(80, pods[1])), (Some(8080), Some(9090)), "a name differs by pod");
    assert_eq!((target(81, pods[0]), target(82, pods[0])), (Some(9000), Some(82)));
    assert_eq!(target(80, snapshot.pod("shop", "job-1").unwrap()), None);
    assert_eq!(snapshot.service_port(service, 80, Protocol::Udp), None);
    let services = snapshot.services_of_pod(pods[0]);
    assert_eq!(services.iter().map(|s| s.metadata.name.as_str()).collect::<Vec<_>>(), ["cart", "headless"]);
    let is_dns = |namespace, name| snapshot.is_dns_service(snapshot.service(namespace, name).unwrap());
    assert!(is_dns("kube-system", "kube-dns") && !is_dns("shop", "cart"));
    assert!(snapshot.service("shop", "headless").unwrap().is_headless());
}

fn addresses(endpoints: &[Endpoint]) -> Vec<(IpAddr, u16, Option<&str>)> {
    endpoints.iter().map(|e| (e.address, e.ports.first().map_or(0, |port| port.port), e.pod.as_deref())).collect()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn endpoints_are_derived_from_pods_when_nothing_records_them() {
    let snapshot = snapshot(CLUSTER);
    let endpoints = snapshot.endpoints(snapshot.service("shop", "cart").unwrap());
    assert_eq!(endpoints.source, EndpointSource::Pods);
    assert_eq!(addresses(&endpoints.ready), [(ip("10.1.0.1"), 8080, Some("cart-5d4-x"))]);
    assert_eq!(addresses(&endpoints.not_ready), [(ip("10.1.0.2"), 9090, Some("cart-5d4-y"))]);
    let none = snapshot.endpoints(snapshot.service("shop", "other").unwrap());
    assert!(none.ready.is_empty() && none.not_ready.is_empty() && none.is_known());
}

#[test]
fn endpoint_slices_are_believed_first() {
    let slices = "
---
{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {namespace: shop, name: cart-1, labels: {kubernetes.io/service-name: cart}}, addressType: IPv4,
 ports: [{name: http, port: 8080}], endpoints: [
  {addresses: [10.1.0.1], conditions: {ready: true}, targetRef: {kind: Pod, name: cart-5d4-x}, nodeName: n1},
  {addresses: [10.1.0.3], conditions: {}},
  {addresses: [10.1.0.2], conditions: {ready: false, serving: true, terminating: true}, targetRef: {kind: Pod, name: cart-5d4-y}}]}
---
{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {namespace: shop, name: cart-2, labels: {kubernetes.io/service-name: cart}}, addressType: IPv6, ports: null, endpoints: null}
---
{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {namespace: shop, name: a, labels: {kubernetes.io/service-name: cart-extra}}, addressType: IPv4, endpoints: [{addresses: [10.9.9.9]}]}
---
{apiVersion: v1, kind: Endpoints, metadata: {namespace: shop, name: cart}, subsets: [{addresses: [{ip: 10.8.8.8}], ports: [{port: 1}]}]}
";
    let snapshot = snapshot(&format!("{CLUSTER}{slices}"));
    let endpoints = snapshot.endpoints(snapshot.service("shop", "cart").unwrap());
    assert_eq!(endpoints.source, EndpointSource::EndpointSlices);
    assert_eq!(addresses(&endpoints.ready), [(ip("10.1.0.1"), 8080, Some("cart-5d4-x")), (ip("10.1.0.3"), 8080, None)]);
    assert_eq!(addresses(&endpoints.not_ready), [(ip("10.1.0.2"), 8080, Some("cart-5d4-y"))]);
    assert!(endpoints.not_ready[0].terminating);
    assert!(snapshot.endpoints(snapshot.service("shop", "other").unwrap()).ready.is_empty());
}

#[test]
fn endpoints_objects_are_believed_where_there_are_no_slices() {
    let object = "
---
{apiVersion: v1, kind: Endpoints, metadata: {namespace: shop, name: cart}, subsets: [
  {addresses: [{ip: 10.1.0.1, targetRef: {kind: Pod, name: cart-5d4-x}}], notReadyAddresses: [{ip: 10.1.0.2}], ports: [{port: 8080}]}]}
---
{apiVersion: v1, kind: Service, metadata: {namespace: shop, name: manual}, spec: {clusterIP: 10.96.0.7, ports: [{port: 1}]}}
---
{apiVersion: v1, kind: Endpoints, metadata: {namespace: shop, name: manual}, subsets: [{addresses: [{ip: 10.1.0.2}], ports: [{port: 1}]}]}
";
    let snapshot = snapshot(&format!("{CLUSTER}{object}"));
    let endpoints = snapshot.endpoints(snapshot.service("shop", "cart").unwrap());
    assert_eq!(endpoints.source, EndpointSource::Endpoints);
    assert_eq!(addresses(&endpoints.ready), [(ip("10.1.0.1"), 8080, Some("cart-5d4-x"))]);
    assert_eq!(addresses(&endpoints.not_ready), [(ip("10.1.0.2"), 8080, None)]);
    let behind = snapshot.services_of_pod(snapshot.pod("shop", "cart-5d4-y").unwrap());
    assert!(behind.iter().any(|service| service.metadata.name == "manual"), "without a selector by endpoint");
}

#[test]
fn a_service_without_selector_and_record_is_unknown_not_empty() {
    let snapshot = snapshot("apiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec: {ports: [{port: 1}]}");
    assert!(!snapshot.endpoints(snapshot.service("default", "s").unwrap()).is_known());
}

#[rstest]
#[case::deployment(
    "{ownerReferences: [{kind: ReplicaSet, name: web-6b8c9d7f5, controller: true}], labels: {pod-template-hash: 6b8c9d7f5}}",
    "Deployment/web"
)]
#[case::deployment_with_a_made_up_hash(
    "{ownerReferences: [{kind: ReplicaSet, name: web-abc}], labels: {pod-template-hash: abc}}",
    "Deployment/web"
)]
#[case::deployment_by_shape("{ownerReferences: [{kind: ReplicaSet, name: web-api-6b8c9d7f5}]}", "Deployment/web-api")]
#[case::bare_replica_set("{ownerReferences: [{kind: ReplicaSet, name: web-canary}]}", "ReplicaSet/web-canary")]
#[case::replica_set_whose_owner_is_known(
    "{ownerReferences: [{kind: ReplicaSet, name: known-6b8c9d7f5}]}",
    "Rollout/known"
)]
#[case::replica_set_known_to_have_no_owner(
    "{ownerReferences: [{kind: ReplicaSet, name: alone-6b8c9d7f5}]}",
    "ReplicaSet/alone-6b8c9d7f5"
)]
#[case::stateful_set("{ownerReferences: [{kind: StatefulSet, name: redis}]}", "StatefulSet/redis")]
#[case::daemon_set("{ownerReferences: [{kind: DaemonSet, name: agent}]}", "DaemonSet/agent")]
#[case::job("{ownerReferences: [{kind: Job, name: migrate}]}", "Job/migrate")]
#[case::job_with_a_short_number("{ownerReferences: [{kind: Job, name: migrate-2026}]}", "Job/migrate-2026")]
#[case::cron_job("{ownerReferences: [{kind: Job, name: backup-29384720}]}", "CronJob/backup")]
#[case::custom("{ownerReferences: [{kind: Cluster, name: pg}]}", "Cluster/pg")]
#[case::controller_among_owners(
    "{ownerReferences: [{kind: Other, name: o}, {kind: StatefulSet, name: redis, controller: true}]}",
    "StatefulSet/redis"
)]
#[case::static_pod("{ownerReferences: [{kind: Node, name: n1, controller: true}]}", "Pod/p")]
#[case::bare("{}", "Pod/p")]
fn a_pod_has_a_workload(#[case] metadata: &str, #[case] expected: &str) {
    let metadata = metadata.replacen('{', "{namespace: a, name: p, ", 1).replace(", }", "}");
    let snapshot = snapshot(&format!(
        "{{apiVersion: v1, kind: List, items: [
          {{apiVersion: v1, kind: Pod, metadata: {metadata}}},
          {{apiVersion: apps/v1, kind: ReplicaSet, metadata: {{namespace: a, name: alone-6b8c9d7f5}}}},
          {{apiVersion: apps/v1, kind: ReplicaSet, metadata: {{namespace: a, name: known-6b8c9d7f5, ownerReferences: [{{kind: Rollout, name: known}}]}}}}]}}"
    ).replacen('{', "--- {", 1));
    assert_eq!(snapshot.workload(snapshot.pod("a", "p").unwrap()).to_string(), expected);
}

/// A Service `cart` with this selector, and pods with these labels; the near misses as `workload key wanted found`.
fn near_misses(selector: &str, pods: &[(&str, &str)], more: &str) -> Vec<String> {
    let mut yaml =
        format!("--- {{apiVersion: v1, kind: Service, metadata: {{name: cart}}, spec: {{selector: {selector}}}}}\n");
    for (name, labels) in pods {
        yaml += &format!("--- {{apiVersion: v1, kind: Pod, metadata: {{name: {name}, labels: {labels}}}}}\n");
    }
    let snapshot = snapshot(&(yaml + more));
    let misses = snapshot.near_misses(snapshot.service("default", "cart").unwrap());
    misses
        .iter()
        .map(|miss| {
            format!("{} {}={} {}", miss.pod.metadata.name, miss.key, miss.wanted, miss.found.as_deref().unwrap_or("-"))
        })
        .collect()
}

#[rstest]
#[case::case_differs("{app: Cart}", &[("c", "{app: cart}"), ("r", "{app: redis}")], &["c app=Cart cart"])]
#[case::dash_differs("{app: shop-cart}", &[("c", "{app: shop_cart}")], &["c app=shop-cart shop_cart"])]
#[case::typing_error("{app: cart}", &[("c", "{app: crat}")], &["c app=cart crat"])]
#[case::other_key("{app: cart}", &[("c", "{app.kubernetes.io/name: cart}")], &["c app=cart -"])]
#[case::one_label_of_two("{app: cart, version: v2}", &[("c", "{app: cart, version: v1}")], &["c version=v2 v1"])]
#[case::one_label_missing("{app: cart, tier: web}", &[("c", "{app: cart}")], &["c tier=web -"])]
#[case::named_like_the_service("{app: basket}", &[("cart", "{app: kart}"), ("redis", "{app: redis}")], &["cart app=basket kart"])]
#[case::extended("{app: cart}", &[("c", "{app: cart-v2}"), ("r", "{app: cartographer}")], &["c app=cart cart-v2"])]
#[case::unrelated("{app: cart}", &[("r", "{app: redis}"), ("b", "{}")], &[])]
#[case::short_values_are_not_alike("{v: v1}", &[("c", "{v: v2}")], &[])]
#[case::selected_after_all("{app: cart}", &[("c", "{app: cart}"), ("d", "{app: Cart}")], &[])]
#[case::best_first("{app: cart, tier: web}", &[("a", "{app: other, tier: web}"), ("b", "{app: Cart, tier: web}")], &["b app=cart Cart", "a app=cart other"])]
fn near_misses_name_the_label(#[case] selector: &str, #[case] pods: &[(&str, &str)], #[case] expected: &[&str]) {
    assert_eq!(near_misses(selector, pods, ""), expected);
}

#[test]
fn components_of_the_same_application_are_no_near_misses() {
    let redis =
        "--- {apiVersion: v1, kind: Service, metadata: {name: redis}, spec: {selector: {app: redis, part: shop}}}\n";
    assert!(near_misses("{app: cart, part: shop}", &[("r", "{app: redis, part: shop}")], redis).is_empty());
    let scaled_to_zero = "--- {apiVersion: apps/v1, kind: Deployment, metadata: {name: cart}, spec: {replicas: 0, template: {metadata: {labels: {app: cart}}}}}\n";
    assert!(near_misses("{app: cart}", &[("r", "{app: Cart}")], scaled_to_zero).is_empty());
}

#[test]
fn near_misses_are_one_for_each_workload_and_five_at_most() {
    let names: Vec<String> = (0..9).map(|at| format!("p{at}")).collect();
    let pods: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "{app: Cart}")).collect();
    assert_eq!(near_misses("{app: cart}", &pods, "").len(), 5);
}

#[test]
fn a_snapshot_survives_serialization_whatever_the_order_was() {
    let first = snapshot(CLUSTER);
    let mut reversed = first.clone().into_objects();
    reversed.pods.reverse();
    reversed.services.reverse();
    let json = serde_json::to_string(&first).unwrap();
    assert_eq!(serde_json::to_string(&Snapshot::new(reversed)).unwrap(), json);
    let again: Snapshot = serde_json::from_str(&json).unwrap();
    assert_eq!(again, first);
    assert_eq!(owner(&again, "192.168.0.2"), "node n2");
    assert_eq!(Snapshot::merge([first.clone(), again]), first);
}

#[test]
fn an_empty_snapshot_answers_nothing() {
    let empty = Snapshot::empty();
    assert!(empty.is_empty() && !empty.is_in_cluster(ip("10.0.0.1")));
    assert_eq!((empty.pod("a", "b"), empty.pod_by_uid("u")), (None, None));
    assert_eq!(serde_json::to_string(&empty).unwrap(), "{}");
}

#[test]
fn events_are_found_by_object_in_order_of_time() {
    let event = |name: &str, time: &str| {
        format!(
            "--- {{apiVersion: v1, kind: Event, metadata: {{namespace: a, name: {name}}}, involvedObject: {{kind: Pod, namespace: a, name: p}}, reason: {name}, lastTimestamp: '{time}'}}\n"
        )
    };
    let newer = "--- {apiVersion: events.k8s.io/v1, kind: Event, metadata: {namespace: a, name: n}, regarding: {kind: Pod, namespace: a, name: p}, note: text, reason: n, eventTime: '2026-11-22T10:30:00.1Z'}\n";
    let snapshot = snapshot(&(event("y", "2026-11-22T11:00:00Z") + &event("x", "2026-11-22T10:00:00Z") + newer));
    let reasons: Vec<_> = snapshot.events_of("Pod", "a", "p").iter().map(|event| event.reason.as_str()).collect();
    assert_eq!(reasons, ["x", "n", "y"]);
}
