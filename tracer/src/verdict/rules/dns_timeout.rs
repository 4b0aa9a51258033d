//! `dns-timeout`: queries without an answer; which resolver, how often retried.

use super::common::{lookup_evidence, target_label, target_origin};
use crate::{
    correlate::{Chain, Leaf, LookupOutcome, Who, service_name},
    verdict::{Context, Judgement, Origin, cause, evidence},
};

pub(super) fn judge(chain: &Chain<'_>, context: &Context<'_>) -> Option<Judgement> {
    let Leaf::Lookup(leaf) = &chain.leaf else { return None };
    if leaf.lookup.outcome != LookupOutcome::Timeout {
        return None;
    }
    let lookup = &leaf.lookup;
    // The pod only when the query reached it, or no other is there to be meant.
    let mut origin = match (&leaf.reached, leaf.target.service) {
        (Some(reached), _) => reached.origin(),
        (None, Some(_)) if leaf.target.pod.is_some() => target_origin(&leaf.target),
        (None, Some(service)) => Origin { namespace: Some(service.metadata.namespace.clone()), ..Origin::default() },
        (None, None) => target_origin(&leaf.target),
    };
    origin.service = leaf.target.service.map(service_name);
    origin.address = Some(lookup.resolver.to_string());
    let seconds = lookup.end_ns.saturating_sub(lookup.start_ns) as f64 / 1e9;
    let resolver = match (leaf.target.service, &leaf.reached) {
        (Some(service), _) => service_name(service),
        _ => target_label(&leaf.target),
    };
    let summary = format!(
        "DNS at {resolver} didn't answer {} queries for {} in {seconds:.1} s",
        lookup.transmissions, lookup.name
    );
    let reached = match &leaf.reached {
        Some(who) => format!("the query reached {}, and no answer came back", who.label()),
        None => format!("the query wasn't seen to reach a resolver on {}", context.observed()),
    };
    let found = Judgement::new(cause::DNS_TIMEOUT, 0.95, summary)
        .because([lookup_evidence(context, leaf), evidence("dns", None, reached)])
        .next(next(&origin, leaf.reached.as_ref()));
    Some(found.origin(origin))
}

fn next(origin: &Origin, reached: Option<&Who>) -> String {
    let namespace = origin.namespace.as_deref().unwrap_or("kube-system");
    match reached.and_then(|who| who.pod.as_deref()) {
        Some(pod) => format!("kubectl -n {namespace} logs {pod} --since=5m"),
        None => format!("kubectl -n {namespace} get pods -l k8s-app=kube-dns -o wide"),
    }
}
