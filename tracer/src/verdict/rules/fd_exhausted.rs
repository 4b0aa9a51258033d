//! `fd-exhausted`: the process that serves has no descriptor left: it can't accept, or can't open what it needs.

use super::common::{connect_evidence, exchange_evidence, server_origin, target_label, target_origin};
use crate::{
    correlate::{Chain, Leaf},
    event::Descriptors,
    verdict::{Context, Judgement, Origin, around, cause},
};

/// With so few left it was at its limit a moment ago: the failed request's own descriptors are closed with the answer.
const LEFT: u64 = 2;
/// With so many left, and the log's word for it.
const LEFT_SHARE: u64 = 10;
const WORDS: [&str; 4] = ["too many open files", "EMFILE", "no file descriptors available", "out of file descriptors"];
const ACCEPT: &str = "it can't accept the connection";

pub(super) fn judge(chain: &Chain<'_>, context: &Context<'_>) -> Option<Judgement> {
    let found = chain.around.resources.as_ref()?.descriptors?;
    let left = found.limit.saturating_sub(found.open);
    let logged = around::logged(chain, &WORDS).is_some();
    if left > LEFT && !(logged && left <= found.limit / LEFT_SHARE) {
        return None;
    }
    let mut confidence = if logged { 0.96 } else { 0.9 };
    match &chain.leaf {
        Leaf::Server(leaf) => {
            let server = &leaf.exchange;
            let unread = server.read_ns.is_none() && server.actor.is_none();
            // A request that was read and isn't answered may wait for anything else.
            if server.status().is_none() && !unread && !logged {
                return None;
            }
            if leaf.blind {
                confidence *= 0.7;
            }
            let who = leaf.who.label();
            let what = if unread { ACCEPT } else { "it can't open what the request needs" };
            let origin = server_origin(leaf, chain.hops.last().and_then(|h| h.service.clone()));
            let seen = exchange_evidence(context, &who, leaf.client.as_ref().unwrap_or(server));
            Some(judgement(found, confidence, &who, what, origin).because([seen]))
        }
        // The connections that it can't accept have filled its queue.
        Leaf::Connect(leaf) if leaf.syn.as_ref().is_some_and(|(_, syn)| syn.accept_queue > syn.accept_queue_max) => {
            if leaf.connect.reset || leaf.icmp.is_some() || leaf.refusal.is_some() {
                return None;
            }
            let origin = target_origin(&leaf.target);
            let who = target_label(&leaf.target);
            let seen = leaf.syn.iter().map(|(at, syn)| super::accept_queue_overflow::syn_evidence(context, *at, syn));
            let found = judgement(found, confidence, &who, ACCEPT, origin).because(seen);
            Some(found.because([connect_evidence(context, leaf)]))
        }
        _ => None,
    }
}

fn judgement(found: Descriptors, confidence: f64, who: &str, what: &str, origin: Origin) -> Judgement {
    let summary = format!("{who} has {} of at most {} descriptors open: {what}", found.open, found.limit);
    let mut judgement = Judgement::new(cause::FD_EXHAUSTED, confidence, summary).because([around::descriptors(found)]);
    if let (Some(namespace), Some(pod)) = (&origin.namespace, &origin.pod) {
        let container = origin.container.as_ref().map(|name| format!(" -c {name}")).unwrap_or_default();
        judgement = judgement.next(format!("kubectl -n {namespace} exec {pod}{container} -- ls -l /proc/1/fd"));
    }
    judgement.origin(origin)
}
