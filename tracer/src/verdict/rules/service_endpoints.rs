//! `service-no-endpoints`, `selector-mismatch`, `not-ready`: the Service exists and nobody answers for it.

use super::{
    common::connect_evidence,
    missing::{Missing, rejection, without_endpoints},
};
use crate::{
    correlate::{Chain, Leaf, service_name},
    k8s::model::{Pod, Service},
    verdict::{Context, Evidence, Judgement, Origin, cause, evidence},
};

pub(super) fn judge(chain: &Chain<'_>, context: &Context<'_>) -> Option<Judgement> {
    let Leaf::Connect(leaf) = &chain.leaf else { return None };
    let service = without_endpoints(leaf, context)?;
    let name = service_name(service);
    let evidence = [endpoints_evidence(&name), connect_evidence(context, leaf)];
    if let Some(missing) = Missing::of(chain, context) {
        return Some(not_ready(context, &name, &missing));
    }
    let found = mismatch(context, &name, service).unwrap_or_else(|| none(&name, service));
    Some(found.because(evidence).because(rejection(context, leaf)))
}

fn origin(service: &str) -> Origin {
    let namespace = service.split_once('/').map(|(ns, _)| ns.to_owned());
    Origin { namespace, service: Some(service.to_owned()), ..Origin::default() }
}

fn endpoints_evidence(name: &str) -> Evidence {
    evidence("service", None, format!("Service {name} has no ready endpoint"))
}

fn not_ready(context: &Context<'_>, name: &str, missing: &Missing<'_>) -> Judgement {
    let listed: Vec<String> = missing.pods.iter().take(5).map(|(pod, _)| pod.metadata.name.clone()).collect();
    let summary = format!("the pods of Service {name} exist but are not ready: {}", listed.join(", "));
    let origin = match missing.pods.as_slice() {
        [_] => Origin { container: None, ..missing.origin(context, 1) },
        _ => origin(name),
    };
    let first = listed.first().map_or("", String::as_str);
    let namespace = name.split_once('/').map_or("", |(ns, _)| ns);
    Judgement::new(cause::NOT_READY, 0.97, summary)
        .origin(origin)
        .because(missing.evidence(context))
        .next(format!("kubectl -n {namespace} describe pod {first}"))
}

/// Why a pod isn't ready, in a few words.
pub(super) fn condition(pod: &Pod) -> String {
    let waiting =
        pod.status.container_statuses.iter().find_map(|s| s.state.waiting.as_ref().and_then(|w| w.reason.as_deref()));
    let ready = pod.status.conditions.iter().find(|c| c.kind == "Ready");
    let message = ready.and_then(|c| c.message.as_deref().or(c.reason.as_deref()));
    let words: Vec<_> =
        [Some(pod.status.phase.as_str()), waiting, message].into_iter().flatten().filter(|w| !w.is_empty()).collect();
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
