//! `gateway-altered`: the upstream answered well, and the proxy returned 5xx.

use super::common::{exchange_evidence, logs_command, server_origin, target_label};
use crate::{
    correlate::{Chain, Leaf},
    verdict::{Context, Judgement, cause},
};

pub(super) fn judge(chain: &Chain<'_>, context: &Context<'_>) -> Option<Judgement> {
    let Leaf::Server(leaf) = &chain.leaf else { return None };
    let (proxy, status) = (leaf.proxy.as_ref()?, leaf.exchange.status()?);
    // Only if exactly one call can be meant: others' calls say nothing of this request, and of calls that can't be read
    // nobody knows.
    let [call] = leaf.well.as_slice() else { return None };
    if leaf.healed > 0 || leaf.blind || leaf.opaque.is_some() {
        return None;
    }
    let who = leaf.who.label();
    let origin = server_origin(leaf, chain.hops.last().and_then(|h| h.service.clone()));
    let summary = format!(
        "{who} ({proxy}) answered {status} although its upstream answered {}",
        call.status().unwrap_or_default()
    );
    let upstream = target_label(&crate::correlate::Target { address: Some(call.remote), ..Default::default() });
    let mut found = Judgement::new(cause::GATEWAY_ALTERED, 0.9, summary)
        .because([exchange_evidence(context, &who, &leaf.exchange), exchange_evidence(context, &upstream, call)]);
    if let Some(logs) = logs_command(&origin) {
        found = found.next(logs);
    }
    Some(found.origin(origin))
}
