//! From a chain of events to a cause: one rule per file, the most specific first. A rule sees the chain and the cluster
//! state, and either knows the cause or says nothing.

mod around;
mod incident;
mod judgement;
mod pod_state;
mod routes;
mod rules;
mod unread;

use crate::{
    correlate::{Chain, Nodes},
    event::Ktime,
    k8s::snapshot::Snapshot,
};

pub(crate) use incident::touches;
pub use incident::{Cause, Coverage, Evidence, Hop, Incident, Link, Origin, SCHEMA, Symptom, SymptomKind};
pub use judgement::cause;
pub(crate) use judgement::{Judgement, evidence, rfc3339};

/// What the rules may use beside the chain.
#[derive(Debug)]
pub(crate) struct Context<'a> {
    pub(crate) snapshot: &'a Snapshot,
    /// Events lost that may have been evidence.
    pub(crate) lost: u64,
    /// When the last of them were.
    pub(crate) lost_at: Option<Ktime>,
    pub(crate) wall_offset_ns: i64,
    /// Resources of the cluster that couldn't be read, or not all of them.
    pub(crate) unread: Vec<&'a str>,
    pub(crate) nodes: &'a Nodes,
    /// The nodes' names in the cluster.
    pub(crate) names: Vec<Option<String>>,
}

impl Context<'_> {
    pub(crate) fn at(&self, ktime: u64) -> Option<String> {
        Some(rfc3339(ktime, self.wall_offset_ns))
    }

    /// The node that has a network namespace.
    pub(crate) fn node_of_netns(&self, netns: u32) -> Option<String> {
        self.names.get(self.nodes.node_of_netns(netns)).cloned().flatten()
    }

    /// What was looked at, in words.
    pub(crate) fn observed(&self) -> &'static str {
        if self.nodes.several() { "these nodes" } else { "this node" }
    }
}

/// Causes that are told because nothing else was seen: with events lost they are guesses.
const ON_ABSENCE: [&str; 9] = [
    cause::APP_ERROR,
    cause::CONNECT_TIMEOUT,
    cause::CONNECTION_RESET,
    cause::DNS_TIMEOUT,
    cause::EXTERNAL_UNAVAILABLE,
    cause::GATEWAY_ALTERED,
    cause::GATEWAY_NO_UPSTREAM,
    cause::RATE_LIMITED,
    cause::UPSTREAM_TIMEOUT,
];

/// What the cluster says of the pod that is blamed, where its state bears on the cause and isn't told yet.
fn state_of_origin(judgement: &Judgement, context: &Context<'_>) -> Vec<Evidence> {
    const BEARING: [&str; 8] = [
        cause::APP_CRASH,
        cause::APP_ERROR,
        cause::CONNECT_TIMEOUT,
        cause::CONNECTION_RESET,
        cause::NO_LISTENER,
        cause::OOM_KILLED,
        cause::UPSTREAM_TIMEOUT,
        cause::WRONG_TARGET_PORT,
    ];
    let told = judgement.evidence.iter().any(|e| e.kind == "pod");
    let origin = judgement.origin.as_ref().filter(|_| BEARING.contains(&judgement.cause) && !told);
    let pod = origin.and_then(|o| context.snapshot.pod(o.namespace.as_deref()?, o.pod.as_deref()?));
    pod.map(|pod| pod_state::describe(context, pod, false)).unwrap_or_default()
}

/// The first rule that knows the cause; `unknown` if none does.
pub(crate) fn judge(chain: &Chain<'_>, context: &Context<'_>) -> Judgement {
    let found = rules::RULES.iter().find_map(|rule| rule(chain, context));
    let mut judgement = found.unwrap_or_else(|| rules::unknown(chain, context));
    judgement.evidence.extend(state_of_origin(&judgement, context));
    around::attach(&mut judgement, chain, context);
    routes::attach(&mut judgement, chain, context);
    unread::attach(&mut judgement, context);
    // Each inferred link lowers the confidence.
    for link in &chain.links {
        judgement.confidence *= match link {
            Link::Root | Link::Header => 1.0,
            Link::Thread => 0.98,
            Link::Time => 0.95,
        };
    }
    // What failed last decides, unless that was done without, as a report of the failure before it is.
    if !chain.apart.is_empty() {
        judgement.confidence *= 0.8;
        let text = format!("other calls had failed before, which it may have done without: {}", chain.apart.join("; "));
        judgement.evidence.push(evidence("link", None, text));
    }
    // What the container lacked would have been a cause of its own.
    let blames_the_server =
        [cause::APP_ERROR, cause::GATEWAY_NO_UPSTREAM, cause::UPSTREAM_TIMEOUT].contains(&judgement.cause);
    if let Some(left_out) = chain.around.left_out.filter(|_| blames_the_server) {
        judgement.confidence *= 0.5;
        let text = "the node wasn't looked at: too many failures at once".to_owned();
        judgement.evidence.push(evidence("coverage", context.at(left_out), text));
    }
    if context.lost_at.is_some_and(|at| at >= chain.since) {
        let rests = ON_ABSENCE.contains(&judgement.cause);
        judgement.confidence *= if rests { 0.3 } else { 0.7 };
        let mut text = format!("events that may be evidence were lost meanwhile ({} in all)", context.lost);
        if rests {
            text += &format!(": {} rests on what wasn't seen", judgement.cause);
        }
        judgement.evidence.push(evidence("coverage", context.lost_at.and_then(|at| context.at(at)), text));
    }
    judgement
}
