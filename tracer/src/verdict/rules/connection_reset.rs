//! `connection-reset`: the peer reset the exchange midway.

use super::common::{exchange_evidence, logs_command, server_origin, target_label, target_origin};
use crate::{
    correlate::{Chain, Leaf},
    verdict::{Context, Judgement, cause, evidence},
};

pub(super) fn judge(chain: &Chain<'_>, context: &Context<'_>) -> Option<Judgement> {
    let (origin, who, found) = match &chain.leaf {
        Leaf::Server(leaf) if leaf.exchange.status().is_none() => {
            let client = leaf.client.as_ref();
            // The server's reset, not one that answers a client which left.
            let by_server = client.is_some_and(|c| c.reset_received && !c.local_closed_first)
                || (client.is_none() && leaf.exchange.reset_sent && !leaf.exchange.remote_closed_first);
            if !by_server {
                return None;
            }
            let who = leaf.who.label();
            let origin = server_origin(leaf, chain.hops.last().and_then(|h| h.service.clone()));
            let found = exchange_evidence(context, &who, client.unwrap_or(&leaf.exchange));
            (origin, who, found)
        }
        Leaf::Remote(leaf) if leaf.exchange.status().is_none() => {
            if !leaf.exchange.reset_received || leaf.exchange.local_closed_first {
                return None;
            }
            let who = target_label(&leaf.target);
            let found = exchange_evidence(context, &who, &leaf.exchange);
            (target_origin(&leaf.target), who, found)
        }
        Leaf::End(leaf) if leaf.signal.reset_received => {
            let who = target_label(&leaf.target);
            let text = format!("{} reset the connection of {}", leaf.signal.remote, leaf.signal.local);
            let found = evidence("reset", context.at(leaf.at), text)
                .with("bytes_received", leaf.signal.bytes_received)
                .with("bytes_acked", leaf.signal.bytes_acked);
            (target_origin(&leaf.target), who, found)
        }
        _ => return None,
    };
    let mut judgement =
        Judgement::new(cause::CONNECTION_RESET, 0.95, format!("{who} reset the connection before it answered"))
            .because([found]);
    if let Some(logs) = logs_command(&origin) {
        judgement = judgement.next(logs);
    }
    Some(judgement.origin(origin))
}
