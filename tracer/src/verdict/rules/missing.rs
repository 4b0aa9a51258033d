//! Who should have answered a connect and is in no state to: the pods behind a Service without ready endpoints, or the
//! pod that refused.

use super::{
    common::{connect_evidence, is_refused, pod_origin},
    probe_failing::how,
};
use crate::{
    correlate::{Chain, ConnectLeaf, Leaf, ProbeRun, service_name},
    k8s::{
        model::{ControllerKind, Pod, Protocol, Service},
        snapshot::Snapshot,
    },
    verdict::{
        Context, Evidence, Judgement, Origin, cause, evidence,
        pod_state::{Trouble, describe, trouble},
    },
};

/// Pods that are described.
const DESCRIBED: usize = 3;

/// Pods that don't answer, each with the trouble it is in.
#[derive(Debug)]
pub(super) struct Missing<'a> {
    leaf: &'a ConnectLeaf<'a>,
    pub(super) service: Option<&'a Service>,
    pub(super) pods: Vec<(&'a Pod, Option<Trouble>)>,
}

/// A Service that was asked by its own address and has no ready endpoint.
pub(super) fn without_endpoints<'a>(leaf: &ConnectLeaf<'a>, context: &Context<'_>) -> Option<&'a Service> {
    let service = leaf.target.service?;
    // One of its pods, asked directly, answers for itself.
    let own = service.is_at(leaf.connect.remote.ip());
    let declared = service.spec.ports.iter().any(|p| p.port == leaf.connect.remote.port());
    let endpoints = context.snapshot.endpoints(service);
    // The rejection of a Service without endpoints is a netfilter rule of the node, and its ICMP is rate-limited: a drop
    // there is no firewall's. In a pod's own namespace it is.
    let dropped = leaf.drop_pod.is_some() && leaf.icmp.is_none();
    let empty = endpoints.is_known() && endpoints.ready.is_empty();
    (own && declared && empty && !dropped && leaf.refusal.is_none()).then_some(service)
}

impl<'a> Missing<'a> {
    /// None if somebody is there to answer, or nobody was ever meant to.
    pub(super) fn of(chain: &'a Chain<'a>, context: &'a Context<'_>) -> Option<Self> {
        let Leaf::Connect(leaf) = &chain.leaf else { return None };
        let snapshot = context.snapshot;
        if let Some(service) = without_endpoints(leaf, context) {
            let mut pods = snapshot.selected_pods(service);
            if pods.is_empty() {
                let evicted = |pod: &&Pod| is_wanted(snapshot, pod) && trouble(snapshot, pod).is_some();
                pods = snapshot.ended_pods(service).into_iter().filter(evicted).collect();
            }
            // One that is being deleted is on its way out, if others are to take its place.
            if pods.iter().any(|pod| pod.metadata.deletion_timestamp.is_none()) {
                pods.retain(|pod| pod.metadata.deletion_timestamp.is_none());
            }
            let pods: Vec<_> = pods.into_iter().map(|pod| (pod, trouble_of(leaf, snapshot, pod))).collect();
            return (!pods.is_empty()).then_some(Self { leaf, service: Some(service), pods });
        }
        let pod = leaf.target.pod.filter(|_| is_refused(leaf))?;
        let port = leaf.target.backend.unwrap_or(leaf.connect.remote).port();
        let found = trouble_of(leaf, snapshot, pod).filter(|found| keeps_from(pod, found, port))?;
        Some(Self { leaf, service: leaf.target.service, pods: vec![(pod, Some(found))] })
    }

    /// The same, if most of the pods are in trouble for that cause.
    pub(super) fn by(cause: &str, chain: &'a Chain<'a>, context: &'a Context<'_>) -> Option<Self> {
        let found = Self::of(chain, context)?;
        let alike = found.pods.iter().filter(|(_, t)| t.as_ref().is_some_and(|t| t.cause == cause)).count();
        (alike * 2 > found.pods.len()).then_some(found)
    }

    /// Blames the pods in trouble for that cause; the others are evidence.
    pub(super) fn judgement(
        mut self,
        context: &Context<'_>,
        cause: &'static str,
        confidence: f64,
        is: &str,
    ) -> Judgement {
        let in_it = |(_, t): &(&Pod, Option<Trouble>)| t.as_ref().is_some_and(|t| t.cause == cause);
        self.pods.sort_by_key(|entry| !in_it(entry));
        let alike = self.pods.iter().filter(|entry| in_it(entry)).count();
        let what = self.pods.first().and_then(|(_, t)| t.as_ref()).map(|t| t.what.clone()).unwrap_or_default();
        let first = self.pods.first().map(|(pod, _)| *pod);
        let label = first.map(|p| format!("{}/{}", p.metadata.namespace, p.metadata.name)).unwrap_or_default();
        let summary = match (self.service, alike) {
            (Some(service), 2..) => {
                let all = self.pods.len();
                format!("{alike} of {all} pods of Service {} {is}; {label}: {what}", service_name(service))
            }
            _ => format!("{label} {is}: {what}"),
        };
        let mut found = Judgement::new(cause, confidence, summary).origin(self.origin(context, alike));
        found = found.because(self.evidence(context));
        if let Some(pod) = first {
            let (namespace, name) = (&pod.metadata.namespace, &pod.metadata.name);
            found = found.next(format!("kubectl -n {namespace} describe pod {name}"));
        }
        found
    }

