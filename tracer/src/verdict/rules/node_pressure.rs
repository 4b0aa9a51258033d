//! `node-pressure`: a node that lacks memory, disk or process ids has evicted the pods, or takes no new ones.

use super::missing::Missing;
use crate::{
    correlate::Chain,
    verdict::{Context, Judgement, cause, pod_state::pressure},
};

pub(super) fn judge(chain: &Chain<'_>, context: &Context<'_>) -> Option<Judgement> {
    let missing = Missing::by(cause::NODE_PRESSURE, chain, context)?;
    // Where the pod was; for one that no node takes, the node under pressure if there is one only.
    let pressed: Vec<_> = context.snapshot.nodes().filter(|node| pressure(node).is_some()).collect();
    let node = missing.first().and_then(|pod| pod.spec.node_name.clone()).or_else(|| match pressed.as_slice() {
        [only] => Some(only.metadata.name.clone()),
        _ => None,
    });
    let mut found = missing.judgement(context, cause::NODE_PRESSURE, 0.95, "is away for want of room on its node");
    if let Some(origin) = &mut found.origin {
        origin.node.clone_from(&node);
    }
    Some(match node {
        Some(node) => found.next(format!("kubectl describe node {node}")),
        None => found.next("kubectl describe nodes"),
    })
}
