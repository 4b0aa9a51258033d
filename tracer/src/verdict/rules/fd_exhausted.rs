//! `fd-exhausted`: the process that serves has no descriptor left: it can't accept, or can't open what it needs.

use super::common::{exchange_evidence, server_origin};
use crate::{
    correlate::{Chain, Leaf},
    verdict::{Context, Judgement, around, cause},
};

/// With so few left it was at its limit a moment ago: the failed request's own descriptors are closed with the answer.
const LEFT: u64 = 2;
/// With so many left, and the log's word for it.
const LEFT_SHARE: u64 = 10;
const WORDS: [&str; 4] = ["too many open files", "EMFILE", "no file descriptors available", "out of file descriptors"];

pub(super) fn judge(chain: &Chain<'_>, context: &Context<'_>) -> Option<Judgement> {
    let Leaf::Server(leaf) = &chain.leaf else { return None };
    let found = chain.around.resources.as_ref()?.descriptors?;
    let left = found.limit.saturating_sub(found.open);
    let logged = around::logged(chain, &WORDS).is_some();
    if left > LEFT && !(logged && left <= found.limit / LEFT_SHARE) {
        return None;
    }
    let server = &leaf.exchange;
    let unread = server.read_ns.is_none() && server.actor.is_none();
    // A request that was read and isn't answered may wait for anything else.
    if server.status().is_none() && !unread && !logged {
        return None;
    }
    let who = leaf.who.label();
    let what = if unread { "it can't accept the connection" } else { "it can't open what the request needs" };
    let summary = format!("{who} has {} of at most {} descriptors open: {what}", found.open, found.limit);
    let origin = server_origin(leaf, chain.hops.last().and_then(|h| h.service.clone()));
    let mut confidence = if logged { 0.96 } else { 0.9 };
    if leaf.blind {
        confidence *= 0.7;
    }
    let mut judgement = Judgement::new(cause::FD_EXHAUSTED, confidence, summary).because([
        around::descriptors(found),
        exchange_evidence(context, &who, leaf.client.as_ref().unwrap_or(server)),
    ]);
    if let (Some(namespace), Some(pod)) = (&origin.namespace, &origin.pod) {
        let container = origin.container.as_ref().map(|name| format!(" -c {name}")).unwrap_or_default();
        judgement = judgement.next(format!("kubectl -n {namespace} exec {pod}{container} -- ls -l /proc/1/fd"));
    }
    Some(judgement.origin(origin))
}
