//! `firewall-reject`: a rule rejected the SYN (ICMP, or an RST that no socket of the target sent), no NetworkPolicy denies
//! the flow, and it isn't a Service without endpoints.

use super::common::{connect_evidence, drop_evidence, pod_origin, target_label};
use crate::{
    correlate::{Chain, Leaf},
    verdict::{Context, Judgement, Origin, cause},
};

pub(super) fn judge(chain: &Chain<'_>, context: &Context<'_>) -> Option<Judgement> {
    let Leaf::Connect(leaf) = &chain.leaf else { return None };
    let (at, drop) = leaf.drops.iter().find(|(_, d)| d.reason.as_deref().is_none_or(|r| r == "NETFILTER_DROP"))?;
    let rejected = leaf.icmp.is_some() || (leaf.connect.reset && leaf.refusal.is_none());
    if !rejected {
        return None;
    }
    let (mut origin, place) = match leaf.drop_pod {
        Some(pod) => (pod_origin(context, pod), format!("in the network namespace of {}", pod.metadata.name)),
        None => {
            let node = context.node_of_netns(drop.netns);
            (Origin { node, ..Origin::default() }, "in the node's network namespace".to_owned())
        }
    };
    origin.address = leaf.target.backend.or(leaf.target.address).map(|a| a.to_string());
    let summary = format!(
        "a netfilter rule {place} rejects connects to {}, and no NetworkPolicy denies the flow",
        target_label(&leaf.target)
    );
    Some(
        Judgement::new(cause::FIREWALL_REJECT, 0.94, summary)
            .origin(origin)
            .because([drop_evidence(context, *at, drop, leaf.drop_pod), connect_evidence(context, leaf)])
            .next("nft list ruleset"),
    )
}
