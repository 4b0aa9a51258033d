//! `unknown`: seen, not explained. Says what was seen.

use super::common::{
    connect_evidence, drop_evidence, exchange_evidence, opaque_evidence, socket_evidence, target_label,
};
use crate::{
    correlate::{Chain, Leaf},
    verdict::{Context, Judgement, cause, evidence},
};

pub(in crate::verdict) fn judge(chain: &Chain<'_>, context: &Context<'_>) -> Judgement {
    let (summary, found) = match &chain.leaf {
        Leaf::Server(leaf) => {
            let who = leaf.who.label();
            let summary = match &leaf.opaque {
                Some(_) => format!("{who} failed the request; what it called meanwhile can't be read"),
                None => format!("{who} failed the request; why wasn't seen"),
            };
            let seen = [exchange_evidence(context, &who, &leaf.exchange)];
            (summary, seen.into_iter().chain(opaque_evidence(leaf)).chain(socket_evidence(chain, leaf)).collect())
        }
        Leaf::Remote(leaf) => {
            let who = target_label(&leaf.target);
            let text = format!("{who} failed the call; it isn't observed on {}", context.observed());
            (text, vec![exchange_evidence(context, &who, &leaf.exchange)])
        }
        Leaf::Lost(leaf) => {
            let who = target_label(&leaf.target);
            let answered = leaf.server.iter().map(|server| exchange_evidence(context, &who, server));
            let drops = leaf.drops.iter().take(3).map(|(at, d)| drop_evidence(context, *at, d, leaf.drop_pod));
            let found = answered.chain([exchange_evidence(context, &who, &leaf.client)]).chain(drops).collect();
            (format!("what {who} answered didn't reach its caller; why wasn't seen"), found)
        }
        Leaf::Connect(leaf) => {
            let mut found = vec![connect_evidence(context, leaf)];
            found.extend(leaf.drops.iter().take(3).map(|(at, d)| drop_evidence(context, *at, d, leaf.drop_pod)));
            if let Some((at, icmp)) = &leaf.icmp {
                let text = format!("ICMP {}/{} answered", icmp.icmp_type, icmp.icmp_code);
                found.push(evidence("icmp", context.at(*at), text));
            }
            (format!("the connect to {} failed; why wasn't seen", target_label(&leaf.target)), found)
        }
        Leaf::Lookup(leaf) => (format!("the lookup of {} failed", leaf.lookup.name), Vec::new()),
        Leaf::End(leaf) => (format!("the connection to {} broke", target_label(&leaf.target)), Vec::new()),
        Leaf::Abandoned(leaf) => (format!("the caller of {} left", leaf.who.label()), Vec::new()),
        Leaf::Ambiguous(causes) => {
            let text = if causes.is_empty() {
                "calls failed meanwhile, but none that fits the answer".to_owned()
            } else {
                format!("may be any of: {}", causes.join("; "))
            };
            let found = vec![evidence("link", None, text).with("candidates", causes.clone())];
            ("nothing tells which of several things failed this request".to_owned(), found)
        }
    };
    Judgement::new(cause::UNKNOWN, 0.0, summary).because(found)
}
