//! The decision: both directions of one flow.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::peer::peers_admit;
use super::port::ports_admit;
use super::selector::{needs_namespace_object, selector_matches};
use crate::k8s::model::{NetworkPolicy, Peer, Pod, PolicyPort, PolicyType, Protocol};
use crate::k8s::{AddressOwner, Snapshot};

/// One end of a flow.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Party<'a> {
    Pod(&'a Pod),
    /// An address; [`evaluate`] looks up whether it is a pod's.
    Address(IpAddr),
}

/// A flow by its initiator: the SYN's direction. `to` and `port` are what the destination sees, after the Service's
/// address was translated.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Flow<'a> {
    pub from: Party<'a>,
    pub to: Party<'a>,
    pub port: u16,
    pub protocol: Protocol,
}

/// A policy by name; `namespace/name` in every output.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(into = "String", try_from = "String")]
pub struct PolicyRef {
    pub namespace: String,
    pub name: String,
}

/// What the policies of one pod say about one direction. Isolated by none: everything is allowed.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Direction {
    pub isolated_by: Vec<PolicyRef>,
    pub admitted_by: Vec<PolicyRef>,
}

/// Which directions' policies refuse the flow.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Denied {
    Egress,
    Ingress,
    Both,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Evaluation {
    pub allowed: bool,
    /// Of the source pod.
    pub egress: Direction,
    /// Of the destination pod.
    pub ingress: Direction,
    pub denied: Option<Denied>,
    /// Namespaces whose labels a rule asks for but whose object the snapshot doesn't hold: the answer may be wrong.
    pub unknown_namespaces: Vec<String>,
}

impl Direction {
    pub fn is_isolated(&self) -> bool {
        !self.isolated_by.is_empty()
    }

    pub fn admits(&self) -> bool {
        self.isolated_by.is_empty() || !self.admitted_by.is_empty()
    }
}

impl Denied {
    pub fn includes_egress(self) -> bool {
        matches!(self, Self::Egress | Self::Both)
    }

    pub fn includes_ingress(self) -> bool {
        matches!(self, Self::Ingress | Self::Both)
    }
}

impl fmt::Display for PolicyRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl From<PolicyRef> for String {
    fn from(policy: PolicyRef) -> Self {
        policy.to_string()
    }
}

impl TryFrom<String> for PolicyRef {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.split_once('/') {
            Some((namespace, name)) => Ok(Self { namespace: namespace.to_owned(), name: name.to_owned() }),
            None => Err(format!("`{text}` is not a policy's `namespace/name`")),
        }
    }
}

impl<'a> Party<'a> {
    /// The pod, by address where only that is known. Never a `hostNetwork` pod for an address.
    pub fn resolve(self, snapshot: &'a Snapshot) -> Self {
        match self {
            Self::Pod(_) => self,
            Self::Address(address) => match snapshot.owner_of(address) {
                Some(AddressOwner::Pod(pod)) => Self::Pod(pod),
                _ => Self::Address(address.to_canonical()),
            },
        }
    }

    pub fn pod(self) -> Option<&'a Pod> {
        match self {
            Self::Pod(pod) => Some(pod),
            Self::Address(_) => None,
        }
    }

    /// The pod if policies can select it: a plugin can't tell a `hostNetwork` pod from its node.
    pub(super) fn as_selectable_pod(self) -> Option<&'a Pod> {
        self.pod().filter(|pod| !pod.spec.host_network)
    }

    pub(super) fn addresses(self) -> impl Iterator<Item = IpAddr> + 'a {
        let (pod, address) = match self {
            Self::Pod(pod) => (Some(pod), None),
            Self::Address(address) => (None, Some(address)),
        };
        // A hostNetwork pod that reports no address yet still has its node's.
        let host = pod.filter(|pod| pod.spec.host_network).and_then(|pod| pod.status.host_ip);
        pod.into_iter().flat_map(Pod::addresses).chain(host).chain(address)
    }
}

