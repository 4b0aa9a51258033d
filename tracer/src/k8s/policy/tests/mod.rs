//! The cluster that the policy tests share, and what is said about a decision; the decisions are in [`table`].

mod table;

use std::fmt::Write as _;

use rstest::rstest;

use super::check::check;
use super::*;
use crate::k8s::model::Protocol;
use crate::k8s::{Snapshot, dump};

/// Two namespaces with objects, one (`ghost`) without; pods on two nodes; `admin/cart` has the labels of `shop/cart`.
const CLUSTER: &str = "
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {team: shop, kubernetes.io/metadata.name: shop}}}
- {apiVersion: v1, kind: Namespace, metadata: {name: admin, labels: {team: admin}}}
- {apiVersion: v1, kind: Node, metadata: {name: n1}, status: {addresses: [{type: InternalIP, address: 192.168.0.1}]}}
- {apiVersion: v1, kind: Node, metadata: {name: n2}, status: {addresses: [{type: InternalIP, address: 192.168.0.2}]}}
- apiVersion: v1
  kind: Pod
  metadata: {namespace: shop, name: cart, uid: c1, labels: {app: cart, tier: web, pod-template-hash: 5d4f}}
  spec: {nodeName: n1, containers: [{name: c, ports: [{name: http, containerPort: 8080}]}]}
  status: {phase: Running, podIP: 10.1.0.1, hostIP: 192.168.0.1}
- apiVersion: v1
  kind: Pod
  metadata: {namespace: shop, name: redis, uid: r1, labels: {app: redis, tier: db}}
  spec:
    nodeName: n2
    containers: [{name: c, ports: [{name: redis, containerPort: 6379}, {name: dns, containerPort: 53, protocol: UDP}]}]
    initContainers:
    - {name: metrics, restartPolicy: Always, ports: [{name: metrics, containerPort: 9121}]}
    - {name: setup, ports: [{name: setup, containerPort: 9999}]}
  status: {phase: Running, podIP: 10.1.0.2, podIPs: [{ip: 10.1.0.2}, {ip: 'fd00::2'}], hostIP: 192.168.0.2}
- apiVersion: v1
  kind: Pod
  metadata: {namespace: shop, name: bare, uid: b1}
  spec: {nodeName: n1, containers: [{name: c}]}
  status: {phase: Running, podIP: 10.1.0.3, hostIP: 192.168.0.1}
- apiVersion: v1
  kind: Pod
  metadata: {namespace: shop, name: hostnet, uid: h1, labels: {app: cart}}
  spec: {nodeName: n1, hostNetwork: true, containers: [{name: c}]}
  status: {phase: Running, podIP: 192.168.0.1, hostIP: 192.168.0.1}
- apiVersion: v1
  kind: Pod
  metadata: {namespace: admin, name: cart, uid: a1, labels: {app: cart, tier: web}}
  spec: {nodeName: n1, containers: [{name: c, ports: [{name: http, containerPort: 9090}]}]}
  status: {phase: Running, podIP: 10.1.1.1, hostIP: 192.168.0.1}
- apiVersion: v1
  kind: Pod
  metadata: {namespace: ghost, name: cart, uid: g1, labels: {app: cart}}
  spec: {nodeName: n1, containers: [{name: c}]}
  status: {phase: Running, podIP: 10.1.2.1, hostIP: 192.168.0.1}
";

/// The cluster with policies given one a line, as `namespace: {spec}`.
fn cluster(policies: &str) -> Snapshot {
    let mut yaml = CLUSTER.to_owned();
    for (at, line) in policies.lines().map(str::trim).filter(|line| !line.is_empty()).enumerate() {
        let (namespace, spec) = line.split_once(": ").unwrap();
        write!(
            yaml,
            "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n\
             metadata: {{namespace: {namespace}, name: p{at}}}\nspec: {spec}\n"
        )
        .unwrap();
    }
    Snapshot::new(dump::parse("test", yaml.as_bytes()).unwrap().objects)
}

fn flow<'a>(snapshot: &'a Snapshot, from: (&str, &str), to: (&str, &str), port: u16) -> Flow<'a> {
    Flow {
        from: Party::Pod(snapshot.pod(from.0, from.1).unwrap()),
        to: Party::Pod(snapshot.pod(to.0, to.1).unwrap()),
        port,
        protocol: Protocol::Tcp,
    }
}

