//! `liveness-restart`: the kubelet ended the container because its liveness probe failed, and what it was doing went with it.

use super::{
    common::{connect_evidence, death_evidence, exchange_evidence, logs_command, server_origin, target_origin},
    missing::Missing,
    probe_failing::run_evidence,
};
use crate::{
    correlate::{Chain, Leaf, ProbeRun},
    event::{Ktime, Process},
    k8s::model::Pod,
    verdict::{Context, Evidence, Judgement, Origin, cause, evidence, pod_state},
};

const SIGKILL: u32 = 9;
const SIGTERM: u32 = 15;
/// The kubelet sends SIGTERM at once and SIGKILL after the grace period, 30 s unless told otherwise.
const GRACE_NS: u64 = 45_000_000_000;

pub(super) fn judge(chain: &Chain<'_>, context: &Context<'_>) -> Option<Judgement> {
    seen(chain, context).or_else(|| {
        let missing = Missing::by(cause::LIVENESS_RESTART, chain, context)?;
        Some(missing.judgement(context, cause::LIVENESS_RESTART, 0.94, "is restarted again and again"))
    })
}

fn seen(chain: &Chain<'_>, context: &Context<'_>) -> Option<Judgement> {
    let (mut origin, deaths, probes, found): (Origin, _, _, Option<Evidence>) = match &chain.leaf {
        // With an answer only the probe itself: it failed, and the kubelet acted on it.
        Leaf::Server(leaf) if leaf.exchange.status().is_none() || !chain.probes.is_empty() => {
            let origin = server_origin(leaf, chain.hops.last().and_then(|h| h.service.clone()));
            let found = exchange_evidence(context, &leaf.who.label(), &leaf.exchange);
            (origin, &leaf.deaths, &leaf.probes, Some(found))
        }
        Leaf::Connect(leaf) if leaf.icmp.is_none() && leaf.drops.is_empty() => {
            (target_origin(&leaf.target), &leaf.deaths, &leaf.probes, Some(connect_evidence(context, leaf)))
        }
        Leaf::End(leaf) => (target_origin(&leaf.target), &leaf.deaths, &leaf.probes, None),
        _ => return None,
    };
    let (at, process) = deaths.iter().find(|(_, p)| !p.oom_victim)?;
    let pod = context.snapshot.pod(origin.namespace.as_deref()?, origin.pod.as_deref()?)?;
    let Killed { confidence, container, why } =
        killed(context, pod, origin.container.as_deref(), *at, process, probes)?;
    origin.container = origin.container.or(container);
    let who = format!("{}/{}", pod.metadata.namespace, pod.metadata.name);
    let summary =
        format!("{who} was killed and restarted because its liveness probe failed, with the request unanswered");
    let mut judgement = Judgement::new(cause::LIVENESS_RESTART, confidence, summary)
        .because([death_evidence(context, *at, process)])
        .because(found)
        .because([why])
        .because(pod_state::describe(context, pod, true))
        .next(format!("kubectl -n {} describe pod {}", pod.metadata.namespace, pod.metadata.name));
    if let Some(logs) = logs_command(&origin) {
        judgement = judgement.next(format!("{logs} --previous"));
    }
    Some(judgement.origin(origin))
}

struct Killed {
    confidence: f64,
    container: Option<String>,
    why: Evidence,
}

/// Whether the kubelet ended the process for its liveness probe: the probes were seen to fail until then, or the cluster
/// says so and no probe was seen to succeed.
fn killed(
    context: &Context<'_>,
    pod: &Pod,
    container: Option<&str>,
    at: Ktime,
    process: &Process,
    probes: &[ProbeRun],
) -> Option<Killed> {
    let crashed = process.signal.is_some_and(|signal| !matches!(signal, SIGTERM | SIGKILL));
    if crashed || pod.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let own = |run: &&ProbeRun| {
        let this = run.pod_uid == pod.metadata.uid && container.is_none_or(|name| name == run.container);
        run.kind == "liveness" && this
    };
    if let Some(run) = probes.iter().find(own) {
        let until = at.saturating_add(1_000_000_000);
        let decided = run.is_decided() && run.last.at <= until && at.saturating_sub(run.last.at) <= GRACE_NS;
        return decided.then(|| Killed {
            confidence: 0.97,
            container: Some(run.container.clone()),
            why: run_evidence(context, run),
        });
    }
    let told = matches!(process.signal, Some(SIGTERM | SIGKILL)) || matches!(process.exit_code, Some(0 | 137 | 143));
    let mut events = pod_state::events_of(context.snapshot, pod);
    events.retain(|event| container.is_none_or(|name| pod_state::is_about(event, name)));
    let (_, event) = pod_state::killed_by_probe(&events).filter(|(kind, _)| told && *kind == "Liveness")?;
    let text = format!("{}: {}", event.reason, pod_state::cut(&event.message));
    Some(Killed {
        confidence: 0.9,
        container: pod_state::container_of(event).map(str::to_owned),
        why: evidence("event", event.last_seen().map(str::to_owned), text).with("reason", event.reason.as_str()),
    })
}
