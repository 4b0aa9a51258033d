//! The way from a symptom down to the deepest element that failed: what the rules judge.

use super::{around::Around, call::Call, decisive::gave_up, identity::Who, probe::ProbeRun};
use crate::{
    event::{Conntrack, Drop, Exchange, Icmp, Ktime, LocalPorts, Process, UnansweredSyn},
    k8s::model::{Pod, Service},
    verdict::{Hop, Link},
};

/// A chain of hops with what was found at its end.
#[derive(Clone, Debug)]
pub(crate) struct Chain<'a> {
    /// When the outermost call began: what was lost since then may be missing here.
    pub(crate) since: Ktime,
    pub(crate) hops: Vec<Hop>,
    /// How each call was linked to its request.
    pub(crate) links: Vec<Link>,
    /// Calls to other places that failed before the one that was followed: any of them may have been done without, or not.
    pub(crate) apart: Vec<String>,
    pub(crate) leaf: Leaf<'a>,
    /// What the outermost call is a probe of.
    pub(crate) probes: Vec<ProbeRun>,
    /// What the node said of the leaf.
    pub(crate) around: Around,
    /// Exchanges passed on the way, client end or server end, to be reported once only.
    pub(crate) passed: Vec<(std::net::SocketAddr, u32)>,
    /// Connects and lookups likewise.
    pub(crate) consumed: Vec<u64>,
}

