//! `dns-nxdomain` and `dns-servfail`: the resolver answered that it can't.

use crate::{
    correlate::{Chain, Leaf, LookupOutcome},
    verdict::{Context, Judgement, cause, evidence},
};

pub(super) fn judge(chain: &Chain<'_>, context: &Context<'_>) -> Option<Judgement> {
    let Leaf::Lookup(leaf) = &chain.leaf else { return None };
    let lookup = &leaf.lookup;
    let (id, what) = match lookup.outcome {
        LookupOutcome::NoSuchName => (cause::DNS_NXDOMAIN, "does not exist (NXDOMAIN)".to_owned()),
        LookupOutcome::ServerFailure(code) => (cause::DNS_SERVFAIL, format!("can't be resolved ({})", rcode(code))),
        LookupOutcome::Answered | LookupOutcome::Timeout => return None,
    };
    let asker = leaf.asker.label();
    let mut origin = leaf.asker.origin();
    origin.name = Some(lookup.name.clone());
    let ms = lookup.end_ns.saturating_sub(lookup.start_ns) / 1_000_000;
    let text = format!(
        "{asker} asked {} for {} in {} queries over {ms} ms: {}",
        lookup.resolver,
        lookup.name,
        lookup.queries,
        lookup.rcode.map(rcode).unwrap_or_default(),
    );
    let mut found = Judgement::new(id, 0.95, format!("the name {}, asked for by {asker}, {what}", lookup.name))
        .because([evidence("dns", context.at(lookup.end_ns), text)
            .with("name", lookup.name.as_str())
            .with("queries", lookup.queries)
            .with("resolver", lookup.resolver.to_string())]);
    if let (Some(namespace), Some(pod)) = (&origin.namespace, &origin.pod) {
        found = found
            .next(format!("kubectl -n {namespace} exec {pod} -- nslookup {}", lookup.name))
            .next(format!("kubectl -n {namespace} get services"));
    }
    Some(found.origin(origin))
}

/// RFC 1035 section 4.1.1, RFC 2136 section 2.2.
fn rcode(code: u8) -> String {
    match code {
        0 => "NOERROR".to_owned(),
        1 => "FORMERR".to_owned(),
        2 => "SERVFAIL".to_owned(),
        3 => "NXDOMAIN".to_owned(),
        4 => "NOTIMP".to_owned(),
        5 => "REFUSED".to_owned(),
        other => format!("RCODE {other}"),
    }
}
