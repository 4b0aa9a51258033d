//! What is watched. The one table that the watchers, the notes and the role in `deploy/` are made from.

use crate::k8s::Snapshot;
use crate::k8s::model::Object;
use crate::k8s::snapshot::{Collection, ObjectRef};

/// A kind of object, as the API serves it.
#[derive(Debug, PartialEq, Eq)]
pub struct Kind {
    /// Empty for the core API.
    pub group: &'static str,
    pub version: &'static str,
    pub kind: &'static str,
    /// The resource's name in paths and roles.
    pub plural: &'static str,
    /// Only these, by the API's field selector.
    pub fields: Option<&'static str>,
    /// Objects kept at most; more are passed over and counted.
    pub most: usize,
    /// What is missing without it; nothing for kinds that many clusters don't have.
    pub gives: Option<&'static str>,
}

/// More of a kind than this isn't kept: 15 times the largest cluster that Kubernetes supports has fewer Services.
const MOST: usize = 150_000;
/// Each is an hour old at most; a cluster in trouble writes many.
const MOST_EVENTS: usize = 4000;
const MOST_NAMES: usize = 10_000;

const fn core(kind: &'static str, plural: &'static str, gives: &'static str) -> Kind {
    Kind { group: "", version: "v1", kind, plural, fields: None, most: MOST, gives: Some(gives) }
}

const fn of(group: &'static str, kind: &'static str, plural: &'static str, gives: &'static str) -> Kind {
    Kind { group, version: "v1", kind, plural, fields: None, most: MOST, gives: Some(gives) }
}

const fn optional(group: &'static str, version: &'static str, kind: &'static str, plural: &'static str) -> Kind {
    Kind { group, version, kind, plural, fields: None, most: MOST_NAMES, gives: None }
}

const KILLING: &str = "reason=Killing";

/// Small kinds first: they are listed while the many pods come in.
pub static KINDS: &[Kind] = &[
    core("Namespace", "namespaces", "rules that select namespaces by label can't be judged"),
    core("Node", "nodes", "nodes have no names, and their addresses count as outside"),
    core("Service", "services", "Services have no names, and nothing is known of their ports"),
    of("networking.k8s.io", "NetworkPolicy", "networkpolicies", "policy drops can't be told from a firewall's"),
    of("discovery.k8s.io", "EndpointSlice", "endpointslices", "whether a Service has endpoints is judged by its pods"),
    core("Pod", "pods", "pods have no names but those the node knows"),
    of("apps", "Deployment", "deployments", "a Deployment scaled to zero looks like a selector that matches nothing"),
    of(
        "apps",
        "StatefulSet",
        "statefulsets",
        "a StatefulSet scaled to zero looks like a selector that matches nothing",
    ),
    Kind {
        fields: Some("type=Warning"),
        most: MOST_EVENTS,
        ..core("Event", "events", "what the cluster itself complained about isn't shown")
    },
    // The kubelet doesn't call that a warning: pkg/kubelet/kuberuntime/kuberuntime_container.go, killContainer.
    Kind {
        fields: Some(KILLING),
        most: MOST_EVENTS,
        ..core("Event", "events", "what the cluster itself complained about isn't shown")
    },
    optional("networking.k8s.io", "v1", "Ingress", "ingresses"),
    optional("gateway.networking.k8s.io", "v1", "HTTPRoute", "httproutes"),
    optional("policy.networking.k8s.io", "v1alpha1", "AdminNetworkPolicy", "adminnetworkpolicies"),
    optional("policy.networking.k8s.io", "v1alpha1", "BaselineAdminNetworkPolicy", "baselineadminnetworkpolicies"),
    optional("policy.networking.k8s.io", "v1alpha2", "ClusterNetworkPolicy", "clusternetworkpolicies"),
    optional("cilium.io", "v2", "CiliumNetworkPolicy", "ciliumnetworkpolicies"),
    optional("cilium.io", "v2", "CiliumClusterwideNetworkPolicy", "ciliumclusterwidenetworkpolicies"),
    optional("crd.projectcalico.org", "v1", "NetworkPolicy", "networkpolicies"),
    optional("crd.projectcalico.org", "v1", "GlobalNetworkPolicy", "globalnetworkpolicies"),
];

impl Kind {
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.to_owned() } else { format!("{}/{}", self.group, self.version) }
    }

    /// Where all of them are.
    pub(super) fn path(&self) -> String {
        let root = if self.group.is_empty() { "api" } else { "apis" };
        format!("/{root}/{}/{}", self.api_version(), self.plural)
    }

    /// As `kubectl` takes it: `pods`, `httproutes.gateway.networking.k8s.io`.
    pub fn resource(&self) -> String {
        if self.group.is_empty() { self.plural.to_owned() } else { format!("{}.{}", self.plural, self.group) }
    }

    /// Where its objects are in a snapshot.
    pub(super) fn collection(&self) -> Collection {
        match (self.group, self.kind) {
            ("", "Namespace") => Collection::Namespaces,
            ("", "Node") => Collection::Nodes,
            ("", "Service") => Collection::Services,
            ("", "Pod") => Collection::Pods,
            ("", "Event") => Collection::Events,
            ("networking.k8s.io", "NetworkPolicy") => Collection::NetworkPolicies,
            ("discovery.k8s.io", _) => Collection::EndpointSlices,
            ("apps", _) => Collection::Controllers,
            _ => Collection::Others,
        }
    }

    /// Whether it is kept: of ended containers only those that a probe ended, for every pod that is deleted has some.
    pub(super) fn keeps(&self, object: &Object) -> bool {
        match object {
            Object::Event(event) if self.fields == Some(KILLING) => event.message.contains(" probe"),
            _ => true,
        }
    }

    /// Whether an object of that collection is of this kind: some hold several.
    pub(super) fn owns(&self, place: &ObjectRef, snapshot: &Snapshot) -> bool {
        match place.collection {
            Collection::Controllers | Collection::Others => place.key[0] == self.kind,
            Collection::Events => {
                let killing = snapshot.event(place).is_some_and(|event| event.reason == "Killing");
                killing == (self.fields == Some(KILLING))
            }
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::k8s::snapshot::Change;

    #[test]
    fn every_kind_is_read_and_filed_where_it_is_looked_for() {
        for kind in KINDS {
            let value = serde_json::json!({
                "apiVersion": kind.api_version(), "kind": kind.kind, "metadata": {"namespace": "n", "name": "x"},
                "reason": kind.fields.and_then(|fields| fields.strip_prefix("reason=")),
            });
            let object = Object::from_value(value).unwrap();
            let place = ObjectRef::of(&object).unwrap_or_else(|| panic!("{} isn't read", kind.resource()));
            let mut snapshot = Snapshot::empty();
            snapshot.begin_with(Change::Put(object));
            assert!(place.collection == kind.collection() && kind.owns(&place, &snapshot), "{}", kind.resource());
        }
    }
}
