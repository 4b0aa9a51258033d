//! Who can reach whom on which port, for the pods of a namespace.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use serde::Serialize;

use super::UsageError;
use crate::k8s::Snapshot;
use crate::k8s::model::{Labels, Pod, Protocol};
use crate::k8s::policy::{Denied, Flow, Party, PolicyRef, evaluate};

/// Stands for everything outside the cluster: an address of documentation (RFC 5737), which no rule names on purpose.
const OUTSIDE: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1));

/// One answer; serializes to the `policy-matrix` object.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Matrix {
    #[serde(rename = "type")]
    kind: &'static str,
    schema: &'static str,
    pub namespace: String,
    pub destinations: Vec<Destination>,
}

/// Pods that policies treat alike, at one of their ports.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Destination {
    pub to: String,
    pub port: u16,
    pub protocol: Protocol,
    pub admitted: Vec<String>,
    pub denied: Vec<Refused>,
}

/// Who is refused, and by which policies.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Refused {
    pub from: String,
    pub denied: Denied,
    pub by: Vec<PolicyRef>,
}

/// Pods of one workload and with the same labels, by one of them.
struct Alike<'a> {
    name: String,
    pod: &'a Pod,
}

/// Every pod of the cluster, and the outside, against every declared port of the namespace's pods.
///
/// # Errors
/// When no pod is known in that namespace.
pub fn matrix(snapshot: &Snapshot, namespace: &str) -> Result<Matrix, UsageError> {
    let all = alike(snapshot);
    let mut destinations = Vec::new();
    for to in all.iter().filter(|to| to.pod.metadata.namespace == namespace) {
        for (port, protocol) in ports(to.pod) {
            destinations.push(destination(snapshot, &all, to, port, protocol));
        }
    }
    if snapshot.pods_in(namespace).next().is_none() {
        return Err(UsageError(format!("the cluster state holds no pod in namespace {namespace}")));
    }
    Ok(Matrix { kind: "policy-matrix", schema: "tracer/v1", namespace: namespace.to_owned(), destinations })
}

fn destination(snapshot: &Snapshot, all: &[Alike<'_>], to: &Alike<'_>, port: u16, protocol: Protocol) -> Destination {
    let mut found = Destination { to: to.name.clone(), port, protocol, admitted: Vec::new(), denied: Vec::new() };
    let pods = all.iter().map(|from| (from.name.clone(), Party::Pod(from.pod)));
    for (from, party) in pods.chain([("outside".to_owned(), Party::Address(OUTSIDE))]) {
        let evaluation = evaluate(snapshot, &Flow { from: party, to: Party::Pod(to.pod), port, protocol });
        match evaluation.denied {
            None => found.admitted.push(from),
            Some(denied) => {
                let egress = denied.includes_egress().then_some(evaluation.egress.isolated_by);
                let ingress = denied.includes_ingress().then_some(evaluation.ingress.isolated_by);
                let by = egress.into_iter().chain(ingress).flatten().collect();
                found.denied.push(Refused { from, denied, by });
            }
        }
    }
    found
}

/// Pods that policies can't tell apart are one; a workload whose pods differ is told pod by pod.
fn alike(snapshot: &Snapshot) -> Vec<Alike<'_>> {
    type Kind<'a> = (Labels, bool, Vec<(u16, Protocol)>, Vec<(&'a str, u16)>);
    let mut workloads: BTreeMap<(String, String), Vec<(Kind<'_>, &Pod)>> = BTreeMap::new();
    for pod in snapshot.pods().filter(|pod| !pod.is_finished()) {
        // They tell a workload's pods apart, and revisions of it, and are rarely selected by.
        const OF_ONE_COPY: [&str; 4] = [
            "apps.kubernetes.io/pod-index",
            "controller-revision-hash",
            "pod-template-hash",
            "statefulset.kubernetes.io/pod-name",
        ];
        let labels = pod.metadata.labels.iter().filter(|(key, _)| !OF_ONE_COPY.contains(key)).collect();
        let named = pod.running_containers().flat_map(|container| &container.ports);
        let named = named.map(|port| (port.name.as_str(), port.container_port)).collect();
        let kind = (labels, pod.spec.host_network, ports(pod), named);
        let known = workloads.entry((pod.metadata.namespace.clone(), snapshot.workload(pod).to_string())).or_default();
        if known.iter().all(|(other, _)| *other != kind) {
            known.push((kind, pod));
        }
    }
    let mut all = Vec::new();
    for ((namespace, workload), pods) in workloads {
        let differ = pods.len() > 1;
        all.extend(pods.into_iter().map(|(_, pod)| Alike {
            name: if differ { format!("{namespace}/{}", pod.metadata.name) } else { format!("{namespace}/{workload}") },
            pod,
        }));
    }
    all
}

/// Declared ports: a pod may listen on others, which nothing here knows.
fn ports(pod: &Pod) -> Vec<(u16, Protocol)> {
    let declared = pod.running_containers().flat_map(|container| &container.ports);
    let mut ports: Vec<_> = declared.map(|port| (port.container_port, port.protocol)).collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

impl fmt::Display for Matrix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.destinations.is_empty() {
            writeln!(f, "no pod in namespace {} declares a port", self.namespace)?;
        }
        for Destination { to, port, protocol, admitted, denied } in &self.destinations {
            writeln!(f, "{to}:{port}/{protocol}")?;
            for from in admitted {
                writeln!(f, "  ✓ {from}")?;
            }
            let width = denied.iter().map(|refused| refused.from.chars().count()).max().unwrap_or_default();
            for Refused { from, denied, by } in denied {
                let direction = match denied {
                    Denied::Egress => "egress",
                    Denied::Ingress => "ingress",
                    Denied::Both => "egress and ingress",
                };
                let by = by.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                writeln!(f, "  ✗ {from:<width$}  {direction}: {by}")?;
            }
        }
        Ok(())
    }
}
