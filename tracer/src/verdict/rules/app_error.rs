//! `app-error`: the container itself produced the 5xx; nothing it depends on failed meanwhile.

use super::common::{exchange_evidence, logs_command, opaque_evidence, server_origin};
use crate::{
    correlate::{Chain, Leaf},
    verdict::{Context, Judgement, cause, evidence},
};

pub(super) fn judge(chain: &Chain<'_>, context: &Context<'_>) -> Option<Judgement> {
    let Leaf::Server(leaf) = &chain.leaf else { return None };
    let status = leaf.exchange.status()?;
    // A relay that had an answer from upstream changed it: not an application's error.
    if leaf.proxy.is_some() {
        return None;
    }
    let who = leaf.who.label();
    let origin = server_origin(leaf, chain.hops.last().and_then(|h| h.service.clone()));
    let calls = match (leaf.well.len(), leaf.healed) {
        (0, 0) => "it called nothing while it served the request".to_owned(),
        (well, 0) => format!("its {well} calls while it served the request went well"),
        (well, healed) => format!("{well} calls went well, {healed} failed and were retried with success"),
    };
    let mut found = Judgement::new(
        cause::APP_ERROR,
        match (leaf.blind, &leaf.opaque) {
            (true, _) => 0.45,
            (false, Some(_)) => 0.8,
            (false, None) => 0.95,
        },
        format!("{who} answered {status} on its own account"),
    )
    .because([exchange_evidence(context, &who, &leaf.exchange), evidence("exchange", None, calls)])
    .because(opaque_evidence(leaf));
    if let Some(logs) = logs_command(&origin) {
        found = found.next(logs);
    }
    Some(found.origin(origin))
}
