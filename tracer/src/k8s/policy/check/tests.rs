//! What `tracer policy check` understands and prints.

use rstest::rstest;

use super::{Report, UsageError, check, matrix};
use crate::k8s::{Snapshot, dump};

const CLUSTER: &str = "
apiVersion: v1
kind: Pod
metadata:
  {namespace: shop, name: cart-5d4, labels: {app: cart, pod-template-hash: 5d4}, ownerReferences: [{kind: ReplicaSet, name: cart-5d4}]}
spec: {nodeName: n1, containers: [{name: c}]}
status: {podIP: 10.1.0.1}
---
apiVersion: v1
kind: Pod
metadata: {namespace: shop, name: redis-0, labels: {app: redis}, ownerReferences: [{kind: StatefulSet, name: redis}]}
spec: {nodeName: n2, containers: [{name: c, ports: [{name: redis, containerPort: 6379}]}]}
status: {podIP: 10.1.0.2, conditions: [{type: Ready, status: 'True'}]}
---
apiVersion: v1
kind: Service
metadata: {namespace: shop, name: redis}
spec: {clusterIP: 10.96.0.9, selector: {app: redis}, ports: [{port: 6379}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: shop, name: default-deny}
spec: {podSelector: {}}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: shop, name: redis-allow-admin}
spec: {podSelector: {matchLabels: {app: redis}}, ingress: [{from: [{podSelector: {matchLabels: {app: admin}}}]}]}
";

fn ask(from: &str, to: &str) -> Result<Report, UsageError> {
    check(&Snapshot::new(dump::parse("test", CLUSTER.as_bytes()).unwrap().objects), from, to)
}

