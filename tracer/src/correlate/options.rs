//! What the core is asked to do, and what it asks for.

use serde::{Deserialize, Serialize};

use crate::event::{Flow, Ktime};

/// Which incidents are wanted: those whose path or origin touches what is named. Empty: all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Selection {
    pub namespace: Option<String>,
    /// `namespace/name`.
    pub pod: Option<String>,
    /// `namespace/name`.
    pub service: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Options {
    pub min_status: u16,
    /// Added to the kernel's time for wall-clock time, nanoseconds.
    pub wall_offset_ns: i64,
    /// Name of this node.
    pub node: Option<String>,
    /// cgroup path below the v2 root that is observed; events of others are ignored.
    pub cgroup: Option<String>,
    pub selection: Selection,
    /// Hooks that this kernel lacks, as sentences for the coverage line.
    pub notes: Vec<String>,
}

#[cfg(test)]
impl Options {
    /// Those of a test that observes everything.
    pub(crate) fn everything() -> Self {
        Self {
            min_status: 500,
            wall_offset_ns: 0,
            node: None,
            cgroup: None,
            selection: Selection::default(),
            notes: Vec::new(),
        }
    }
}

/// Something that would help.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Want {
    /// New flight records and a look at the open requests and connects: something failed, or is about to be decided.
    Flight,
    /// [`crate::event::HostFact::Listeners`] of a network namespace.
    Listeners { netns: u32 },
    /// [`crate::event::HostFact::LocalPorts`] of a network namespace.
    LocalPorts { netns: u32 },
    /// [`crate::event::HostFact::Conntrack`] of a network namespace.
    Conntrack { netns: u32 },
    /// [`crate::event::HostFact::ListenCounts`] of a network namespace.
    ListenCounts { netns: u32 },
    /// The pod that has an address, where only this node's pods are watched.
    Pod { address: std::net::IpAddr },
    /// [`crate::event::HostFact::Process`] of a process.
    Process { tgid: u32 },
    /// [`crate::event::HostFact::Process`] of any process in a network namespace.
    Netns { netns: u32 },
    /// [`crate::event::HostFact::Resources`] of a process, or (`tgid` 0) of the one that listens on a port of a network
    /// namespace. It has failed a request that came at `since`.
    Resources { cgroup: u64, tgid: u32, netns: u32, port: u16, since: Ktime },
    /// [`crate::event::HostFact::Log`] of a pod's containers (of one where it is known) within an interval.
    Log { uid: String, container: Option<String>, from: Ktime, until: Ktime },
    /// [`crate::event::HostFact::Rule`] for dropped packets.
    Rule(Flow),
}
