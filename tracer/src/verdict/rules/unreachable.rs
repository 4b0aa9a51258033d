//! `unreachable`: no route to the target, or a router says so.

use super::common::{connect_evidence, drop_evidence, target_label, target_origin};
use crate::{
    correlate::{Chain, Leaf},
    verdict::{Context, Judgement, cause, evidence},
};

const ENETUNREACH: u32 = 101;
const EHOSTUNREACH: u32 = 113;

pub(super) fn judge(chain: &Chain<'_>, context: &Context<'_>) -> Option<Judgement> {
    let Leaf::Connect(leaf) = &chain.leaf else { return None };
    let errno =
        [leaf.connect.error, leaf.connect.error_soft].into_iter().any(|e| matches!(e, ENETUNREACH | EHOSTUNREACH));
    // Destination unreachable: net, host (RFC 792); no route, beyond scope, address (RFC 4443 section 3.1).
    let icmp = leaf.icmp.as_ref().filter(|(_, i)| {
        if i.ipv6 { i.icmp_type == 1 && matches!(i.icmp_code, 0 | 2 | 3) } else { i.icmp_type == 3 && i.icmp_code <= 1 }
    });
    let filtered = leaf.drops.iter().any(|(_, d)| d.by_netfilter());
    // Where a route is missing or says blackhole, and nobody is told: net/ipv4/route.c, ip_error.
    let unrouted = leaf.drops.iter().find(|(_, d)| d.location.as_deref() == Some("ip_error"));
    if (!errno && icmp.is_none() && unrouted.is_none()) || filtered || leaf.connect.reset {
        return None;
    }
    let label = target_label(&leaf.target);
    let mut found = Judgement::new(cause::UNREACHABLE, 0.93, format!("there is no route to {label}"))
        .origin(target_origin(&leaf.target))
        .because([connect_evidence(context, leaf)])
        .next(format!("ip route get {}", leaf.connect.remote.ip()));
    if let Some((at, icmp)) = icmp {
        let text = format!("ICMP {}/{}: destination unreachable", icmp.icmp_type, icmp.icmp_code);
        found = found.because([evidence("icmp", context.at(*at), text)]);
    }
    if let Some((at, drop)) = unrouted {
        found = found.because([drop_evidence(context, *at, drop, None)]);
    }
    Some(found)
}
