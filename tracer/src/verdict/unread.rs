//! Causes that rest on what of the cluster couldn't be read, and what else there is that isn't judged.

use super::{Context, Evidence, Judgement, cause, evidence};
use crate::k8s::model::OtherObject;

/// Policies of a network plugin that are named, at most.
const NAMED: usize = 5;

/// What must be known before the cause can be told from its neighbours.
fn rests_on(cause: &str) -> &'static [&'static str] {
    match cause {
        cause::FIREWALL_DROP | cause::FIREWALL_REJECT => &["networkpolicies.networking.k8s.io", "pods"],
        cause::EXTERNAL_UNAVAILABLE => &["nodes", "pods", "services"],
        cause::SELECTOR_MISMATCH => &["deployments.apps", "pods", "statefulsets.apps"],
        cause::NOT_READY | cause::SERVICE_NO_ENDPOINTS => &["pods"],
        _ => &[],
    }
}

/// Below what is asserted: told as unknown, with what it would be.
const NOT_ASSERTED: f64 = 0.4;

pub(super) fn attach(judgement: &mut Judgement, context: &Context<'_>) {
    let missing: Vec<_> =
        rests_on(judgement.cause).iter().copied().filter(|resource| context.unread.contains(resource)).collect();
    if !missing.is_empty() {
        judgement.confidence = judgement.confidence.min(NOT_ASSERTED);
        let text = format!("{} of the cluster can't be read, and {} rests on it", missing.join(", "), judgement.cause);
        judgement.evidence.push(evidence("coverage", None, text));
    }
    if matches!(judgement.cause, cause::FIREWALL_DROP | cause::FIREWALL_REJECT) {
        judgement.evidence.extend(other_policies(judgement, context));
    }
}

/// Policies of kinds that aren't evaluated: one of them may be the filter.
fn other_policies(judgement: &Judgement, context: &Context<'_>) -> Option<Evidence> {
    let namespace = judgement.origin.as_ref().and_then(|origin| origin.namespace.as_deref());
    let concerns = |of: &str| of.is_empty() || namespace.is_none_or(|namespace| namespace == of);
    let policies = context.snapshot.others().filter(|other| other.is_policy() && concerns(&other.metadata.namespace));
    let names: Vec<_> = policies.clone().take(NAMED).map(OtherObject::label).collect();
    let more = policies.count().saturating_sub(NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    (!names.is_empty()).then(|| {
        evidence("policy", None, format!("there are policies that aren't evaluated: {}{more}", names.join(", ")))
    })
}
