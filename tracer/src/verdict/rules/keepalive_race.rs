//! `keepalive-race`: the request was sent on an idle connection that the server was closing.

use super::common::{exchange_evidence, logs_command, server_origin, target_label, target_origin};
use crate::{
    correlate::{Chain, Leaf, ServerLeaf},
    event::{Exchange, Role},
    verdict::{Context, Evidence, Judgement, cause, evidence},
};

/// A server that closes an idle connection as a request comes leaves it unread for a moment only; one that was stuck
/// leaves it for longer.
const UNREAD_NS: u64 = 100_000_000;

pub(super) fn judge(chain: &Chain<'_>, context: &Context<'_>) -> Option<Judgement> {
    let (origin, who, request, closed, confidence) = match &chain.leaf {
        Leaf::Server(leaf) if leaf.exchange.status().is_none() => {
            let ends = [leaf.client.as_ref(), Some(&leaf.exchange)];
            let (end, confidence) = match ends.into_iter().flatten().find(|end| end.met_a_closing_server()) {
                Some(end) => (end, 0.95),
                None if closed_unread(leaf) => (&leaf.exchange, 0.85),
                None => return None,
            };
            let origin = server_origin(leaf, chain.hops.last().and_then(|h| h.service.clone()));
            (origin, leaf.who.label(), leaf.client.as_ref().unwrap_or(&leaf.exchange), end, confidence)
        }
        Leaf::Remote(leaf) if leaf.exchange.met_a_closing_server() => {
            (target_origin(&leaf.target), target_label(&leaf.target), &leaf.exchange, &leaf.exchange, 0.95)
        }
        _ => return None,
    };
    let summary = format!("{who} was closing the idle connection on which the request was sent");
    let mut judgement = Judgement::new(cause::KEEPALIVE_RACE, confidence, summary)
        .because([closing_evidence(context, &who, closed), exchange_evidence(context, &who, request)])
        .next(format!(
            "make the keep-alive timeout of {who} longer than its callers', or let them retry on another connection"
        ));
    if let Some(logs) = logs_command(&origin) {
        judgement = judgement.next(logs);
    }
    Some(judgement.origin(origin))
}

/// The server closed with the request in its buffer: the kernel answers that with an RST (RFC 2525 section 2.17).
fn closed_unread(leaf: &ServerLeaf) -> bool {
    let server = &leaf.exchange;
    let reset = leaf.client.as_ref().is_none_or(|c| c.reset_received && !c.local_closed_first);
    let by_server = !server.remote_closed_first && !server.reset_received;
    leaf.unread && reset && by_server && server.end_ns.saturating_sub(server.start_ns) < UNREAD_NS
}

fn closing_evidence(context: &Context<'_>, who: &str, end: &Exchange) -> Evidence {
    let text = if !end.closed_idle {
        let ms = end.end_ns.saturating_sub(end.start_ns) as f64 / 1e6;
        format!("{who} closed the connection {ms:.1} ms after the request had come, without reading it")
    } else if end.closing_ns <= end.start_ns {
        let ms = end.start_ns.saturating_sub(end.closing_ns) / 1_000_000;
        let what = if end.role == Role::Client { "came" } else { "was sent" };
        format!("{who}'s FIN {what} {ms} ms before the request")
    } else {
        format!("{who}'s FIN crossed the request: it doesn't acknowledge it")
    };
    evidence("close", context.at(end.closing_ns), text).with("requests_before", end.number)
}
