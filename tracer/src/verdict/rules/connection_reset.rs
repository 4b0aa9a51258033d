//! `connection-reset`: the peer reset the exchange midway, or closed the connection within its answer.

use super::common::{exchange_evidence, logs_command, server_origin, target_label, target_origin};
use crate::{
    correlate::{Chain, Leaf},
    event::{Exchange, Role},
    verdict::{Context, Judgement, cause, evidence},
};

pub(super) fn judge(chain: &Chain<'_>, context: &Context<'_>) -> Option<Judgement> {
    let (origin, who, found, how) = match &chain.leaf {
        Leaf::Server(leaf) if leaf.exchange.status().is_none() => {
            let client = leaf.client.as_ref();
            // The server's reset, not one that answers a client which left.
            let by_server = client.is_some_and(|c| c.reset_received && !c.local_closed_first)
                || (client.is_none() && leaf.exchange.reset_sent && !leaf.exchange.remote_closed_first);
            let broken = client.map_or(closed_within(&leaf.exchange, Role::Server), |c| closed_within(c, Role::Client));
            if !by_server && !broken {
                return None;
            }
            let who = leaf.who.label();
            let origin = server_origin(leaf, chain.hops.last().and_then(|h| h.service.clone()));
            let seen = client.unwrap_or(&leaf.exchange);
            (origin, who.clone(), exchange_evidence(context, &who, seen), how(seen, by_server))
        }
        Leaf::Remote(leaf) if leaf.exchange.status().is_none() => {
            let client = &leaf.exchange;
            let reset = client.reset_received && !client.local_closed_first;
            if !reset && !closed_within(client, Role::Client) {
                return None;
            }
            let who = target_label(&leaf.target);
            let found = exchange_evidence(context, &who, client);
            (target_origin(&leaf.target), who, found, how(client, reset))
        }
        Leaf::End(leaf) if leaf.signal.reset_received => {
            let who = target_label(&leaf.target);
            let text = format!("{} reset the connection of {}", leaf.signal.remote, leaf.signal.local);
            let found = evidence("reset", context.at(leaf.at), text)
                .with("bytes_received", leaf.signal.bytes_received)
                .with("bytes_acked", leaf.signal.bytes_acked);
            (target_origin(&leaf.target), who, found, "reset the connection before it answered")
        }
        _ => return None,
    };
    let mut judgement = Judgement::new(cause::CONNECTION_RESET, 0.95, format!("{who} {how}")).because([found]);
    if let Some(logs) = logs_command(&origin) {
        judgement = judgement.next(logs);
    }
    Some(judgement.origin(origin))
}

/// Whether the server closed the connection before its answer was as long as it had announced.
fn closed_within(exchange: &Exchange, role: Role) -> bool {
    let server_first = match role {
        Role::Client => exchange.remote_closed_first && !exchange.local_closed_first,
        Role::Server => exchange.local_closed_first && !exchange.remote_closed_first,
    };
    exchange.cut.is_some() && server_first
}

fn how(exchange: &Exchange, reset: bool) -> &'static str {
    match (exchange.cut, reset) {
        (None, _) => "reset the connection before it answered",
        (Some(_), true) => "reset the connection in the middle of its answer",
        (Some(_), false) => "closed the connection in the middle of its answer",
    }
}
