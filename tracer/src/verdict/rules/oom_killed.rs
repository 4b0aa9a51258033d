//! `oom-killed`: the kernel killed it for memory while it had the request, or shortly before nobody listened any more.

use super::{
    common::{death_evidence, exchange_evidence, is_refused, logs_command, server_origin, target_label, target_origin},
    missing::Missing,
};
use crate::{
    correlate::{Chain, Leaf},
    verdict::{Context, Judgement, Origin, cause},
};

pub(super) fn judge(chain: &Chain<'_>, context: &Context<'_>) -> Option<Judgement> {
    seen(chain, context).or_else(|| {
        let missing = Missing::by(cause::OOM_KILLED, chain, context)?;
        Some(missing.judgement(context, cause::OOM_KILLED, 0.93, "ran out of memory"))
    })
}

fn seen(chain: &Chain<'_>, context: &Context<'_>) -> Option<Judgement> {
    match &chain.leaf {
        Leaf::Server(leaf) if leaf.exchange.status().is_none() => {
            let (at, process) = leaf.deaths.iter().find(|(_, p)| p.oom_victim)?;
            let origin = server_origin(leaf, chain.hops.last().and_then(|h| h.service.clone()));
            let who = leaf.who.label();
            Some(
                judgement(origin, &who, &process.comm, 0.98)
                    .because([death_evidence(context, *at, process), exchange_evidence(context, &who, &leaf.exchange)]),
            )
        }
        // Only a port that nobody listens on any more can come of it: what drops or swallows packets isn't a process's end.
        Leaf::Connect(leaf) if is_refused(leaf) => {
            let (at, process) = leaf.oom.as_ref()?;
            let origin = target_origin(&leaf.target);
            let who = leaf.target.who.as_ref()?.label();
            Some(
                judgement(origin, &who, &process.comm, 0.9)
                    .because([death_evidence(context, *at, process), super::common::connect_evidence(context, leaf)]),
            )
        }
        Leaf::Remote(leaf) => {
            let (at, process) = leaf.deaths.iter().find(|(_, p)| p.oom_victim)?;
            let who = target_label(&leaf.target);
            Some(
                judgement(target_origin(&leaf.target), &who, &process.comm, 0.95)
                    .because([death_evidence(context, *at, process), exchange_evidence(context, &who, &leaf.exchange)]),
            )
        }
        Leaf::End(leaf) => {
            let (at, process) = leaf.deaths.iter().find(|(_, p)| p.oom_victim)?;
            let who = leaf.target.who.as_ref()?.label();
            Some(
                judgement(target_origin(&leaf.target), &who, &process.comm, 0.95)
                    .because([death_evidence(context, *at, process)]),
            )
        }
        _ => None,
    }
}

fn judgement(origin: Origin, who: &str, comm: &str, confidence: f64) -> Judgement {
    let summary = format!("{who} ran out of memory: the kernel killed its process {comm}");
    let mut found = Judgement::new(cause::OOM_KILLED, confidence, summary);
    if let (Some(namespace), Some(pod)) = (&origin.namespace, &origin.pod) {
        found = found.next(format!("kubectl -n {namespace} describe pod {pod}"));
    }
    if let Some(logs) = logs_command(&origin) {
        found = found.next(format!("{logs} --previous"));
    }
    found.origin(origin)
}
