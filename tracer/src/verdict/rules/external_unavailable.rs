//! `external-unavailable`: what failed is outside the cluster, named by the DNS answer seen.

use super::common::{connect_evidence, exchange_evidence, target_label, target_origin};
use crate::{
    correlate::{Chain, Leaf},
    verdict::{Context, Judgement, cause, evidence},
};

pub(super) fn judge(chain: &Chain<'_>, context: &Context<'_>) -> Option<Judgement> {
    // Without cluster state nobody knows what is outside.
    if context.snapshot.is_empty() {
        return None;
    }
    let (target, how, found) = match &chain.leaf {
        Leaf::Remote(leaf) => {
            let label = target_label(&leaf.target);
            let how = match leaf.exchange.status() {
                Some(status) => format!("answered {status}"),
                None => "didn't answer".to_owned(),
            };
            (&leaf.target, how, exchange_evidence(context, &label, &leaf.exchange))
        }
        Leaf::Connect(leaf) => {
            let refused = leaf.connect.reset || leaf.icmp.is_some();
            let how = if refused { "refused the connection" } else { "didn't accept the connection" };
            (&leaf.target, how.to_owned(), connect_evidence(context, leaf))
        }
        Leaf::End(leaf) => {
            let how = if leaf.signal.reset_received { "reset the connection" } else { "never answered" };
            (
                &leaf.target,
                how.to_owned(),
                evidence("connection", context.at(leaf.at), format!("{} {how}", leaf.signal.remote)),
            )
        }
        _ => return None,
    };
    if target.inside {
        return None;
    }
    let label = target_label(target);
    let origin = target_origin(target);
    let address = target.address.map(|a| a.to_string()).unwrap_or_default();
    Some(
        Judgement::new(cause::EXTERNAL_UNAVAILABLE, 0.95, format!("{label}, outside the cluster, {how}"))
            .origin(origin)
            .because([found])
            .next(format!("curl -sv --max-time 5 telnet://{address}")),
    )
}
