//! `conntrack-full`, `conntrack-race`: connection tracking dropped a packet, because its table was full or because another
//! packet's entry was faster. Its verdict leaves nothing but netfilter's core on the stack, so the table has to say it.

use super::common::{drop_evidence, pod_origin, target_label};
use crate::{
    correlate::{Chain, Leaf, LookupLeaf},
    event::{Conntrack, Drop, Ktime},
    k8s::model::Pod,
    verdict::{Context, Evidence, Judgement, Origin, cause, evidence},
};

const UDP: u8 = 17;

pub(super) fn judge(chain: &Chain<'_>, context: &Context<'_>) -> Option<Judgement> {
    let (drops, pod, table, target) = match &chain.leaf {
        Leaf::Connect(leaf) => (&leaf.drops, leaf.drop_pod, leaf.conntrack?, &leaf.target),
        Leaf::Lookup(leaf) => (&leaf.drops, leaf.drop_pod, leaf.conntrack?, &leaf.target),
        Leaf::Lost(leaf) => (&leaf.drops, leaf.drop_pod, leaf.conntrack?, &leaf.target),
        _ => return None,
    };
    let candidates = || drops.iter().filter(|(_, drop)| drop.may_be_conntrack());
    let label = target_label(target);
    let place =
        pod.map_or_else(|| "the node".to_owned(), |pod| format!("{}/{}", pod.metadata.namespace, pod.metadata.name));
    if is_full(table)
        && let Some((at, drop)) = candidates().find(|(_, drop)| at_lookup(drop))
    {
        let summary = format!("the connection table of {place} is full: packets to {label} are dropped");
        let text = format!("{} of {} entries are in use", table.count, table.max);
        let found = evidence("conntrack", None, text).with("count", table.count).with("max", table.max);
        return Some(told(context, cause::CONNTRACK_FULL, 0.9, summary, (*at, drop, pod), found));
    }
    if let Leaf::Lookup(leaf) = &chain.leaf
        && table.insert_failed > 0
        && is_race(leaf)
        && let Some((at, drop)) = candidates().find(|(_, drop)| drop.protocol == UDP && at_confirmation(drop))
    {
        let summary =
            format!("queries to {label} were sent at once and lost a race in the connection table of {place}");
        let text = format!("{} entries clashed with another one so far", table.insert_failed);
        let found = evidence("conntrack", None, text).with("insert_failed", table.insert_failed);
        return Some(told(context, cause::CONNTRACK_RACE, 0.75, summary, (*at, drop, pod), found));
    }
    None
}

/// Whether only the table's state tells if connection tracking dropped it, or a rule.
pub(super) fn may_have(drop: &Drop) -> bool {
    drop.may_be_conntrack() && (at_lookup(drop) || (drop.protocol == UDP && at_confirmation(drop)))
}

/// The table was read a moment later, when some of it may have been let go.
fn is_full(table: Conntrack) -> bool {
    table.max > 0 && table.count >= table.max - table.max / 20
}

/// Entries are made as packets come in or leave their sender (`nf_conntrack_in`).
fn at_lookup(drop: &Drop) -> bool {
    matches!(drop.hook.as_deref(), None | Some("PREROUTING" | "OUTPUT"))
}

/// They are inserted as packets leave or reach their socket (`nf_confirm`).
fn at_confirmation(drop: &Drop) -> bool {
    matches!(drop.hook.as_deref(), None | Some("POSTROUTING" | "INPUT"))
}

/// Several queries from a socket, of which only some were dropped: a rule would have dropped all.
fn is_race(leaf: &LookupLeaf<'_>) -> bool {
    leaf.lookup.numbers.len() > 1 && (leaf.drops.len() as u32) < leaf.lookup.transmissions
}

fn told(
    context: &Context<'_>,
    cause: &'static str,
    confidence: f64,
    summary: String,
    (at, drop, pod): (Ktime, &Drop, Option<&Pod>),
    table: Evidence,
) -> Judgement {
    let mut origin = pod.map(|pod| pod_origin(context, pod)).unwrap_or_default();
    if origin == Origin::default() {
        origin.node = context.node_of_netns(drop.netns);
    }
    Judgement::new(cause, confidence, summary)
        .origin(origin)
        .because([drop_evidence(context, at, drop, pod), table])
        .next("conntrack -S")
}