#[test]
fn a_denied_flow_as_text() {
    insta::assert_snapshot!(ask("shop/cart-5d4", "shop/redis-0:redis").unwrap(), @r"
    ✗ denied   shop/cart-5d4 → shop/redis-0:6379/TCP
      egress   no policy stands in the way
      ingress  isolated by shop/default-deny, shop/redis-allow-admin; admitted by none of them
      missing  no rule admits pods labelled app=cart on 6379/TCP
      add      # under spec of a NetworkPolicy that selects shop/redis-0, such as shop/redis-allow-admin
               ingress:
               - from:
                 - podSelector:
                     matchLabels:
                       app: cart
                 ports:
                 - port: 6379
                   protocol: TCP
    ");
}

#[test]
fn an_allowed_flow_as_text() {
    insta::assert_snapshot!(ask("shop/cart-5d4", "8.8.8.8:53/udp").unwrap(), @r"
    ✓ allowed  shop/cart-5d4 → 8.8.8.8:53/UDP
      egress   no policy stands in the way
      ingress  not a pod: no policy applies
    ");
}

#[test]
fn a_denied_flow_as_json() {
    let report = serde_json::to_value(ask("shop/cart-5d4", "10.1.0.2:6379").unwrap()).unwrap();
    let suggestion = report["suggestion"].clone();
    assert!(suggestion.as_str().is_some_and(|yaml| yaml.contains("ingress:")));
    let expected = serde_json::json!({
        "type": "policy-check",
        "schema": "tracer/v1",
        "from": {"namespace": "shop", "pod": "cart-5d4", "workload": "Deployment/cart", "address": "10.1.0.1"},
        "to": {"namespace": "shop", "pod": "redis-0", "workload": "StatefulSet/redis", "address": "10.1.0.2"},
        "port": 6379,
        "protocol": "TCP",
        "allowed": false,
        "egress": {"isolated_by": [], "admitted_by": []},
        "ingress": {"isolated_by": ["shop/default-deny", "shop/redis-allow-admin"], "admitted_by": []},
        "missing": "no rule admits pods labelled app=cart on 6379/TCP",
        "suggestion": suggestion,
    });
    assert_eq!(report, expected);
}

#[test]
fn absent_facts_are_absent_fields() {
    let report = serde_json::to_value(ask("8.8.8.8", "1.1.1.1:53").unwrap()).unwrap();
    for field in ["missing", "suggestion", "notes"] {
        assert!(report.get(field).is_none(), "{field} in {report}");
    }
    assert_eq!(report["from"], serde_json::json!({"address": "8.8.8.8"}));
}

#[rustfmt::skip] // one row a line
#[rstest]
#[case::from_without_namespace("cart", "shop/redis-0:1", "`--from cart`: expected NAMESPACE/POD or an IP address")]
#[case::from_empty("", "shop/redis-0:1", "`--from `: expected NAMESPACE/POD or an IP address")]
#[case::to_without_port("shop/cart-5d4", "shop/redis-0", "`--to shop/redis-0`: expected NAMESPACE/POD:PORT or IP:PORT, optionally with /TCP, /UDP or /SCTP")]
#[case::to_without_namespace("shop/cart-5d4", "redis-0:1", "`--to redis-0:1`: expected NAMESPACE/POD:PORT or IP:PORT, optionally with /TCP, /UDP or /SCTP")]
#[case::port_zero("shop/cart-5d4", "shop/redis-0:0", "`--to shop/redis-0:0`: `0` is neither a port number (1 to 65535) nor the name of a TCP port of that pod")]
#[case::port_name_unknown("shop/cart-5d4", "shop/redis-0:redis/UDP", "`--to shop/redis-0:redis/UDP`: `redis` is neither a port number (1 to 65535) nor the name of a UDP port of that pod")]
#[case::port_too_large("shop/cart-5d4", "10.1.0.2:65536", "`--to 10.1.0.2:65536`: `65536` is neither a port number (1 to 65535) nor the name of a TCP port of that pod")]
#[case::protocol_unknown("shop/cart-5d4", "shop/redis-0:1/HTTP", "`--to shop/redis-0:1/HTTP`: `HTTP` is no protocol; use TCP, UDP or SCTP")]
#[case::pod_unknown("shop/redis-1", "shop/redis-0:1", "no pod `shop/redis-1`; pods in namespace shop: cart-5d4, redis-0")]
#[case::pod_by_workload("shop/cart-5d4", "shop/red:1", "no pod `shop/red`; pods in namespace shop: redis-0, cart-5d4")]
#[case::namespace_unknown("shp/cart", "shop/redis-0:1", "no pod `shp/cart`: the cluster state holds no pod in namespace shp")]
#[case::service_by_name("shop/cart-5d4", "shop/redis:6379", "`shop/redis` is Service shop/redis; policies apply to the pods behind it: try shop/redis-0:6379")]
#[case::service_by_address("shop/cart-5d4", "10.96.0.9:6379", "`10.96.0.9` is Service shop/redis; policies apply to the pods behind it: try shop/redis-0:6379")]
fn what_cannot_be_meant_is_a_usage_error(#[case] from: &str, #[case] to: &str, #[case] expected: &str) {
    assert_eq!(ask(from, to).unwrap_err().to_string(), expected);
}

#[test]
fn a_matrix_says_who_reaches_whom() {
    let admin = "
apiVersion: v1
kind: Pod
metadata: {namespace: ops, name: admin, labels: {app: admin}}
spec: {nodeName: n1, containers: [{name: c}]}
---
apiVersion: v1
kind: Pod
metadata: {namespace: shop, name: admin, labels: {app: admin}}
spec: {nodeName: n1, containers: [{name: c}]}
";
    let mut objects = dump::parse("test", CLUSTER.as_bytes()).unwrap().objects;
    objects.append(dump::parse("test", admin.as_bytes()).unwrap().objects);
    let snapshot = Snapshot::new(objects);
    // The same labels in another namespace admit nobody.
    insta::assert_snapshot!(matrix(&snapshot, "shop").unwrap(), @r"
    shop/StatefulSet/redis:6379/TCP
      ✓ shop/Pod/admin
      ✓ shop/StatefulSet/redis
      ✗ ops/Pod/admin         ingress: shop/default-deny, shop/redis-allow-admin
      ✗ shop/Deployment/cart  ingress: shop/default-deny, shop/redis-allow-admin
      ✗ outside               ingress: shop/default-deny, shop/redis-allow-admin
    ");
    assert!(matrix(&snapshot, "nowhere").is_err());
}
