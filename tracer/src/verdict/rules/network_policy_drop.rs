//! `network-policy-drop`: a packet of the flow was dropped or rejected, and the NetworkPolicies deny the flow in its
//! initiating direction. The packet alone could be a firewall's; the policies alone could be unenforced: it takes both.

use super::common::{
    connect_evidence, drop_evidence, exchange_evidence, flow_port, lookup_evidence, pod_origin, protocol_of,
    target_label,
};
use crate::{
    correlate::{Chain, Leaf, Target},
    event::Drop,
    k8s::{
        AddressOwner,
        model::{Pod, Protocol},
        policy::{Denied, Flow, Party, evaluate, missing_allow, suggest_rule},
    },
    verdict::{Context, Evidence, Judgement, cause, evidence},
};

pub(super) fn judge(chain: &Chain<'_>, context: &Context<'_>) -> Option<Judgement> {
    match &chain.leaf {
        Leaf::Connect(leaf) => {
            let icmp = leaf.icmp.is_some();
            if leaf.drops.is_empty() && !icmp {
                return None;
            }
            let port = flow_port(&leaf.drops, &leaf.target, leaf.connect.remote, leaf.connect.local);
            let caller = leaf.caller_pod;
            let from = caller.map_or(Party::Address(leaf.connect.local.ip()), Party::Pod);
            let extra = connect_evidence(context, leaf);
            policy(context, from, caller, &leaf.target, port, Protocol::Tcp, &leaf.drops, leaf.drop_pod, extra)
        }
        Leaf::Lookup(leaf) => {
            let (_, first) = leaf.drops.first()?;
            let from = leaf.asker_pod.map_or(Party::Address(leaf.lookup.client.ip()), Party::Pod);
            let port = flow_port(&leaf.drops, &leaf.target, leaf.lookup.resolver, leaf.lookup.client);
            let extra = lookup_evidence(context, leaf);
            policy(
                context,
                from,
                leaf.asker_pod,
                &leaf.target,
                port,
                protocol_of(first),
                &leaf.drops,
                leaf.drop_pod,
                extra,
            )
        }
        Leaf::Lost(leaf) => {
            leaf.drops.first()?;
            let (client, caller) = (&leaf.client, leaf.caller_pod);
            let port = flow_port(&leaf.drops, &leaf.target, client.remote, client.local);
            let from = caller.map_or(Party::Address(client.local.ip()), Party::Pod);
            let extra = exchange_evidence(context, &target_label(&leaf.target), client);
            policy(context, from, caller, &leaf.target, port, Protocol::Tcp, &leaf.drops, leaf.drop_pod, extra)
        }
        _ => None,
    }
}

#[expect(clippy::too_many_arguments, reason = "the facts of one flow, from two kinds of leaf")]
fn policy(
    context: &Context<'_>,
    from: Party<'_>,
    caller: Option<&Pod>,
    target: &Target<'_>,
    port: u16,
    protocol: Protocol,
    drops: &[(u64, Drop)],
    drop_pod: Option<&Pod>,
    extra: Evidence,
) -> Option<Judgement> {
    // No rule speaks of a Service's own address: policies see what is behind it, and its pods are alike.
    let (to, port) = match (target.pod, target.service) {
        (Some(pod), _) => (Party::Pod(pod), port),
        (None, None) => (Party::Address(target.backend.or(target.address)?.ip()), port),
        (None, Some(service)) => {
            let endpoints = context.snapshot.endpoints(service);
            let Some(AddressOwner::Pod(pod)) = context.snapshot.owner_of(endpoints.ready.first()?.address) else {
                return None;
            };
            let declared = context.snapshot.service_port(service, port, protocol)?;
            (Party::Pod(pod), context.snapshot.target_port(service, declared, pod)?)
        }
    };
    let flow = Flow { from, to, port, protocol };
    let evaluation = evaluate(context.snapshot, &flow);
    let denied = evaluation.denied?;
    let egress = denied == Denied::Egress || (denied == Denied::Both && target.pod.is_none());
    let isolated = if egress { caller? } else { target.pod? };
    let direction = if egress { &evaluation.egress } else { &evaluation.ingress };
    let policies: Vec<String> = direction.isolated_by.iter().map(ToString::to_string).collect();
    let missing = missing_allow(context.snapshot, &flow, &evaluation);
    let word = if egress { "egress" } else { "ingress" };
    let mut origin = pod_origin(context, isolated);
    let pod = &isolated.metadata.name;
    let namespace = &isolated.metadata.namespace;
    if !egress {
        origin.service = target.service.map(crate::correlate::service_name);
        origin.address =
            target.pod.and_then(|p| p.addresses().next()).map(|a| std::net::SocketAddr::new(a, port).to_string());
    }
    let summary = format!(
        "NetworkPolicy isolates {namespace}/{pod} for {word} ({}) and {}",
        policies.join(", "),
        missing.clone().unwrap_or_else(|| "no rule admits the flow".to_owned()),
    );
    // Without the drop itself (only the rejection's ICMP was seen) or with unknown namespaces it is less certain.
    let mut confidence = if drops.is_empty() { 0.9 } else { 0.99 };
    if !evaluation.unknown_namespaces.is_empty() {
        confidence *= 0.6;
    }
    let mut found = Judgement::new(cause::NETWORK_POLICY_DROP, confidence, summary).origin(origin).because([extra]);
    if let Some((at, drop)) = drops.first() {
        found = found.because([drop_evidence(context, *at, drop, drop_pod)]);
    }
    let text = format!("policies isolating {pod} for {word}: {}", policies.join(", "));
    found = found.because([evidence("policy", None, text).with("policies", policies.clone()).with("direction", word)]);
    found = found.because(missing.map(|text| evidence("policy", None, text)));
    if let Some(rule) = suggest_rule(context.snapshot, &flow, &evaluation) {
        found = found.because([evidence("policy", None, "a rule that would admit it".to_owned()).with("rule", rule)]);
    }
    let name = policies.first().and_then(|p| p.split_once('/')).map_or("", |(_, name)| name);
    Some(found.next(format!("kubectl -n {namespace} edit networkpolicy {name}")))
}
