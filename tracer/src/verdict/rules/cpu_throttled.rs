//! `cpu-throttled`: the caller gave up on a server that its CPU limit kept from running for most of the time.

use super::common::{exchange_evidence, server_origin};
use crate::{
    correlate::{Around, Chain, Leaf, ServerLeaf},
    event::CpuThrottling,
    verdict::{Context, Judgement, around, cause},
};

/// Throttled for less, the request was slow for another reason.
const SHARE: f64 = 0.5;
/// For certainty the readings must cover as much of the request's time.
const COVERED: f64 = 0.5;
const GATEWAY_TIMEOUT: u16 = 504;
/// An application that says so earlier than this wasn't slow.
const SLOW_NS: u64 = 500_000_000;

pub(super) fn judge(chain: &Chain<'_>, context: &Context<'_>) -> Option<Judgement> {
    let Leaf::Server(leaf) = &chain.leaf else { return None };
    let took = leaf.until.saturating_sub(leaf.exchange.start_ns);
    let gave_up_itself = leaf.exchange.status() == Some(GATEWAY_TIMEOUT) && leaf.proxy.is_none() && took >= SLOW_NS;
    if !gave_up_itself && super::upstream_timeout::judge(chain, context).is_none() {
        return None;
    }
    let cpu = chain.around.resources.as_ref()?.cpu?;
    if around::throttled_share(cpu) < SHARE || covered(leaf, cpu) == 0.0 || !wanted_cpu(leaf, &chain.around) {
        return None;
    }
    // Throttled at the end, and nobody knows for how long before: then it isn't the server's own slowness for certain, either.
    let confidence = if covered(leaf, cpu) < COVERED { 0.45 } else { 0.9 };
    let who = leaf.who.label();
    let percent = (around::throttled_share(cpu) * 100.0).round();
    let seconds = took as f64 / 1e9;
    let summary =
        format!("{who} didn't answer within {seconds:.1} s: its CPU limit stopped it for {percent} % of the time");
    let origin = server_origin(leaf, chain.hops.last().and_then(|h| h.service.clone()));
    let seen = exchange_evidence(context, &who, leaf.client.as_ref().unwrap_or(&leaf.exchange));
    let mut judgement =
        Judgement::new(cause::CPU_THROTTLED, confidence, summary).because([around::cpu(context, cpu), seen]);
    if let (Some(namespace), Some(pod)) = (&origin.namespace, &origin.pod) {
        judgement = judgement.next(format!("kubectl -n {namespace} describe pod {pod}  # Limits: cpu"));
    }
    Some(judgement.origin(origin))
}

/// Share of the request's time that lies between the readings.
fn covered(leaf: &ServerLeaf, cpu: CpuThrottling) -> f64 {
    let (from, until) = (leaf.exchange.start_ns, leaf.until);
    let common = until.min(cpu.to_ns).saturating_sub(from.max(cpu.from_ns));
    common as f64 / until.saturating_sub(from).max(1) as f64
}

/// A request that merely waits isn't slowed by a throttled neighbour: its thread wants to run, or some thread does and
/// there is no other request for it.
fn wanted_cpu(leaf: &ServerLeaf, around: &Around) -> bool {
    let Some(resources) = &around.resources else { return false };
    let reader = leaf.exchange.actor.is_some_and(|actor| resources.runnable.contains(&actor.tid));
    reader || (!resources.runnable.is_empty() && !around.crowded)
}