/// Where the descent ended.
#[derive(Clone, Debug)]
pub(crate) enum Leaf<'a> {
    /// A server on this node, none of whose calls failed.
    Server(Box<ServerLeaf>),
    /// A call whose other end isn't seen here.
    Remote(RemoteLeaf<'a>),
    /// A call whose packets died on the way.
    Lost(Box<LostLeaf<'a>>),
    /// A connect that failed or is stuck.
    Connect(Box<ConnectLeaf<'a>>),
    /// A name that wasn't resolved.
    Lookup(LookupLeaf<'a>),
    /// A connection without HTTP that ended badly.
    End(EndLeaf<'a>),
    /// A server that failed because its caller had left.
    Abandoned(Box<AbandonedLeaf>),
    /// Several calls may be to blame, and they disagree.
    Ambiguous(Vec<String>),
}

impl Leaf<'_> {
    /// When it happened: of a packet that died, then, and not when its sender gave up.
    pub(crate) fn failed_at(&self) -> Option<Ktime> {
        let first = |drops: &[(Ktime, Drop)]| drops.first().map(|(at, _)| *at);
        match self {
            Self::Server(leaf) => Some(leaf.exchange.end_ns.min(leaf.until)),
            Self::Remote(leaf) => Some(leaf.exchange.end_ns),
            Self::Lost(leaf) => first(&leaf.drops).or(Some(leaf.client.end_ns)),
            Self::Connect(leaf) => first(&leaf.drops).or(Some(leaf.connect.end_ns)),
            Self::Lookup(leaf) => first(&leaf.drops).or(Some(leaf.lookup.end_ns)),
            Self::End(leaf) => Some(leaf.at),
            Self::Abandoned(_) | Self::Ambiguous(_) => None,
        }
    }

    /// The probes of what the chain ends at.
    pub(crate) fn probes(&self) -> &[ProbeRun] {
        match self {
            Self::Server(leaf) => &leaf.probes,
            Self::Connect(leaf) => &leaf.probes,
            Self::End(leaf) => &leaf.probes,
            Self::Remote(_) | Self::Lost(_) | Self::Lookup(_) | Self::Abandoned(_) | Self::Ambiguous(_) => &[],
        }
    }
}

/// The last server.
#[derive(Clone, Debug)]
pub(crate) struct ServerLeaf {
    pub(crate) exchange: Exchange,
    /// What the client end saw.
    pub(crate) client: Option<Exchange>,
    pub(crate) who: Who,
    /// When the caller stopped waiting, or the answer came.
    pub(crate) until: Ktime,
    /// Processes of this container that died around then.
    pub(crate) deaths: Vec<(Ktime, Process)>,
    /// How the probes of its pod went.
    pub(crate) probes: Vec<ProbeRun>,
    /// Nobody read the request, although earlier ones of its connection were seen being read.
    pub(crate) unread: bool,
    /// Calls that went well while it served.
    pub(crate) well: Vec<Exchange>,
    /// Where connections led that it may have used while it served, and that carry no HTTP which can be read.
    pub(crate) opaque: Option<Vec<String>>,
    /// Failing calls that other requests own or that were retried with success.
    pub(crate) healed: usize,
    /// The container relays requests (by what it is and does).
    pub(crate) proxy: Option<String>,
    /// It was seen to call others by HTTP lately, or to try.
    pub(crate) relays: bool,
    /// Flight records were overwritten before they were read, or events were lost: "nothing was tried" can't be said.
    pub(crate) blind: bool,
}

impl ServerLeaf {
    /// Whether whoever waited for it gave up.
    pub(crate) fn is_given_up(&self) -> bool {
        gave_up(&self.exchange, self.client.as_ref(), self.until)
    }
}

/// A server whose caller left, and what it answered then.
#[derive(Clone, Debug)]
pub(crate) struct AbandonedLeaf {
    pub(crate) server: Exchange,
    pub(crate) who: Who,
    /// Who left first, where it is observed, and its address.
    pub(crate) caller: Option<Who>,
    pub(crate) address: std::net::SocketAddr,
    pub(crate) waited_ns: u64,
    pub(crate) left_ns: Ktime,
}

/// A call to somewhere else.
#[derive(Clone, Debug)]
pub(crate) struct RemoteLeaf<'a> {
    pub(crate) exchange: Exchange,
    pub(crate) target: Target<'a>,
    /// Processes of the target that died when it closed the connection.
    pub(crate) deaths: Vec<(Ktime, Process)>,
}

/// A call that brought no answer although its server gave one in time, or of which a filter dropped packets.
#[derive(Clone, Debug)]
pub(crate) struct LostLeaf<'a> {
    pub(crate) client: Exchange,
    /// What the server's end saw, if anything.
    pub(crate) server: Option<Exchange>,
    pub(crate) caller_pod: Option<&'a Pod>,
    pub(crate) target: Target<'a>,
    pub(crate) drops: Vec<(Ktime, Drop)>,
    /// The pod in whose network namespace the first of the drops happened.
    pub(crate) drop_pod: Option<&'a Pod>,
    /// The connection table of the first drop's network namespace.
    pub(crate) conntrack: Option<Conntrack>,
}

/// What a call was aimed at.
#[derive(Clone, Debug, Default)]
pub(crate) struct Target<'a> {
    pub(crate) service: Option<&'a Service>,
    pub(crate) pod: Option<&'a Pod>,
    pub(crate) who: Option<Who>,
    /// In the cluster, or on this node.
    pub(crate) inside: bool,
    /// What a DNS answer called it.
    pub(crate) name: Option<String>,
    pub(crate) address: Option<std::net::SocketAddr>,
    /// The address after translation, where seen.
    pub(crate) backend: Option<std::net::SocketAddr>,
}

/// The answer of a closed port, as the kernel there told it.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    pub(crate) at: Ktime,
    pub(crate) local: std::net::SocketAddr,
    pub(crate) netns: u32,
    pub(crate) reason: Option<String>,
}

impl Refusal {
    /// By the reset that it sent.
    pub(crate) fn sent((at, signal): &(Ktime, crate::event::Signal)) -> Self {
        Self { at: *at, local: signal.local, netns: signal.netns, reason: signal.reason.clone() }
    }

