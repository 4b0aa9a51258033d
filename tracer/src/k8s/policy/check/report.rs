//! The answer, as text and as JSON.

use std::fmt;
use std::net::IpAddr;

use serde::Serialize;

use crate::k8s::Snapshot;
use crate::k8s::model::Protocol;
use crate::k8s::policy::{Direction, Evaluation, Flow, Party, missing_allow, suggest_rule};
use crate::k8s::snapshot::Collection;

/// One answer; serializes to the `policy-check` object.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    #[serde(rename = "type")]
    kind: &'static str,
    schema: &'static str,
    pub from: PartyReport,
    pub to: PartyReport,
    pub port: u16,
    pub protocol: Protocol,
    pub allowed: bool,
    pub egress: Direction,
    pub ingress: Direction,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suggestion: Option<String>,
    /// What makes the answer less certain than it looks.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// A pod, or an address that is no pod's.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PartyReport {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workload: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub host_network: bool,
}

impl Report {
    pub(super) fn new(snapshot: &Snapshot, flow: &Flow<'_>, evaluation: Evaluation) -> Self {
        let missing = missing_allow(snapshot, flow, &evaluation);
        let suggestion = suggest_rule(snapshot, flow, &evaluation);
        let Evaluation { allowed, egress, ingress, denied: _, unknown_namespaces } = evaluation;
        let mut notes: Vec<_> = unknown_namespaces
            .iter()
            .map(|name| {
                format!("a rule asks for labels of namespace {name}, whose object the cluster state doesn't hold")
            })
            .collect();
        if snapshot.count(Collection::NetworkPolicies) == 0 {
            notes.push("the cluster state holds no NetworkPolicy at all".to_owned());
        }
        Self {
            kind: "policy-check",
            schema: "tracer/v1",
            from: PartyReport::new(snapshot, flow.from),
            to: PartyReport::new(snapshot, flow.to),
            port: flow.port,
            protocol: flow.protocol,
            allowed,
            egress,
            ingress,
            missing,
            suggestion,
            notes,
        }
    }
}

impl PartyReport {
    fn new(snapshot: &Snapshot, party: Party<'_>) -> Self {
        let pod = party.pod();
        Self {
            namespace: pod.map(|pod| pod.metadata.namespace.clone()),
            pod: pod.map(|pod| pod.metadata.name.clone()),
            workload: pod.map(|pod| snapshot.workload(pod).to_string()),
            address: party.addresses().next(),
            host_network: pod.is_some_and(|pod| pod.spec.host_network),
        }
    }
}

impl fmt::Display for PartyReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.namespace, &self.pod, self.address) {
            (Some(namespace), Some(pod), _) => write!(f, "{namespace}/{pod}"),
            (_, _, Some(IpAddr::V6(address))) => write!(f, "[{address}]"),
            (_, _, Some(address)) => write!(f, "{address}"),
            _ => f.write_str("unknown"),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.allowed { "✓ allowed" } else { "✗ denied" };
        writeln!(f, "{verdict:<9}  {} → {}:{}/{}", self.from, self.to, self.port, self.protocol)?;
        writeln!(f, "  egress   {}", describe(&self.egress, &self.from))?;
        writeln!(f, "  ingress  {}", describe(&self.ingress, &self.to))?;
        if let Some(missing) = &self.missing {
            writeln!(f, "  missing  {missing}")?;
        }
        if let Some(suggestion) = &self.suggestion {
            for (at, line) in suggestion.lines().enumerate() {
                writeln!(f, "  {}  {line}", if at == 0 { "add    " } else { "       " })?;
            }
        }
        for note in &self.notes {
            writeln!(f, "  note     {note}")?;
        }
        Ok(())
    }
}

fn describe(direction: &Direction, subject: &PartyReport) -> String {
    let list = |policies: &[_]| policies.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    if direction.is_isolated() {
        let isolated = list(&direction.isolated_by);
        return match direction.admitted_by.as_slice() {
            [] => format!("isolated by {isolated}; admitted by none of them"),
            admitted => format!("isolated by {isolated}; admitted by {}", list(admitted)),
        };
    }
    match (&subject.pod, subject.host_network) {
        (None, _) => "not a pod: no policy applies".to_owned(),
        (Some(_), true) => "host network: no policy applies".to_owned(),
        (Some(_), false) => "no policy stands in the way".to_owned(),
    }
}
