//! `firewall-drop`: a filter dropped a packet of the flow and no NetworkPolicy explains it. Says where.

use super::common::{connect_evidence, drop_evidence, exchange_evidence, lookup_evidence, pod_origin, target_label};
use super::conntrack;
use crate::{
    correlate::{Chain, Leaf, Target},
    event::Drop,
    k8s::model::Pod,
    verdict::{Context, Evidence, Judgement, Origin, cause, evidence},
};

/// Where the connection table couldn't be read.
const UNREAD: f64 = 0.7;

pub(super) fn judge(chain: &Chain<'_>, context: &Context<'_>) -> Option<Judgement> {
    let (drops, pod, table, target, extra) = match &chain.leaf {
        // A rejection is answered, and a Service without endpoints is rejected: only silence is a drop.
        Leaf::Connect(leaf) if leaf.icmp.is_none() && !leaf.connect.reset => {
            (&leaf.drops, leaf.drop_pod, leaf.conntrack, &leaf.target, connect_evidence(context, leaf))
        }
        Leaf::Lookup(leaf) if leaf.icmp.is_none() => {
            (&leaf.drops, leaf.drop_pod, leaf.conntrack, &leaf.target, lookup_evidence(context, leaf))
        }
        Leaf::Lost(leaf) => {
            let label = target_label(&leaf.target);
            (&leaf.drops, leaf.drop_pod, leaf.conntrack, &leaf.target, exchange_evidence(context, &label, &leaf.client))
        }
        _ => return None,
    };
    let (at, drop) = drops.iter().find(|(_, d)| is_filter(d))?;
    let found = found(context, *at, drop, pod, target, extra);
    // Then it may have been the connection table: they look alike.
    if table.is_none() && conntrack::may_have(drop) {
        let text = "whether the connection table there is full couldn't be read: it drops in the same way";
        return Some(Judgement { confidence: UNREAD, ..found.because([evidence("conntrack", None, text.to_owned())]) });
    }
    Some(found)
}

/// Whether a filter dropped it: netfilter, tc, XDP or a cgroup program, not routing, a queue or a closed socket.
fn is_filter(drop: &Drop) -> bool {
    let reason = drop.reason.as_deref().unwrap_or_default();
    // A full table or a lost race isn't a rule.
    if drop.mechanism.as_deref() == Some("conntrack") {
        return false;
    }
    let named = matches!(
        reason,
        "NETFILTER_DROP" | "TC_INGRESS" | "TC_EGRESS" | "XDP" | "BPF_CGROUP_EGRESS" | "SOCKET_FILTER" | "IP_RPFILTER"
    );
    let mechanism = drop.mechanism.as_deref().unwrap_or_default();
    let place =
        matches!(mechanism, "netfilter" | "nftables" | "iptables" | "xtables" | "nfqueue" | "tc" | "xdp" | "cgroup");
    named || (place && matches!(reason, "" | "NOT_SPECIFIED"))
}

fn found(
    context: &Context<'_>,
    at: u64,
    drop: &Drop,
    pod: Option<&Pod>,
    target: &Target<'_>,
    extra: Evidence,
) -> Judgement {
    let mechanism = match drop.reason.as_deref() {
        Some("TC_INGRESS" | "TC_EGRESS") => "a tc filter",
        Some("XDP") => "an XDP program",
        Some("BPF_CGROUP_EGRESS" | "SOCKET_FILTER") => "a socket or cgroup filter",
        Some("IP_RPFILTER") => "the reverse path filter",
        _ => "netfilter",
    };
    let hook = drop.hook.as_deref().map(|h| format!(" ({h})")).unwrap_or_default();
    let (mut origin, place) = match pod {
        Some(pod) => (
            pod_origin(context, pod),
            format!("in the network namespace of {}/{}", pod.metadata.namespace, pod.metadata.name),
        ),
        None => (Origin::default(), "in the node's network namespace".to_owned()),
    };
    origin.address = target.backend.or(target.address).map(|a| a.to_string());
    if pod.is_none() {
        origin.node = context.node_of_netns(drop.netns);
    }
    let summary = format!(
        "{mechanism}{hook} drops packets to {} {place}, and no NetworkPolicy denies the flow",
        target_label(target)
    );
    let next = match (&origin.namespace, &origin.pod) {
        (Some(namespace), Some(name)) => format!("kubectl -n {namespace} exec {name} -- nft list ruleset"),
        _ => "nft list ruleset".to_owned(),
    };
    Judgement::new(cause::FIREWALL_DROP, 0.95, summary)
        .origin(origin)
        .because([drop_evidence(context, at, drop, pod), extra])
        .next(next)
}
