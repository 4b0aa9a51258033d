//! `dns-nxdomain` and `dns-servfail`: the resolver answered that it can't.

use super::common::{lookup_evidence, rcode};
use crate::{
    correlate::{Chain, Leaf, LookupOutcome},
    verdict::{Context, Judgement, cause},
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
    let mut found = Judgement::new(id, 0.95, format!("the name {}, asked for by {asker}, {what}", lookup.name))
        .because([lookup_evidence(context, leaf)]);
    if let (Some(namespace), Some(pod)) = (&origin.namespace, &origin.pod) {
        found = found
            .next(format!("kubectl -n {namespace} exec {pod} -- nslookup {}", lookup.name))
            .next(format!("kubectl -n {namespace} get services"));
    }
    Some(found.origin(origin))
}
