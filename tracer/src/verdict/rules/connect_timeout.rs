//! `connect-timeout`: SYNs without an answer, and no drop seen on this node.

use super::{
    accept_queue_overflow::syn_evidence,
    common::{connect_evidence, target_label, target_origin},
};
use crate::{
    correlate::{Chain, Leaf},
    verdict::{Context, Judgement, cause},
};

/// A connect given up earlier, without a single retransmit, says nothing of the target.
const WAITED_NS: u64 = 400_000_000;

pub(super) fn judge(chain: &Chain<'_>, context: &Context<'_>) -> Option<Judgement> {
    let Leaf::Connect(leaf) = &chain.leaf else { return None };
    let c = &leaf.connect;
    let waited = c.end_ns.saturating_sub(c.start_ns);
    let silent = c.error == 0 || c.error == ETIMEDOUT;
    let quiet = leaf.drops.is_empty() && leaf.icmp.is_none() && leaf.refusal.is_none() && c.error_soft == 0;
    if !silent || c.reset || !quiet || (c.syn_retransmits == 0 && waited < WAITED_NS) || c.local.port() == 0 {
        return None;
    }
    let label = target_label(&leaf.target);
    let summary = format!("{label} doesn't answer connects, and no drop was seen on {}", context.observed());
    let address = c.remote;
    Some(
        Judgement::new(cause::CONNECT_TIMEOUT, 0.85, summary)
            .origin(target_origin(&leaf.target))
            .because([connect_evidence(context, leaf)])
            .because(leaf.syn.as_ref().map(|(at, syn)| syn_evidence(context, *at, syn)))
            .next(format!("on the node of {label}: tracer capture, or: ip route get {}", address.ip())),
    )
}

const ETIMEDOUT: u32 = 110;