#[test]
fn the_evaluation_names_who_isolates_and_who_admits() {
    let snapshot = cluster(
        "shop: {podSelector: {}, policyTypes: [Ingress, Egress]}
         shop: {podSelector: {matchLabels: {app: redis}}, ingress: [{from: [{podSelector: {matchLabels: {app: cart}}}]}]}
         shop: {podSelector: {matchLabels: {app: cart}}, egress: [{}]}",
    );
    let evaluation = evaluate(&snapshot, &flow(&snapshot, ("shop", "cart"), ("shop", "redis"), 6379));
    let names = |policies: &[PolicyRef]| policies.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert!(evaluation.allowed);
    assert_eq!(names(&evaluation.egress.isolated_by), ["shop/p0", "shop/p2"]);
    assert_eq!(names(&evaluation.egress.admitted_by), ["shop/p2"]);
    assert_eq!(names(&evaluation.ingress.isolated_by), ["shop/p0", "shop/p1"]);
    assert_eq!(names(&evaluation.ingress.admitted_by), ["shop/p1"]);
    assert_eq!(evaluation.denied, None);
}

#[rustfmt::skip] // one row a line
#[rstest]
#[case::ingress("shop: {podSelector: {matchLabels: {app: redis}}}", "shop/cart", "shop/redis:6379", "no rule admits pods labelled app=cart on 6379/TCP")]
#[case::egress("shop: {podSelector: {matchLabels: {app: cart}}, policyTypes: [Egress]}", "shop/cart", "shop/redis:53/UDP", "no egress rule admits traffic to pods labelled app=redis on 53/UDP")]
#[case::both("shop: {podSelector: {}, policyTypes: [Ingress, Egress]}", "shop/cart", "shop/redis:1", "no egress rule admits traffic to pods labelled app=redis on 1/TCP; no rule admits pods labelled app=cart on 1/TCP")]
#[case::other_namespace("shop: {podSelector: {}}", "admin/cart", "shop/redis:1", "no rule admits pods labelled app=cart in namespace admin on 1/TCP")]
#[case::without_labels("shop: {podSelector: {}}", "shop/bare", "shop/redis:1", "no rule admits pod bare (without labels) on 1/TCP")]
#[case::outside("shop: {podSelector: {}}", "8.8.8.8", "shop/redis:1", "no rule admits address 8.8.8.8 on 1/TCP")]
#[case::host_network("shop: {podSelector: {}}", "shop/hostnet", "shop/redis:1", "no rule admits host-network pod shop/hostnet (its node's address 192.168.0.1) on 1/TCP")]
fn the_missing_allow_is_said(#[case] policies: &str, #[case] from: &str, #[case] to: &str, #[case] expected: &str) {
    assert_eq!(check(&cluster(policies), from, to).unwrap().missing.as_deref(), Some(expected));
}

#[test]
fn a_suggestion_is_a_rule_to_paste() {
    let snapshot = cluster("shop: {podSelector: {}}\nshop: {podSelector: {matchLabels: {app: redis}}, ingress: []}");
    let report = check(&snapshot, "admin/cart", "shop/redis:6379").unwrap();
    insta::assert_snapshot!(report.suggestion.unwrap(), @r"
    # under spec of a NetworkPolicy that selects shop/redis, such as shop/p1
    ingress:
    - from:
      - podSelector:
          matchLabels:
            app: cart
        namespaceSelector:
          matchLabels:
            kubernetes.io/metadata.name: admin
      ports:
      - port: 6379
        protocol: TCP
    ");
}

#[test]
fn labels_that_only_look_like_other_types_are_quoted() {
    let mut snapshot = cluster("shop: {podSelector: {}}").into_objects();
    for pod in &mut snapshot.pods {
        pod.metadata.labels = pod.metadata.labels.with("app", "1");
    }
    let report = check(&Snapshot::new(snapshot), "shop/cart", "shop/redis:1").unwrap();
    assert!(report.suggestion.unwrap().contains("        app: \"1\"\n"));
}

#[test]
fn rules_that_need_an_unknown_namespace_say_so() {
    let asks = "shop: {podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {team: x}}}]}]}";
    let snapshot = cluster(asks);
    let unknown = |from| evaluate(&snapshot, &flow(&snapshot, (from, "cart"), ("shop", "redis"), 1)).unknown_namespaces;
    assert_eq!(unknown("ghost"), ["ghost"]);
    assert!(unknown("admin").is_empty());
}
