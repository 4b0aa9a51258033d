//! The missing allow in words.

use super::evaluate::{Evaluation, Flow, Party};
use crate::k8s::Snapshot;
use crate::k8s::model::{Labels, Pod};

/// Labels that say what a pod is, most telling first; the first one present is enough for a reader.
const TELLING: [&str; 5] = ["app", "app.kubernetes.io/name", "k8s-app", "run", "name"];

/// Labels that say which copy a pod is.
const OF_ONE_COPY: [&str; 11] = [
    "apps.kubernetes.io/pod-index",
    "batch.kubernetes.io/controller-uid",
    "batch.kubernetes.io/job-completion-index",
    "batch.kubernetes.io/job-name",
    "controller-revision-hash",
    "controller-uid",
    "job-name",
    "pod-template-generation",
    "pod-template-hash",
    "rollouts-pod-template-hash",
    "statefulset.kubernetes.io/pod-name",
];

/// Says what no rule admits, one clause for each denied direction; nothing when the flow is allowed.
pub fn missing_allow(snapshot: &Snapshot, flow: &Flow<'_>, evaluation: &Evaluation) -> Option<String> {
    let denied = evaluation.denied?;
    let (from, to) = (flow.from.resolve(snapshot), flow.to.resolve(snapshot));
    let port = format!("{}/{}", flow.port, flow.protocol);
    let mut clauses = Vec::new();
    if denied.includes_egress() {
        let what = describe(to, namespace_of(from));
        clauses.push(format!("no egress rule admits traffic to {what} on {port}"));
    }
    if denied.includes_ingress() {
        let what = describe(from, namespace_of(to));
        clauses.push(format!("no rule admits {what} on {port}"));
    }
    Some(clauses.join("; "))
}

fn namespace_of(party: Party<'_>) -> Option<&str> {
    party.pod().map(|pod| pod.metadata.namespace.as_str())
}

/// `seen_from`: the namespace of the policies, which needn't be named.
fn describe(party: Party<'_>, seen_from: Option<&str>) -> String {
    match party {
        Party::Address(address) => format!("address {address}"),
        Party::Pod(pod) if pod.spec.host_network => {
            let address = party.addresses().next().map(|address| format!(" address {address}")).unwrap_or_default();
            format!("host-network pod {}/{} (its node's{address})", pod.metadata.namespace, pod.metadata.name)
        }
        Party::Pod(pod) => {
            let labels = identifying_labels(pod);
            let listed: Vec<_> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
            let namespace = pod.metadata.namespace.as_str();
            let place = if seen_from == Some(namespace) { String::new() } else { format!(" in namespace {namespace}") };
            match listed.as_slice() {
                [] => format!("pod {} (without labels){place}", pod.metadata.name),
                listed => format!("pods labelled {}{place}", listed.join(",")),
            }
        }
    }
}

/// The labels that tell a pod from pods of other workloads, as a reader would write them into a rule.
pub(super) fn identifying_labels(pod: &Pod) -> Labels {
    let labels = &pod.metadata.labels;
    if let Some(told) = TELLING.iter().find_map(|key| Some((*key, labels.get(key)?))) {
        return Labels::from_iter([told]);
    }
    labels.iter().filter(|(key, _)| !OF_ONE_COPY.contains(key)).collect()
}
