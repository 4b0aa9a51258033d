//! Peers of a rule: pods by selector, addresses by block.

use std::net::IpAddr;

use super::evaluate::Party;
use super::selector::{namespace_labels, selector_matches};
use crate::k8s::Snapshot;
use crate::k8s::model::{IpBlock, Peer};

/// Whether a rule's `from` or `to` admits the party. Absent and empty alike admit everyone.
pub(super) fn peers_admit(snapshot: &Snapshot, peers: Option<&[Peer]>, namespace: &str, party: Party<'_>) -> bool {
    match peers {
        None | Some([]) => true,
        Some(peers) => peers.iter().any(|peer| peer_admits(snapshot, peer, namespace, party)),
    }
}

/// `namespace` is the policy's own, where a pod selector without a namespace selector looks.
fn peer_admits(snapshot: &Snapshot, peer: &Peer, namespace: &str, party: Party<'_>) -> bool {
    let Peer { pod_selector, namespace_selector, ip_block } = peer;
    if let Some(block) = ip_block {
        // The API refuses a peer with both a block and selectors.
        return party.addresses().any(|address| block_admits(block, address));
    }
    let Some(pod) = party.as_selectable_pod() else { return false };
    let in_namespace = match namespace_selector {
        Some(selector) => selector_matches(selector, &namespace_labels(snapshot, &pod.metadata.namespace)),
        None => pod.metadata.namespace == namespace,
    };
    match (pod_selector, namespace_selector) {
        (Some(selector), _) => in_namespace && selector_matches(selector, &pod.metadata.labels),
        (None, Some(_)) => in_namespace,
        // An empty peer, which the API refuses: it names nobody.
        (None, None) => false,
    }
}

fn block_admits(block: &IpBlock, address: IpAddr) -> bool {
    block.cidr.contains(&address) && !block.except.iter().any(|except| except.contains(&address))
}
