//! `rate-limited`: 5xx with `Retry-After` or rate-limit headers, from a container none of whose calls failed.

use super::common::{exchange_evidence, logs_command, server_origin};
use crate::{
    correlate::{Chain, Leaf},
    verdict::{Context, Judgement, cause, evidence},
};

pub(super) fn judge(chain: &Chain<'_>, context: &Context<'_>) -> Option<Judgement> {
    let Leaf::Server(leaf) = &chain.leaf else { return None };
    let status = leaf.exchange.status()?;
    let response = leaf.exchange.response.as_ref()?;
    let limited = response.retry_after.is_some() || response.rate_limit;
    // A relay may have passed its upstream's headers on.
    if !limited || !matches!(status, 500 | 503) || !leaf.well.is_empty() || leaf.blind {
        return None;
    }
    let who = leaf.who.label();
    let origin = server_origin(leaf, chain.hops.last().and_then(|h| h.service.clone()));
    let header = response.retry_after.as_ref().map_or("rate-limit headers".to_owned(), |v| format!("Retry-After: {v}"));
    let mut found = Judgement::new(cause::RATE_LIMITED, 0.9, format!("{who} limits its load: {status} with {header}"))
        .because([
            exchange_evidence(context, &who, &leaf.exchange),
            evidence("exchange", None, format!("the response carried {header}")),
        ]);
    if let Some(logs) = logs_command(&origin) {
        found = found.next(logs);
    }
    Some(found.origin(origin))
}