/// Decides a flow by the policies of the snapshot.
pub fn evaluate(snapshot: &Snapshot, flow: &Flow<'_>) -> Evaluation {
    let flow = Flow { from: flow.from.resolve(snapshot), to: flow.to.resolve(snapshot), ..*flow };
    let mut evaluation = Evaluation {
        allowed: true,
        egress: Direction::default(),
        ingress: Direction::default(),
        denied: None,
        unknown_namespaces: Vec::new(),
    };
    let same_pod = match (flow.from, flow.to) {
        (Party::Pod(from), Party::Pod(to)) => std::ptr::eq(from, to) || from.metadata == to.metadata,
        _ => false,
    };
    if same_pod {
        return evaluation;
    }
    let unknown = &mut evaluation.unknown_namespaces;
    if let Some(pod) = flow.from.as_selectable_pod()
        && !is_own_node(snapshot, pod, flow.to)
    {
        evaluation.egress = judge(snapshot, pod, flow.to, &flow, PolicyType::Egress, unknown);
    }
    if let Some(pod) = flow.to.as_selectable_pod()
        && !is_own_node(snapshot, pod, flow.from)
    {
        evaluation.ingress = judge(snapshot, pod, flow.from, &flow, PolicyType::Ingress, unknown);
    }
    unknown.sort();
    unknown.dedup();
    evaluation.denied = match (evaluation.egress.admits(), evaluation.ingress.admits()) {
        (true, true) => None,
        (false, true) => Some(Denied::Egress),
        (true, false) => Some(Denied::Ingress),
        (false, false) => Some(Denied::Both),
    };
    evaluation.allowed = evaluation.denied.is_none();
    evaluation
}

/// Whether the peer is the node the pod runs on, or a `hostNetwork` pod there.
fn is_own_node(snapshot: &Snapshot, pod: &Pod, peer: Party<'_>) -> bool {
    let node = pod.spec.node_name.as_deref().filter(|name| !name.is_empty());
    match peer {
        Party::Pod(peer) => {
            peer.spec.host_network
                && (node.is_some() && peer.spec.node_name.as_deref() == node
                    || pod.status.host_ip.is_some() && peer.status.host_ip == pod.status.host_ip)
        }
        Party::Address(address) => {
            let known = node.and_then(|name| snapshot.node(name));
            pod.status.host_ip.is_some_and(|host| host.to_canonical() == address)
                || known.is_some_and(|node| node.addresses().any(|own| own == address))
        }
    }
}

fn judge(
    snapshot: &Snapshot,
    pod: &Pod,
    peer: Party<'_>,
    flow: &Flow<'_>,
    direction: PolicyType,
    unknown: &mut Vec<String>,
) -> Direction {
    let mut verdict = Direction::default();
    let namespace = pod.metadata.namespace.as_str();
    for policy in snapshot.policies_in(namespace) {
        if !applies_to(policy, direction) || !selector_matches(&policy.spec.pod_selector, &pod.metadata.labels) {
            continue;
        }
        let name = PolicyRef { namespace: namespace.to_owned(), name: policy.metadata.name.clone() };
        if rules(policy, direction).iter().any(|(peers, ports)| {
            note_unknown(snapshot, *peers, peer, unknown);
            peers_admit(snapshot, *peers, namespace, peer) && ports_admit(*ports, flow.to, flow.port, flow.protocol)
        }) {
            verdict.admitted_by.push(name.clone());
        }
        verdict.isolated_by.push(name);
    }
    verdict
}

type Rule<'a> = (Option<&'a [Peer]>, Option<&'a [PolicyPort]>);

/// The rules of a direction as (peers, ports). Absent and empty alike: none, which admits nothing.
fn rules(policy: &NetworkPolicy, direction: PolicyType) -> Vec<Rule<'_>> {
    let spec = &policy.spec;
    match direction {
        PolicyType::Ingress => {
            spec.ingress.iter().flatten().map(|rule| (rule.from.as_deref(), rule.ports.as_deref())).collect()
        }
        PolicyType::Egress => {
            spec.egress.iter().flatten().map(|rule| (rule.to.as_deref(), rule.ports.as_deref())).collect()
        }
    }
}

/// Without `policyTypes` a policy applies to ingress, and to egress if it has an egress rule.
fn applies_to(policy: &NetworkPolicy, direction: PolicyType) -> bool {
    match policy.spec.policy_types.as_deref() {
        Some(types) if !types.is_empty() => types.contains(&direction),
        _ => match direction {
            PolicyType::Ingress => true,
            PolicyType::Egress => policy.spec.egress.as_ref().is_some_and(|rules| !rules.is_empty()),
        },
    }
}

fn note_unknown(snapshot: &Snapshot, peers: Option<&[Peer]>, party: Party<'_>, unknown: &mut Vec<String>) {
    let Some(pod) = party.as_selectable_pod() else { return };
    let asks = |peer: &Peer| peer.namespace_selector.as_ref().is_some_and(needs_namespace_object);
    if peers.is_some_and(|peers| peers.iter().any(asks)) && snapshot.namespace(&pod.metadata.namespace).is_none() {
        unknown.push(pod.metadata.namespace.clone());
    }
}
