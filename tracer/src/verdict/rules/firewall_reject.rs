//! `firewall-reject`: a rule rejected the SYN or the DNS query (ICMP, or an RST that no socket of the target sent), no NetworkPolicy denies
//! the flow, and it isn't a Service without endpoints.

use super::common::{connect_evidence, drop_evidence, lookup_evidence, pod_origin, target_label};
use crate::{
    correlate::{Chain, Leaf},
    verdict::{Context, Judgement, Origin, cause},
};

pub(super) fn judge(chain: &Chain<'_>, context: &Context<'_>) -> Option<Judgement> {
    let (drops, pod, target, what, extra) = match &chain.leaf {
        Leaf::Connect(leaf) if leaf.icmp.is_some() || (leaf.connect.reset && leaf.refusal.is_none()) => {
            (&leaf.drops, leaf.drop_pod, &leaf.target, "connects", connect_evidence(context, leaf))
        }
        Leaf::Lookup(leaf) if leaf.icmp.is_some() => {
            (&leaf.drops, leaf.drop_pod, &leaf.target, "queries", lookup_evidence(context, leaf))
        }
        _ => return None,
    };
    let (at, drop) = drops.iter().find(|(_, d)| d.by_netfilter())?;
    let (mut origin, place) = match pod {
        Some(pod) => (pod_origin(context, pod), format!("in the network namespace of {}", pod.metadata.name)),
        None => {
            let node = context.node_of_netns(drop.netns);
            (Origin { node, ..Origin::default() }, "in the node's network namespace".to_owned())
        }
    };
    origin.address = target.backend.or(target.address).map(|a| a.to_string());
    let summary = format!(
        "a netfilter rule {place} rejects {what} to {}, and no NetworkPolicy denies the flow",
        target_label(target)
    );
    Some(
        Judgement::new(cause::FIREWALL_REJECT, 0.94, summary)
            .origin(origin)
            .because([drop_evidence(context, *at, drop, pod), extra])
            .next("nft list ruleset"),
    )
}
