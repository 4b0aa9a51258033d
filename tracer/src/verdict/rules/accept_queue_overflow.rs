//! `accept-queue-overflow`: the SYN reached the listener, whose queue was full, and no SYN-ACK followed.

use super::common::{connect_evidence, logs_command, target_label, target_origin};
use crate::{
    correlate::{Chain, Leaf},
    event::{Ktime, UnansweredSyn},
    verdict::{Context, Evidence, Judgement, cause, evidence},
};

pub(super) fn judge(chain: &Chain<'_>, context: &Context<'_>) -> Option<Judgement> {
    let Leaf::Connect(leaf) = &chain.leaf else { return None };
    let (at, syn) = leaf.syn.as_ref()?;
    let queue = full_queue(syn)?;
    // Whoever was answered was not ignored.
    if leaf.connect.reset || leaf.icmp.is_some() || leaf.refusal.is_some() {
        return None;
    }
    let label = target_label(&leaf.target);
    let summary =
        format!("the {queue} queue of {label} is full, so its kernel ignores SYNs to port {}", syn.local.port());
    let mut origin = target_origin(&leaf.target);
    origin.address = Some(syn.local.to_string());
    let mut found = Judgement::new(cause::ACCEPT_QUEUE_OVERFLOW, 0.97, summary)
        .because([syn_evidence(context, *at, syn), connect_evidence(context, leaf)]);
    if let Some((overflows, drops)) = leaf.listen_counts {
        let text = format!("ListenOverflows {overflows}, ListenDrops {drops} in {label}'s network namespace so far");
        found = found.because([evidence("netstat", None, text)
            .with("listen_overflows", overflows)
            .with("listen_drops", drops)
            .with("netns", syn.netns)]);
    }
    if let (Some(namespace), Some(pod)) = (&origin.namespace, &origin.pod) {
        found = found.next(format!("kubectl -n {namespace} exec {pod} -- ss -ltn"));
    }
    if let Some(logs) = logs_command(&origin) {
        found = found.next(logs);
    }
    Some(found.origin(origin))
}

/// Which queue was full when the SYN came (`include/net/sock.h` `sk_acceptq_is_full`,
/// `include/net/inet_connection_sock.h` `inet_csk_reqsk_queue_is_full`). A full SYN queue alone is no reason where SYN
/// cookies are on, but then a SYN-ACK would have followed.
fn full_queue(syn: &UnansweredSyn) -> Option<&'static str> {
    if syn.accept_queue > syn.accept_queue_max {
        Some("accept")
    } else if syn.syn_queue > 0 && syn.syn_queue >= syn.accept_queue_max {
        Some("SYN")
    } else {
        None
    }
}

/// What became of a SYN at its listener.
pub(super) fn syn_evidence(context: &Context<'_>, at: Ktime, syn: &UnansweredSyn) -> Evidence {
    let UnansweredSyn { local, remote, accept_queue, accept_queue_max, syn_queue, .. } = syn;
    let text = format!(
        "SYN {remote} → {local} reached its listener and no SYN-ACK followed; {accept_queue} connections waited to be \
         accepted, more than {accept_queue_max} are too many"
    );
    evidence("syn", context.at(at), text)
        .with("accept_queue", *accept_queue)
        .with("accept_queue_max", *accept_queue_max)
        .with("syn_queue", *syn_queue)
        .with("netns", syn.netns)
}