    /// The pod where exactly one is meant, the workload and the Service.
    pub(super) fn origin(&self, context: &Context<'_>, meant: usize) -> Origin {
        let mut origin = self.pods.first().map(|(pod, _)| pod_origin(context, pod)).unwrap_or_default();
        if meant > 1 {
            origin.pod = None;
        }
        if let [(_, Some(only))] = self.pods.as_slice() {
            origin.container.clone_from(&only.container);
        }
        origin.service = self.service.map(service_name);
        origin
    }

    /// The pod of the first in trouble.
    pub(super) fn first(&self) -> Option<&'a Pod> {
        self.pods.first().map(|(pod, _)| *pod)
    }

    /// The empty Service, the connect, and the state of the pods.
    pub(super) fn evidence(&self, context: &Context<'_>) -> Vec<Evidence> {
        let mut found = Vec::new();
        if let Some(service) = self.service.filter(|_| without_endpoints(self.leaf, context).is_some()) {
            found.push(evidence("service", None, format!("Service {} has no ready endpoint", service_name(service))));
        }
        found.push(connect_evidence(context, self.leaf));
        found.extend(rejection(context, self.leaf));
        for (pod, trouble) in self.pods.iter().take(DESCRIBED) {
            let name = &pod.metadata.name;
            let what = trouble.as_ref().map_or_else(|| super::service_endpoints::condition(pod), |t| t.what.clone());
            let cause = trouble.as_ref().map(|t| t.cause);
            let mut entry = evidence("pod", None, format!("pod {name}: {what}")).with("pod", name.as_str());
            entry = cause.into_iter().fold(entry, |entry, cause| entry.with("state", cause));
            found.push(entry);
            let probes = cause.is_none_or(|c| matches!(c, cause::PROBE_FAILING | cause::LIVENESS_RESTART));
            found.extend(describe(context, pod, probes));
        }
        if self.pods.len() > DESCRIBED {
            found.push(evidence("pod", None, format!("and {} more pods", self.pods.len() - DESCRIBED)));
        }
        found
    }
}

/// What the pod's state says, or the kubelet's probes that were seen to fail.
fn trouble_of(leaf: &ConnectLeaf<'_>, snapshot: &Snapshot, pod: &Pod) -> Option<Trouble> {
    let failing = |run: &&ProbeRun| {
        let unready = run.kind != "liveness" && run.failures > 0 && (run.is_decided() || !run.succeeded);
        run.pod_uid == pod.metadata.uid && unready
    };
    let seen = || {
        let run = leaf.probes.iter().filter(|_| !pod.is_ready()).find(failing)?;
        let what = format!("container {}: its {} probe fails: {}", run.container, run.kind, how(run));
        let (container, init) = (Some(run.container.clone()), false);
        Some(Trouble { cause: cause::PROBE_FAILING, container, init, what })
    };
    trouble(snapshot, pod).or_else(seen)
}

/// Whether a container's trouble is why a port of its pod is closed: the container declares the port, or no container
/// does and there is no other.
fn keeps_from(pod: &Pod, trouble: &Trouble, port: u16) -> bool {
    let Some(name) = &trouble.container else { return true };
    // A probe fails of a container that runs: it says nothing of a closed port.
    if trouble.cause == cause::PROBE_FAILING {
        return false;
    }
    trouble.init
        || match pod.declaring(port, Protocol::Tcp) {
            Some(container) => container.name == *name,
            None => pod.running_containers().all(|c| c.name == *name),
        }
}

/// Evicted pods stay for a long time: they explain something only while their controller wants pods.
fn is_wanted(snapshot: &Snapshot, pod: &Pod) -> bool {
    let Some(owner) = pod.metadata.controller() else { return true };
    let kind = match owner.kind.as_str() {
        "ReplicaSet" => ControllerKind::ReplicaSet,
        "StatefulSet" => ControllerKind::StatefulSet,
        "DaemonSet" => return true,
        _ => return false,
    };
    match snapshot.controller(kind, &pod.metadata.namespace, &owner.name) {
        Some(controller) => controller.spec.replicas != Some(0),
        None => pod
            .spec
            .node_name
            .as_deref()
            .and_then(|n| snapshot.node(n))
            .is_some_and(|n| crate::verdict::pod_state::pressure(n).is_some()),
    }
}

pub(super) fn rejection(context: &Context<'_>, leaf: &ConnectLeaf<'_>) -> Option<Evidence> {
    let (at, icmp) = leaf.icmp.as_ref()?;
    let text = format!("the node rejected the SYN with ICMP {}/{}", icmp.icmp_type, icmp.icmp_code);
    Some(evidence("icmp", context.at(*at), text).with("type", icmp.icmp_type).with("code", icmp.icmp_code))
}
