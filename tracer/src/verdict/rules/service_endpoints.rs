//! `service-no-endpoints`, `selector-mismatch`, `not-ready`: the Service exists and nobody answers for it.

use super::common::connect_evidence;
use crate::{
    correlate::{Chain, ConnectLeaf, Leaf, service_name},
    k8s::model::{Pod, Service},
    verdict::{Context, Evidence, Judgement, Origin, cause, evidence},
};

pub(super) fn judge(chain: &Chain<'_>, context: &Context<'_>) -> Option<Judgement> {
    let Leaf::Connect(leaf) = &chain.leaf else { return None };
    let service = leaf.target.service?;
    // Asked by the Service's own address: one of its pods, asked directly, answers for itself.
    let own = service
        .spec
        .cluster_ips
        .iter()
        .chain(&service.spec.cluster_ip)
        .any(|ip| *ip == leaf.connect.remote.ip().to_string());
    let declared = service.spec.ports.iter().any(|p| p.port == leaf.connect.remote.port());
    let endpoints = context.snapshot.endpoints(service);
    // The rejection of a Service without endpoints is a netfilter rule of the node, and its ICMP is rate-limited: a drop
    // there is no firewall's. In a pod's own namespace it is.
    if leaf.drop_pod.is_some() && leaf.icmp.is_none() {
        return None;
    }
    if !own || !declared || leaf.refusal.is_some() || !endpoints.is_known() || !endpoints.ready.is_empty() {
        return None;
    }
    let name = service_name(service);
    let selected = context.snapshot.selected_pods(service);
    let alive: Vec<&Pod> = selected.into_iter().filter(|p| !p.is_finished()).collect();
    let found = if !alive.is_empty() {
        not_ready(context, &name, &alive)
    } else if let Some(found) = mismatch(context, &name, service) {
        found
    } else {
        none(&name, service)
    };
    Some(found.because([endpoints_evidence(&name), connect_evidence(context, leaf)]).because(rejection(context, leaf)))
}

fn origin(service: &str) -> Origin {
    let namespace = service.split_once('/').map(|(ns, _)| ns.to_owned());
    Origin { namespace, service: Some(service.to_owned()), ..Origin::default() }
}

fn endpoints_evidence(name: &str) -> Evidence {
    evidence("service", None, format!("Service {name} has no ready endpoint"))
}

fn rejection(context: &Context<'_>, leaf: &ConnectLeaf<'_>) -> Option<Evidence> {
    let (at, icmp) = leaf.icmp.as_ref()?;
    let text = format!("the node rejected the SYN with ICMP {}/{}", icmp.icmp_type, icmp.icmp_code);
    Some(evidence("icmp", context.at(*at), text).with("type", icmp.icmp_type).with("code", icmp.icmp_code))
}

fn not_ready(context: &Context<'_>, name: &str, pods: &[&Pod]) -> Judgement {
    let listed: Vec<String> = pods.iter().take(5).map(|p| p.metadata.name.clone()).collect();
    let summary = format!("the pods of Service {name} exist but are not ready: {}", listed.join(", "));
    let mut origin = origin(name);
    if let [only] = pods {
        origin = Origin { service: origin.service, ..super::common::pod_origin(context, only) };
    }
    let mut found = Judgement::new(cause::NOT_READY, 0.97, summary).origin(origin);
    for pod in pods.iter().take(3) {
        let state = condition(pod);
        found = found.because([evidence("pod", None, format!("pod {}: {state}", pod.metadata.name))]);
    }
    let first = pods.first().map_or("", |p| p.metadata.name.as_str());
    let namespace = name.split_once('/').map_or("", |(ns, _)| ns);
    found.next(format!("kubectl -n {namespace} describe pod {first}"))
}

/// Why a pod isn't ready, in a few words.
fn condition(pod: &Pod) -> String {
    let waiting =
        pod.status.container_statuses.iter().find_map(|s| s.state.waiting.as_ref().and_then(|w| w.reason.clone()));
    let ready = pod.status.conditions.iter().find(|c| c.kind == "Ready");
    let message = ready.and_then(|c| c.message.clone().or_else(|| c.reason.clone()));
    let words: Vec<String> =
        [Some(pod.status.phase.clone()), waiting, message].into_iter().flatten().filter(|w| !w.is_empty()).collect();
    if words.is_empty() { "not ready".to_owned() } else { words.join(", ") }
}

fn mismatch(context: &Context<'_>, name: &str, service: &Service) -> Option<Judgement> {
    let misses = context.snapshot.near_misses(service);
    let first = misses.first()?;
    let found = first.found.as_ref().map_or_else(|| "no such label".to_owned(), |v| format!("{}={v}", first.key));
    let summary = format!(
        "the selector of Service {name} matches no pod: it wants {}={}, {} has {found}",
        first.key, first.wanted, first.workload
    );
    let mut judgement = Judgement::new(cause::SELECTOR_MISMATCH, 0.96, summary).origin(origin(name));
    for miss in &misses {
        let has = miss.found.clone().unwrap_or_else(|| "nothing".to_owned());
        let text = format!("{} differs by {}: wanted {}, has {has}", miss.pod.metadata.name, miss.key, miss.wanted);
        judgement = judgement.because([evidence("selector", None, text)
            .with("label", miss.key.as_str())
            .with("wanted", miss.wanted.as_str())
            .with("found", has)]);
    }
    let (namespace, short) = name.split_once('/').unwrap_or_default();
    Some(
        judgement
            .next(format!("kubectl -n {namespace} get pods --show-labels"))
            .next(format!("kubectl -n {namespace} edit service {short}")),
    )
}

fn none(name: &str, service: &Service) -> Judgement {
    let selector: Vec<String> = service.spec.selector.iter().map(|(k, v)| format!("{k}={v}")).collect();
    let why = if selector.is_empty() {
        "it has no selector".to_owned()
    } else {
        format!("no pod is labelled {}", selector.join(","))
    };
    let (namespace, short) = name.split_once('/').unwrap_or_default();
    Judgement::new(cause::SERVICE_NO_ENDPOINTS, 0.97, format!("Service {name} has no endpoints: {why}"))
        .origin(origin(name))
        .next(format!("kubectl -n {namespace} get endpointslices -l kubernetes.io/service-name={short}"))
        .next(format!("kubectl -n {namespace} get deployments,statefulsets"))
}
