//! `local-traffic-policy`: the Service has ready endpoints, but sends traffic of this kind to those of one node only, and
//! that node has none. kube-proxy drops such connects (a rule "has no local endpoints", in nftables mode a map's verdict).

use super::common::{connect_evidence, drop_evidence};
use crate::{
    correlate::{Chain, ConnectLeaf, Leaf, service_name},
    k8s::{AddressOwner, model::Service},
    verdict::{Context, Judgement, Origin, cause, evidence},
};

const LOCAL: Option<&str> = Some("Local");

pub(super) fn judge(chain: &Chain<'_>, context: &Context<'_>) -> Option<Judgement> {
    let Leaf::Connect(leaf) = &chain.leaf else { return None };
    let service = leaf.target.service?;
    if leaf.connect.reset || leaf.refusal.is_some() || leaf.drop_pod.is_some() {
        return None;
    }
    let (field, node) = policy(leaf, service, context)?;
    // What was translated had an endpoint.
    if leaf.drops.iter().any(|(_, d)| d.source == leaf.connect.local && d.destination != leaf.connect.remote) {
        return None;
    }
    let endpoints = context.snapshot.endpoints(service);
    // Terminating ones may still be used where no other is left (KEP-1669).
    let usable = endpoints.ready.iter().chain(endpoints.not_ready.iter().filter(|e| e.terminating));
    if endpoints.ready.is_empty() || usable.into_iter().any(|e| e.node.as_ref().is_none_or(|n| *n == node)) {
        return None;
    }
    let mut elsewhere: Vec<&str> = endpoints.ready.iter().filter_map(|e| e.node.as_deref()).collect();
    elsewhere.sort_unstable();
    elsewhere.dedup();
    let name = service_name(service);
    let summary = format!("Service {name} has {field} Local and no ready endpoint on node {node}");
    let text = format!("Service {name}: {field}: Local; its ready endpoints are on {}", elsewhere.join(", "));
    let (namespace, short) = (&service.metadata.namespace, &service.metadata.name);
    let confidence = if leaf.drops.is_empty() { 0.9 } else { 0.96 };
    let mut found = Judgement::new(cause::LOCAL_TRAFFIC_POLICY, confidence, summary)
        .origin(Origin {
            namespace: Some(namespace.clone()),
            service: Some(name.clone()),
            node: Some(node),
            address: Some(leaf.connect.remote.to_string()),
            ..Origin::default()
        })
        .because([evidence("service", None, text).with("policy", field), connect_evidence(context, leaf)])
        .next(format!("kubectl -n {namespace} get endpointslices -l kubernetes.io/service-name={short} -o wide"))
        .next(format!("kubectl -n {namespace} edit service {short}"));
    if let Some((at, drop)) = leaf.drops.first() {
        found = found.because([drop_evidence(context, *at, drop, None)]);
    }
    Some(found)
}

/// The policy that the connect is subject to, and the node whose endpoints count.
fn policy(leaf: &ConnectLeaf<'_>, service: &Service, context: &Context<'_>) -> Option<(&'static str, String)> {
    let remote = leaf.connect.remote;
    if service.is_at(remote.ip()) {
        let declared = service.spec.ports.iter().any(|p| p.port == remote.port());
        let local = declared && service.spec.internal_traffic_policy.as_deref() == LOCAL;
        return Some(("internalTrafficPolicy", context.node_of_netns(leaf.connect.netns)?)).filter(|_| local);
    }
    // A node's own pods and processes reach node ports whatever the policy; another node's drop isn't seen here.
    let Some(AddressOwner::Node(node)) = context.snapshot.owner_of(remote.ip()) else { return None };
    let name = &node.metadata.name;
    let local = service.spec.external_traffic_policy.as_deref() == LOCAL;
    let elsewhere = context.node_of_netns(leaf.connect.netns).is_some_and(|own| own != *name) && leaf.drops.is_empty();
    (local && elsewhere).then(|| ("externalTrafficPolicy", name.clone()))
}
