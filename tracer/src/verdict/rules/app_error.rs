//! `app-error`: the container itself produced the 5xx; nothing it depends on failed meanwhile.

use super::common::{exchange_evidence, logs_command, opaque_evidence, server_origin, target_label};
use crate::{
    correlate::{Chain, Leaf, Target},
    verdict::{Context, Judgement, cause, evidence},
};

/// Answers from this status on may be why a caller fails.
const DENIED: u16 = 400;
/// Of them, those that are shown.
const SHOWN: usize = 3;

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
        (well, 0) => format!("its {well} calls while it served the request were answered, none of them with 5xx"),
        (well, healed) => {
            format!("{well} calls were answered without 5xx, {healed} failed and were retried with success")
        }
    };
    // No failure of a server's, but to a caller that can't do without it.
    let denied: Vec<_> = leaf.well.iter().filter(|call| call.status().is_some_and(|status| status >= DENIED)).collect();
    let mut found = Judgement::new(
        cause::APP_ERROR,
        match (leaf.blind, &leaf.opaque) {
            (true, _) => 0.45,
            (false, None) if denied.is_empty() => 0.95,
            (false, _) => 0.8,
        },
        format!("{who} answered {status} on its own account"),
    )
    .because([exchange_evidence(context, &who, &leaf.exchange), evidence("exchange", None, calls)])
    .because(denied.iter().take(SHOWN).map(|call| {
        let target = Target { address: Some(call.remote), ..Target::default() };
        exchange_evidence(context, &target_label(&target), call)
    }))
    .because(opaque_evidence(leaf));
    if let Some(logs) = logs_command(&origin) {
        found = found.next(logs);
    }
    Some(found.origin(origin))
}
