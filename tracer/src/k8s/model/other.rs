//! Kinds of which little more than the name is known: named beside a verdict, never judged by.

use serde::{Deserialize, Serialize};

use super::{Metadata, Route};

/// Kinds with their API groups. Not every cluster has them, and none is needed.
const KINDS: [(&str, &str); 11] = [
    ("Ingress", "networking.k8s.io"),
    ("HTTPRoute", "gateway.networking.k8s.io"),
    ("AdminNetworkPolicy", "policy.networking.k8s.io"),
    ("BaselineAdminNetworkPolicy", "policy.networking.k8s.io"),
    ("ClusterNetworkPolicy", "policy.networking.k8s.io"),
    ("CiliumNetworkPolicy", "cilium.io"),
    ("CiliumClusterwideNetworkPolicy", "cilium.io"),
    ("NetworkPolicy", "crd.projectcalico.org"),
    ("GlobalNetworkPolicy", "crd.projectcalico.org"),
    ("NetworkPolicy", "projectcalico.org"),
    ("GlobalNetworkPolicy", "projectcalico.org"),
];

/// An object of which only its name is kept, and where it sends requests.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OtherObject {
    pub api_version: String,
    pub kind: String,
    pub metadata: Metadata,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<Route>,
}

impl OtherObject {
    pub(super) fn is_read(api_version: &str, kind: &str) -> bool {
        let group = api_version.split_once('/').map_or("", |(group, _)| group);
        KINDS.contains(&(kind, group))
    }

    /// Whether it may drop packets that NetworkPolicies admit.
    pub fn is_policy(&self) -> bool {
        self.kind.ends_with("NetworkPolicy")
    }

    /// `CiliumNetworkPolicy shop/deny-all`.
    pub fn label(&self) -> String {
        let Metadata { namespace, name, .. } = &self.metadata;
        if namespace.is_empty() { format!("{} {name}", self.kind) } else { format!("{} {namespace}/{name}", self.kind) }
    }
}

impl Metadata {
    /// Leaves the name.
    pub(super) fn trim(&mut self) {
        let Self { namespace, name, uid, .. } = std::mem::take(self);
        *self = Self { namespace, name, uid, ..Self::default() };
    }
}
