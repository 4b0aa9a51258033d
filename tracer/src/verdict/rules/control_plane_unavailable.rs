//! `control-plane-unavailable`: a call to the Kubernetes API server failed.

use std::net::SocketAddr;

use super::{
    common::{connect_evidence, exchange_evidence, target_label},
    missing::without_endpoints,
};
use crate::{
    correlate::{Chain, ConnectLeaf, ECONNREFUSED, Leaf},
    k8s::{AddressOwner, snapshot::Snapshot},
    verdict::{Context, Judgement, Origin, cause, evidence},
};

/// The Service that every cluster has for its API server.
const SERVICE: (&str, &str) = ("default", "kubernetes");
/// Where kube-apiserver listens unless told otherwise (`--secure-port`).
const SECURE_PORT: u16 = 6443;
/// A connect given up earlier says nothing.
const WAITED_NS: u64 = 400_000_000;

pub(super) fn judge(chain: &Chain<'_>, context: &Context<'_>) -> Option<Judgement> {
    let (target, how, found) = match &chain.leaf {
        Leaf::Connect(leaf) => (&leaf.target, failed(leaf, context)?, connect_evidence(context, leaf)),
        Leaf::Remote(leaf) => {
            let how = leaf.exchange.status().map_or("didn't answer".to_owned(), |status| format!("answered {status}"));
            (&leaf.target, how, exchange_evidence(context, &target_label(&leaf.target), &leaf.exchange))
        }
        Leaf::End(leaf) => {
            let how = if leaf.signal.reset_received { "reset the connection" } else { "never answered" };
            let text = format!("{} {how} of {}", leaf.signal.remote, leaf.signal.local);
            (&leaf.target, how.to_owned(), evidence("connection", context.at(leaf.at), text))
        }
        _ => return None,
    };
    let address = target.address?;
    let service = target.service.is_some_and(|s| (s.metadata.namespace.as_str(), s.metadata.name.as_str()) == SERVICE);
    if !service && !is_api_server(context.snapshot, address) {
        return None;
    }
    let (namespace, name) = SERVICE;
    let summary = format!("the Kubernetes API server ({namespace}/{name}, {address}) {how}");
    let mut found = Judgement::new(cause::CONTROL_PLANE_UNAVAILABLE, 0.95, summary)
        .origin(Origin {
            namespace: Some(namespace.to_owned()),
            service: Some(format!("{namespace}/{name}")),
            address: Some(address.to_string()),
            ..Origin::default()
        })
        .because([found])
        .next("kubectl get --raw '/readyz?verbose'")
        .next("on a control plane node: crictl ps -a --name kube-apiserver");
    if let Some(service) = context.snapshot.service(namespace, name) {
        let endpoints = context.snapshot.endpoints(service);
        let listed: Vec<String> = endpoints.ready.iter().map(|e| e.address.to_string()).collect();
        let text =
            if listed.is_empty() { "no ready endpoint".to_owned() } else { format!("endpoints {}", listed.join(", ")) };
        found = found.because([evidence("service", None, format!("Service {namespace}/{name}: {text}"))]);
    }
    Some(found)
}

/// How a connect failed, unless a filter or a policy on this node had its hand in it.
fn failed(leaf: &ConnectLeaf<'_>, context: &Context<'_>) -> Option<String> {
    if without_endpoints(leaf, context).is_some() {
        return Some("has no endpoint".to_owned());
    }
    // Destination net or host unreachable is what a router says of a machine that is away (RFC 792).
    let filtered = leaf.icmp.as_ref().is_some_and(|(_, icmp)| icmp.ipv6 || icmp.icmp_code > 1);
    if filtered || !leaf.drops.is_empty() {
        return None;
    }
    let c = &leaf.connect;
    let waited = c.syn_retransmits > 0 || c.end_ns.saturating_sub(c.start_ns) >= WAITED_NS;
    match () {
        () if c.reset || c.error == ECONNREFUSED => Some("refuses connects".to_owned()),
        () if c.error != 0 || leaf.icmp.is_some() || waited => Some("doesn't answer connects".to_owned()),
        () => None,
    }
}

/// One of the Service's endpoints, or a node's address and the usual port.
fn is_api_server(snapshot: &Snapshot, address: SocketAddr) -> bool {
    let service = snapshot.service(SERVICE.0, SERVICE.1);
    let endpoint = service.is_some_and(|service| {
        snapshot.endpoints(service).ready.iter().any(|e| {
            e.address == address.ip() && (e.ports.is_empty() || e.ports.iter().any(|p| p.port == address.port()))
        })
    });
    let node = matches!(snapshot.owner_of(address.ip()), Some(AddressOwner::Node(_)));
    endpoint || (node && address.port() == SECURE_PORT)
}
