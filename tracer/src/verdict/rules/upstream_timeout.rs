//! `upstream-timeout`: a call was still unanswered when the caller gave up; the slow one is the origin.

use super::common::{exchange_evidence, logs_command, server_origin, target_label, target_origin};
use crate::{
    correlate::{Chain, Leaf},
    verdict::{Context, Judgement, cause, evidence},
};

const UNFINISHED: &str = "hadn't finished its answer";

pub(super) fn judge(chain: &Chain<'_>, context: &Context<'_>) -> Option<Judgement> {
    let mut hadnt = "hadn't answered";
    let (origin, who, waited, found) = match &chain.leaf {
        Leaf::Server(leaf) => {
            let server = &leaf.exchange;
            if !leaf.is_given_up() {
                return None;
            }
            let who = leaf.who.label();
            let origin = server_origin(leaf, chain.hops.last().and_then(|h| h.service.clone()));
            if server.cut.is_some() {
                hadnt = UNFINISHED;
            }
            let waited = leaf.until.saturating_sub(server.start_ns);
            (origin, who.clone(), waited, exchange_evidence(context, &who, leaf.client.as_ref().unwrap_or(server)))
        }
        Leaf::Remote(leaf) if leaf.exchange.status().is_none() => {
            if leaf.exchange.reset_received || leaf.exchange.remote_closed_first {
                return None;
            }
            let who = target_label(&leaf.target);
            if leaf.exchange.cut.is_some() {
                hadnt = UNFINISHED;
            }
            let waited = leaf.exchange.end_ns.saturating_sub(leaf.exchange.start_ns);
            (target_origin(&leaf.target), who.clone(), waited, exchange_evidence(context, &who, &leaf.exchange))
        }
        Leaf::End(leaf) if !leaf.signal.reset_received => {
            let who = target_label(&leaf.target);
            let waited = leaf.at.saturating_sub(leaf.signal.established_ns);
            let text = format!(
                "{} sent {} bytes to {} and got none back",
                leaf.signal.local,
                leaf.signal.bytes_acked.saturating_sub(1),
                leaf.signal.remote
            );
            (target_origin(&leaf.target), who, waited, evidence("connection", context.at(leaf.at), text))
        }
        _ => return None,
    };
    let summary = format!("{who} {hadnt} after {:.1} s, when its caller gave up", waited as f64 / 1e9);
    let mut judgement = Judgement::new(cause::UPSTREAM_TIMEOUT, 0.93, summary).because([found]);
    if let Some(logs) = logs_command(&origin) {
        judgement = judgement.next(logs);
    }
    Some(judgement.origin(origin))
}
