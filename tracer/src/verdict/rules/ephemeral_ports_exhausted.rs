//! `ephemeral-ports-exhausted`: the connect got no local port.

use super::common::target_label;
use crate::{
    correlate::{Chain, Leaf},
    verdict::{Context, Judgement, cause, evidence},
};

pub(super) fn judge(chain: &Chain<'_>, context: &Context<'_>) -> Option<Judgement> {
    let Leaf::Connect(leaf) = &chain.leaf else { return None };
    if !leaf.connect.got_no_port() {
        return None;
    }
    let (caller, label) = (leaf.caller.label(), target_label(&leaf.target));
    let summary = format!("{caller} has no local port left for connections to {label}");
    let text =
        format!("the connect to {} ended at once, without a local port and without a packet", leaf.connect.remote);
    let mut found = Judgement::new(cause::EPHEMERAL_PORTS_EXHAUSTED, 0.95, summary).because([evidence(
        "connect",
        context.at(leaf.connect.end_ns),
        text,
    )
    .with("caller", caller)]);
    if let Some(ports) = &leaf.local_ports {
        let (low, high, sockets, time_wait) = (ports.low, ports.high, ports.sockets, ports.time_wait);
        let text = format!("{sockets} sockets hold ports of {low}–{high} there, {time_wait} of them in TIME_WAIT");
        found = found.because([evidence("ports", None, text)
            .with("low", low)
            .with("high", high)
            .with("sockets", sockets)
            .with("time_wait", time_wait)]);
    }
    let origin = leaf.caller.origin();
    if let (Some(namespace), Some(pod)) = (&origin.namespace, &origin.pod) {
        found = found.next(format!("kubectl -n {namespace} exec {pod} -- ss -tan"));
    }
    Some(found.origin(origin))
}
