//! `wrong-target-port`: the pod refuses on the port that its Service targets, and listens elsewhere.

use super::common::{connect_evidence, target_origin};
use crate::{
    correlate::{Chain, Leaf, service_name},
    k8s::model::{Container, Protocol},
    verdict::{Context, Judgement, cause, evidence},
};

pub(super) fn judge(chain: &Chain<'_>, context: &Context<'_>) -> Option<Judgement> {
    let Leaf::Connect(leaf) = &chain.leaf else { return None };
    let refusal = leaf.refusal.as_ref()?;
    let service = leaf.target.service?;
    let pod = leaf.target.pod?;
    let port = context.snapshot.service_port(service, leaf.connect.remote.port(), Protocol::Tcp)?;
    let target = context.snapshot.target_port(service, port, pod).unwrap_or(port.port);
    // What declares the port only isn't up: the Service is right.
    if refusal.local.port() != target || pod.declaring(target, Protocol::Tcp).is_some() {
        return None;
    }
    let listening: Vec<u16> = leaf.listening.clone()?.into_iter().filter(|p| *p != target).collect();
    // Of several containers, one that isn't seen to listen may be the one that should.
    let listens = |c: &Container| c.ports.iter().any(|p| listening.contains(&p.container_port));
    if pod.running_containers().count() > 1 && !pod.running_containers().all(listens) {
        return None;
    }
    // A sidecar's or a debugger's port is no reason: the pod must declare where it listens, or listen at one place only.
    let declared = pod.spec.containers.iter().flat_map(|c| &c.ports).map(|p| p.container_port);
    let declared: Vec<u16> = declared.filter(|p| listening.contains(p)).collect();
    let meant = match (declared.as_slice(), listening.as_slice()) {
        ([first, ..], _) => *first,
        ([], [only]) => *only,
        _ => return None,
    };
    let name = service_name(service);
    let summary = format!("Service {name} targets port {target}, but {} listens on {meant}", pod.metadata.name);
    let ports = listening.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let text = format!("{} listens on {ports}, not on {target}", pod.metadata.name);
    let (namespace, short) = name.split_once('/').unwrap_or_default();
    Some(
        Judgement::new(cause::WRONG_TARGET_PORT, 0.97, summary)
            .origin(target_origin(&leaf.target))
            .because([connect_evidence(context, leaf), evidence("listener", None, text).with("ports", listening)])
            .next(format!("kubectl -n {namespace} edit service {short}")),
    )
}
