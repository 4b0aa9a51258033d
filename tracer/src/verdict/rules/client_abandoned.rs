//! `client-abandoned`: the caller hung up before the answer, and the server failed because of that.

use super::common::exchange_evidence;
use crate::{
    correlate::{Chain, Leaf},
    verdict::{Context, Judgement, Origin, cause, evidence},
};

pub(super) fn judge(chain: &Chain<'_>, context: &Context<'_>) -> Option<Judgement> {
    let Leaf::Abandoned(leaf) = &chain.leaf else { return None };
    let server = leaf.who.label();
    let address = leaf.address.ip().to_string();
    let caller = leaf.caller.as_ref().map_or_else(|| address.clone(), crate::correlate::Who::label);
    let waited = leaf.waited_ns / 1_000_000;
    let status = leaf.server.status().unwrap_or_default();
    let after = leaf.server.end_ns.saturating_sub(leaf.left_ns) / 1_000_000;
    let summary = format!("{caller} hung up {waited} ms after its request; {server} answered {status} only then");
    let mut origin = leaf.caller.as_ref().map(crate::correlate::Who::origin).unwrap_or_default();
    if origin == Origin::default() {
        origin.address = Some(address);
    }
    let closed = format!("the caller of {server} closed the connection {after} ms before the answer");
    Some(
        Judgement::new(cause::CLIENT_ABANDONED, 0.9, summary)
            .origin(origin)
            .because([
                evidence("close", context.at(leaf.left_ns), closed),
                exchange_evidence(context, &server, &leaf.server),
            ])
            .next(format!("the timeouts and cancellations of {caller}")),
    )
}
