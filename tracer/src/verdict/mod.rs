//! From a chain of events to a cause: one rule per file, the most specific first. A rule sees the chain and the cluster
//! state, and either knows the cause or says nothing.

mod incident;
mod judgement;
mod rules;

use crate::{
    correlate::{Chain, Nodes},
    k8s::snapshot::Snapshot,
};

pub use incident::{Cause, Coverage, Evidence, Hop, Incident, Link, Origin, SCHEMA, Symptom, SymptomKind};
pub use judgement::cause;
pub(crate) use judgement::{Judgement, evidence, rfc3339};

/// What the rules may use beside the chain.
#[derive(Debug)]
pub(crate) struct Context<'a> {
    pub(crate) snapshot: &'a Snapshot,
    /// Events lost that may have been evidence.
    pub(crate) lost: u64,
    pub(crate) wall_offset_ns: i64,
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

/// The first rule that knows the cause; `unknown` if none does.
pub(crate) fn judge(chain: &Chain<'_>, context: &Context<'_>) -> Judgement {
    let found = rules::RULES.iter().find_map(|rule| rule(chain, context));
    let mut judgement = found.unwrap_or_else(|| rules::unknown(chain, context));
    // A chain is as certain as its weakest link.
    for link in &chain.links {
        judgement.confidence *= match link {
            Link::Root | Link::Header => 1.0,
            Link::Thread => 0.98,
            Link::Time => 0.95,
        };
    }
    if context.lost > 0 {
        judgement.confidence *= 0.7;
        judgement.evidence.push(evidence(
            "coverage",
            None,
            format!("{} events that may be evidence were lost", context.lost),
        ));
    }
    judgement
}
