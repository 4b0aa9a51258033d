//! `dns-unavailable`: the cluster's DNS Service has no ready endpoint, or its queries are refused.

use super::common::lookup_evidence;
use crate::{
    correlate::{Chain, Leaf, LookupOutcome, service_name},
    verdict::{Context, Judgement, Origin, cause, evidence},
};

pub(super) fn judge(chain: &Chain<'_>, context: &Context<'_>) -> Option<Judgement> {
    let Leaf::Lookup(leaf) = &chain.leaf else { return None };
    let service = leaf.target.service?;
    if leaf.lookup.outcome != LookupOutcome::Timeout || leaf.reached.is_some() || leaf.drop_pod.is_some() {
        return None;
    }
    let endpoints = context.snapshot.endpoints(service);
    let empty = endpoints.is_known() && endpoints.ready.is_empty();
    // A rule that rejects is a policy's or a firewall's: it leaves a drop beside its ICMP.
    if !empty && (leaf.icmp.is_none() || !leaf.drops.is_empty()) {
        return None;
    }
    let name = service_name(service);
    let why = if empty { "has no ready endpoint" } else { "refuses queries" };
    let mut found = Judgement::new(cause::DNS_UNAVAILABLE, 0.95, format!("the cluster's DNS Service {name} {why}"))
        .origin(Origin {
            namespace: Some(service.metadata.namespace.clone()),
            service: Some(name.clone()),
            address: Some(leaf.lookup.resolver.to_string()),
            ..Origin::default()
        })
        .because([lookup_evidence(context, leaf)]);
    if let Some((at, icmp)) = &leaf.icmp {
        let text = format!("ICMP {}/{} answered the query", icmp.icmp_type, icmp.icmp_code);
        found = found.because([evidence("icmp", context.at(*at), text)]);
    }
    Some(found.next(format!("kubectl -n {} get pods -l k8s-app=kube-dns -o wide", service.metadata.namespace)))
}
