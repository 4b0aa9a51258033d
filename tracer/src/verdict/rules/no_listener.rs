//! `no-listener`: the target's own kernel refused the segment: nothing listens on that port.

use super::common::{connect_evidence, is_refused, logs_command, target_label, target_origin};
use crate::{
    correlate::{Chain, Leaf},
    verdict::{Context, Judgement, cause, evidence},
};

pub(super) fn judge(chain: &Chain<'_>, context: &Context<'_>) -> Option<Judgement> {
    let Leaf::Connect(leaf) = &chain.leaf else { return None };
    if !is_refused(leaf) {
        return None;
    }
    let address = leaf.target.backend.unwrap_or(leaf.connect.remote);
    let label = target_label(&leaf.target);
    let summary = if label == address.to_string() {
        format!("nothing listens on {label}")
    } else {
        format!("nothing listens on port {} of {label}", address.port())
    };
    let confidence = if leaf.refusal.is_some() { 0.97 } else { 0.85 };
    let mut found = Judgement::new(cause::NO_LISTENER, confidence, summary).because([connect_evidence(context, leaf)]);
    if let Some(refusal) = &leaf.refusal {
        let reason = refusal.reason.as_deref().unwrap_or("no socket");
        let text = format!("the kernel in {label}'s network namespace answered with an RST ({reason})");
        found = found.because([evidence("reset", context.at(refusal.at), text).with("reason", reason)]);
    }
    if let Some(ports) = &leaf.listening {
        let text = if ports.is_empty() {
            "no TCP port is listened on there".to_owned()
        } else {
            format!("ports listened on there: {}", ports.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
        };
        found = found.because([evidence("listener", None, text).with("ports", ports.clone())]);
    }
    let mut origin = target_origin(&leaf.target);
    origin.address = Some(address.to_string());
    if let Some(logs) = logs_command(&origin) {
        found = found.next(logs);
    }
    Some(found.origin(origin))
}
