//! `probe-failing`: the kubelet's probes of a container fail: as their requests were seen, or as the pod's state and events
//! tell behind a Service that has nobody ready for it.

use super::{
    common::{connect_evidence, exchange_evidence, logs_command, server_origin, target_origin},
    missing::Missing,
};
use crate::{
    correlate::{Answer, Chain, Leaf, ProbeRun},
    verdict::{Context, Evidence, Judgement, cause, evidence, pod_state},
};

pub(super) fn judge(chain: &Chain<'_>, context: &Context<'_>) -> Option<Judgement> {
    seen(chain, context).or_else(|| {
        let missing = Missing::by(cause::PROBE_FAILING, chain, context)?;
        Some(missing.judgement(context, cause::PROBE_FAILING, 0.95, "isn't ready because a probe fails"))
    })
}

/// The probe itself is what failed; if a call of its handler did, that is the cause.
fn seen(chain: &Chain<'_>, context: &Context<'_>) -> Option<Judgement> {
    let run = chain.probes.iter().max_by_key(|run| run.is_decided())?;
    if chain.hops.len() != 1 {
        return None;
    }
    let (mut origin, who, found) = match &chain.leaf {
        Leaf::Server(leaf) => {
            let who = leaf.who.label();
            let found = exchange_evidence(context, &who, leaf.client.as_ref().unwrap_or(&leaf.exchange));
            (server_origin(leaf, None), who, found)
        }
        Leaf::Remote(leaf) => {
            let who = super::common::target_label(&leaf.target);
            (target_origin(&leaf.target), who.clone(), exchange_evidence(context, &who, &leaf.exchange))
        }
        Leaf::Connect(leaf) if leaf.drops.is_empty() && leaf.icmp.is_none() => {
            let who = super::common::target_label(&leaf.target);
            (target_origin(&leaf.target), who, connect_evidence(context, leaf))
        }
        _ => return None,
    };
    origin.service = None;
    origin.container = Some(run.container.clone());
    let mut kinds: Vec<&str> = chain.probes.iter().map(|run| run.kind).collect();
    kinds.dedup();
    let plural = if kinds.len() > 1 { "probes fail" } else { "probe fails" };
    let summary = format!("{who}: its {} {plural}: {}", kinds.join(" and "), how(run));
    let mut judgement = Judgement::new(cause::PROBE_FAILING, 0.96, summary)
        .because([found])
        .because(chain.probes.iter().map(|run| run_evidence(context, run)));
    let pod = context.snapshot.pod_by_uid(&run.pod_uid);
    judgement = judgement.because(pod.map(|pod| pod_state::describe(context, pod, false)).unwrap_or_default());
    if let (Some(namespace), Some(pod)) = (&origin.namespace, &origin.pod) {
        judgement = judgement.next(format!("kubectl -n {namespace} describe pod {pod}"));
    }
    if let Some(logs) = logs_command(&origin) {
        judgement = judgement.next(logs);
    }
    Some(judgement.origin(origin))
}

/// What the probe asks and what came of it.
pub(super) fn how(run: &ProbeRun) -> String {
    let answer = match run.last.answer {
        Answer::Status(status) => format!("answered {status}"),
        Answer::None => format!("not answered in {} s", run.probe.timeout()),
        Answer::Refused => "refused".to_owned(),
        Answer::Silence => "the connect not answered".to_owned(),
    };
    let row = if run.failures > 1 { format!(", {} times in a row", run.failures) } else { String::new() };
    format!("{}: {answer}{row}", pod_state::probe_definition(&run.probe))
}

pub(super) fn run_evidence(context: &Context<'_>, run: &ProbeRun) -> Evidence {
    let text = format!("container {}: the kubelet's {} probe ({})", run.container, run.kind, how(run));
    evidence("probe", context.at(run.last.at), text)
        .with("container", run.container.as_str())
        .with("probe", run.kind)
        .with("failures", run.failures)
}