    /// By the drop of what the reset answered, if that is what became of the connect.
    pub(crate) fn dropped((at, drop): &(Ktime, Drop), connect: &crate::event::Connect) -> Option<Self> {
        let answered = drop.reason.is_some() || connect.reset;
        (answered && drop.source == connect.local && drop.at_closed_port()).then(|| Self {
            at: *at,
            local: drop.destination,
            netns: drop.netns,
            reason: drop.reason.clone(),
        })
    }
}

/// A failed connect with what the node saw of it.
#[derive(Clone, Debug)]
pub(crate) struct ConnectLeaf<'a> {
    pub(crate) connect: crate::event::Connect,
    pub(crate) caller: Who,
    pub(crate) caller_pod: Option<&'a Pod>,
    pub(crate) target: Target<'a>,
    pub(crate) drops: Vec<(Ktime, Drop)>,
    /// The pod in whose network namespace the first of the drops happened.
    pub(crate) drop_pod: Option<&'a Pod>,
    pub(crate) icmp: Option<(Ktime, Icmp)>,
    /// A kernel on this node refused the segment: no socket wanted it there.
    pub(crate) refusal: Option<Refusal>,
    /// The caller's local ports.
    pub(crate) local_ports: Option<LocalPorts>,
    /// The connection table of the first drop's network namespace.
    pub(crate) conntrack: Option<Conntrack>,
    /// The SYN reached a listener on this node, which ignored it.
    pub(crate) syn: Option<(Ktime, UnansweredSyn)>,
    /// `ListenOverflows` and `ListenDrops` of that listener's network namespace.
    pub(crate) listen_counts: Option<(u64, u64)>,
    /// Ports that the target's network namespace listens on.
    pub(crate) listening: Option<Vec<u16>>,
    /// A process of the target that the OOM killer took lately.
    pub(crate) oom: Option<(Ktime, Process)>,
    /// Processes of the target that ended lately.
    pub(crate) deaths: Vec<(Ktime, Process)>,
    /// How the probes of the target went: of the pods behind the Service, or of the pod.
    pub(crate) probes: Vec<ProbeRun>,
}

/// A failed lookup.
#[derive(Clone, Debug)]
pub(crate) struct LookupLeaf<'a> {
    pub(crate) lookup: super::lookup::Lookup,
    pub(crate) asker: Who,
    pub(crate) asker_pod: Option<&'a Pod>,
    pub(crate) target: Target<'a>,
    pub(crate) drops: Vec<(Ktime, Drop)>,
    pub(crate) drop_pod: Option<&'a Pod>,
    /// The connection table of the first drop's network namespace.
    pub(crate) conntrack: Option<Conntrack>,
    /// The query was rejected.
    pub(crate) icmp: Option<(Ktime, Icmp)>,
    /// The resolver's container, where the query reached it.
    pub(crate) reached: Option<Who>,
}

/// A broken connection without HTTP.
#[derive(Clone, Debug)]
pub(crate) struct EndLeaf<'a> {
    pub(crate) signal: crate::event::Signal,
    pub(crate) at: Ktime,
    pub(crate) target: Target<'a>,
    pub(crate) deaths: Vec<(Ktime, Process)>,
    pub(crate) probes: Vec<ProbeRun>,
}

/// Numbers that tell a call from others; a lookup has one for each of its transactions.
pub(crate) fn call_numbers(call: &Call) -> Vec<u64> {
    match call {
        Call::Lookup(x) => x.numbers.clone(),
        other => vec![number(other)],
    }
}

fn number(call: &Call) -> u64 {
    match call {
        Call::Exchange(x) => x.conn.born_ns ^ x.conn.sock.rotate_left(17) ^ u64::from(x.number),
        Call::Connect(x) => x.conn.born_ns ^ x.conn.sock.rotate_left(19),
        Call::Attempt(_, x) => x.start_ns ^ (u64::from(x.actor.tid) << 40),
        Call::End(_, x) => x.conn.map_or(0, |c| c.born_ns ^ c.sock.rotate_left(23)),
        Call::Lookup(x) => x.numbers.first().copied().unwrap_or_default(),
    }
}
