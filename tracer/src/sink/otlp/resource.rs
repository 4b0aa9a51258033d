//! Whose span it is.

use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::resource::v1::Resource;

use super::attributes::string;
use crate::verdict::{Hop, Incident};

/// The hop's pod, workload and container, and the node that saw it.
pub(super) fn of(hop: &Hop, incident: &Incident) -> Resource {
    let mut attributes: Vec<KeyValue> = Vec::new();
    let mut add = |key: &str, value: Option<&str>| attributes.extend(value.map(|value| string(key, value)));
    let workload = hop.workload.as_deref().and_then(|workload| workload.split_once('/'));
    // By the conventions: the workload's name, else the pod's, else what runs.
    let name = workload
        .map(|(_, name)| name)
        .or(hop.pod.as_deref())
        .or(hop.process.as_deref())
        .or(hop.name.as_deref())
        .unwrap_or("unknown_service");
    add("service.name", Some(name));
    add("service.namespace", hop.namespace.as_deref());
    add("k8s.namespace.name", hop.namespace.as_deref());
    add("k8s.pod.name", hop.pod.as_deref());
    add("k8s.container.name", hop.container.as_deref());
    add("k8s.node.name", hop.node.as_deref().or(incident.node.as_deref()));
    let key = match workload.map(|(kind, _)| kind) {
        Some("Deployment") => Some("k8s.deployment.name"),
        Some("ReplicaSet") => Some("k8s.replicaset.name"),
        Some("StatefulSet") => Some("k8s.statefulset.name"),
        Some("DaemonSet") => Some("k8s.daemonset.name"),
        Some("Job") => Some("k8s.job.name"),
        Some("CronJob") => Some("k8s.cronjob.name"),
        _ => None,
    };
    if let Some(key) = key {
        add(key, workload.map(|(_, name)| name));
    }
    add("process.executable.name", hop.process.as_deref());
    Resource { attributes, ..Resource::default() }
}
