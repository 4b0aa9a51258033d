//! `gateway-no-upstream`: a proxy answered 5xx without trying an upstream (route, auth, WAF, limit).

use super::common::{exchange_evidence, logs_command, server_origin, socket_evidence};
use crate::{
    correlate::{Chain, Leaf},
    verdict::{Context, Judgement, cause, evidence},
};

pub(super) fn judge(chain: &Chain<'_>, context: &Context<'_>) -> Option<Judgement> {
    let Leaf::Server(leaf) = &chain.leaf else { return None };
    let proxy = leaf.proxy.as_ref()?;
    let status = leaf.exchange.status()?;
    // With an upstream that answered well it is another matter; with records missing, a connection in use that can't be
    // read, or an application behind a Unix socket, nobody can say that none was tried.
    let unseen = leaf.blind || leaf.opaque.is_some() || socket_evidence(chain, leaf).is_some();
    if !leaf.well.is_empty() || leaf.healed > 0 || unseen {
        return None;
    }
    let who = leaf.who.label();
    let origin = server_origin(leaf, chain.hops.last().and_then(|h| h.service.clone()));
    let path = leaf.exchange.request.as_ref().map_or("", |h| h.path.as_str());
    let summary = format!("{who} ({proxy}) answered {status} for {path} itself, without trying an upstream");
    let mut found = Judgement::new(cause::GATEWAY_NO_UPSTREAM, 0.93, summary).because([
        exchange_evidence(context, &who, &leaf.exchange),
        evidence(
            "exchange",
            None,
            "no call and no connect by it while it served the request, no failed one in the minute before".to_owned(),
        ),
    ]);
    if let Some(logs) = logs_command(&origin) {
        found = found.next(logs);
    }
    Some(found.origin(origin))
}
