//! `app-crash`: the process that read the request died before it answered.

use super::common::{death_evidence, exchange_evidence, logs_command, server_origin, target_label, target_origin};
use crate::{
    correlate::{Chain, Leaf},
    verdict::{Context, Judgement, cause},
};

pub(super) fn judge(chain: &Chain<'_>, context: &Context<'_>) -> Option<Judgement> {
    let (origin, who, deaths, more) = match &chain.leaf {
        Leaf::Server(leaf) if leaf.exchange.status().is_none() => {
            let origin = server_origin(leaf, chain.hops.last().and_then(|h| h.service.clone()));
            let who = leaf.who.label();
            let more = exchange_evidence(context, &who, &leaf.exchange);
            (origin, who, &leaf.deaths, Some(more))
        }
        // It died between requests; this one was sent on a connection that it left behind.
        Leaf::Remote(leaf) => {
            let who = target_label(&leaf.target);
            let more = exchange_evidence(context, &who, &leaf.exchange);
            (target_origin(&leaf.target), who, &leaf.deaths, Some(more))
        }
        Leaf::End(leaf) => (target_origin(&leaf.target), leaf.target.who.as_ref()?.label(), &leaf.deaths, None),
        _ => return None,
    };
    // A process that ends well may close its idle connections first; one that read nothing of this may just end meanwhile.
    let idle = match &chain.leaf {
        Leaf::Server(leaf) => {
            let exchange = &leaf.exchange;
            exchange.closed_idle || exchange.met_a_closing_server() || exchange.actor.is_none()
        }
        leaf => matches!(leaf, Leaf::Remote(_)),
    };
    let (at, process) = deaths.iter().find(|(_, p)| !(p.oom_victim || idle && p.exit_code == Some(0)))?;
    let how = match (process.signal, process.exit_code) {
        (Some(signal), _) => format!("was killed by signal {signal}"),
        (_, Some(code)) => format!("exited with code {code}"),
        _ => "ended".to_owned(),
    };
    let summary = format!("{who}: its process {} {how} with the request unanswered", process.comm);
    let mut found =
        Judgement::new(cause::APP_CRASH, 0.97, summary).because([death_evidence(context, *at, process)]).because(more);
    if let Some(logs) = logs_command(&origin) {
        found = found.next(format!("{logs} --previous")).next(logs);
    }
    Some(found.origin(origin))
}
