//! What a node's pressure does to pods: evictions, and taints that keep new ones away.

use crate::k8s::{
    model::{Condition, Node, Pod},
    snapshot::Snapshot,
};

/// Condition and the taint that the node controller derives from it.
const PRESSURES: [(&str, &str); 3] = [
    ("MemoryPressure", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "node.kubernetes.io/disk-pressure"),
    ("PIDPressure", "node.kubernetes.io/pid-pressure"),
];

/// The kubelet's words for an eviction that the node's lack of something caused; one for the pod's own limits (of
/// ephemeral storage, of an emptyDir) is the pod's own doing.
pub(super) fn eviction(pod: &Pod) -> Option<String> {
    let message = pod.status.message.as_deref().unwrap_or_default();
    let evicted = pod.status.reason.as_deref() == Some("Evicted");
    // pkg/kubelet/eviction/helpers.go and eviction_manager.go of Kubernetes.
    let by_node = message.contains("The node was low on resource") || message.contains("The node had condition");
    (evicted && by_node).then(|| format!("was evicted: {}", super::cut(message)))
}

/// No node takes the pod, and on every one it is for a pressure.
pub(super) fn tainted(snapshot: &Snapshot, pod: &Pod) -> Option<String> {
    let scheduled = pod.status.conditions.iter().find(|c| c.kind == "PodScheduled" && c.status == "False")?;
    let message = scheduled.message.as_deref()?;
    // "0/3 nodes are available: 2 node(s) had untolerated taint {…}, 1 Insufficient cpu. preemption: …"
    let (nodes, reasons) = message.strip_prefix("0/")?.split_once(" nodes are available: ")?;
    let reasons = reasons.split(". ").next()?;
    let pressed: u32 = reasons
        .split(", ")
        .filter(|reason| PRESSURES.iter().any(|(_, taint)| reason.contains(taint)))
        .filter_map(|reason| reason.split_whitespace().next()?.parse::<u32>().ok())
        .sum();
    (nodes.parse() == Ok(pressed)).then(|| {
        let names: Vec<&str> =
            snapshot.nodes().filter(|n| pressure(n).is_some()).map(|n| n.metadata.name.as_str()).collect();
        let names = if names.is_empty() { String::new() } else { format!(" (under pressure: {})", names.join(", ")) };
        format!("isn't scheduled: {}{names}", super::cut(message))
    })
}

/// The pressure that a node reports, with the kubelet's message.
pub(crate) fn pressure(node: &Node) -> Option<String> {
    let found: Vec<&str> = PRESSURES
        .iter()
        .filter(|(condition, _)| node.condition(condition).is_some_and(Condition::is_true))
        .map(|(condition, _)| *condition)
        .collect();
    (!found.is_empty()).then(|| found.join(", "))
}
