//! What the core is told: one type per hook family, decoded, parsed and redacted. The same values go through a capture
//! file, so a live run and its replay see the same.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::k8s::snapshot::Change;

mod connect;
pub mod decode;
mod exchange;
mod host;
pub mod record;
mod tls;

pub use connect::{Connect, ConnectAttempt, OpaqueConnection, UnansweredSyn};
pub use exchange::{Exchange, Outcome, RequestHead, ResponseHead, Role, Seen};
pub use host::{
    Conntrack, CpuThrottling, Descriptors, Flow, HostFact, LocalPorts, Log, LogEntry, Memory, Pressure, Resources,
    Rule, Volume,
};
pub use tls::{Handshake, Tls};

/// Nanoseconds of `CLOCK_MONOTONIC`, as the kernel programs stamp them.
pub type Ktime = u64;

/// A thread of a process, numbered as in the node's PID namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Actor {
    pub tgid: u32,
    pub tid: u32,
}

/// A connection's end: the address of its `struct sock` and when its record was made (addresses are reused).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ConnId {
    pub sock: u64,
    pub born_ns: Ktime,
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    Exchange(Exchange),
    Connect(Connect),
    ConnectAttempt(ConnectAttempt),
    UnansweredSyn(UnansweredSyn),
    OpaqueConnection(OpaqueConnection),
    Signal(Signal),
    Drop(Drop),
    Icmp(Icmp),
    Dns(Dns),
    Process(Process),
    /// A cgroup's path, told before the first event that names its id.
    Cgroup {
        id: u64,
        path: String,
    },
    /// What the node's files say.
    Host(HostFact),
    /// Totals so far of what was lost, by place.
    Lost {
        totals: Vec<(String, u64)>,
    },
    /// How many processes were seen so far whose connections carry TLS.
    Opaque {
        processes: u64,
    },
    /// How many connections were seen so far that had been open before.
    Joined {
        connections: u64,
    },
    /// The cluster's state changed, as a watch of the API server told it.
    Cluster {
        changes: Vec<Change>,
    },
    /// How the watch of one resource fares.
    Watch {
        /// As `kubectl` takes it, such as `pods`.
        resource: String,
        #[serde(flatten)]
        state: WatchState,
    },
    /// Time passes; nothing else makes it pass for the core.
    Tick,
}

impl Event {
    /// The cgroup that it belongs to, where it belongs to one.
    pub fn cgroup(&self) -> Option<u64> {
        let id = match self {
            Self::Exchange(exchange) => exchange.cgroup,
            Self::Connect(connect) => connect.cgroup,
            Self::ConnectAttempt(attempt) => attempt.cgroup,
            Self::UnansweredSyn(syn) => syn.cgroup,
            Self::OpaqueConnection(conn) => conn.cgroup,
            // An RST that answers a segment for no socket is nobody's.
            Self::Signal(signal) if signal.no_socket && signal.signal == SignalKind::TcpSendReset => 0,
            Self::Signal(signal) => signal.cgroup,
            // Where a packet died is not where it belongs: its sender's cgroup or its receiver's may be known, or neither.
            Self::Drop(_) | Self::Icmp(_) => 0,
            Self::Dns(dns) => dns.cgroup,
            Self::Process(process) => process.cgroup,
            Self::Cgroup { .. }
            | Self::Host(_)
            | Self::Lost { .. }
            | Self::Opaque { .. }
            | Self::Cluster { .. }
            | Self::Watch { .. }
            | Self::Joined { .. }
            | Self::Tick => 0,
        };
        (id != 0).then_some(id)
    }

    /// The cgroup that it names, as its own or as another's.
    pub fn named_cgroup(&self) -> Option<u64> {
        match self {
            Self::Drop(drop) => Some(drop.cgroup).filter(|id| *id != 0),
            event => event.cgroup(),
        }
    }
}

/// An event with its time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    pub at: Ktime,
    #[serde(flatten)]
    pub event: Event,
}

/// Which hook a [`Signal`] comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SignalKind {
    TcpReceiveReset,
    TcpSendReset,
    /// Of a SYN.
    TcpRetransmitSkb,
    TcpRetransmitSynack,
    /// Of a UDP socket: only in older captures.
    InetSkErrorReport,
    /// A connection without HTTP ended reset, or without ever an answer.
    ConnectionEnd,
}

/// Something that befell a socket.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Signal {
    pub signal: SignalKind,
    pub conn: Option<ConnId>,
    pub cgroup: u64,
    pub netns: u32,
    pub local: SocketAddr,
    pub remote: SocketAddr,
    pub actor: Actor,
    pub comm: String,
    /// `TCP_*` state.
    pub state: u32,
    pub error: u32,
    /// Name of the kernel's reset reason.
    pub reason: Option<String>,
    /// An RST for a segment that no socket wants.
    pub no_socket: bool,
    /// `IPPROTO_*`.
    pub protocol: u8,
    pub bytes_acked: u64,
    pub bytes_received: u64,
    pub established_ns: Ktime,
    pub reset_received: bool,
    pub client: bool,
    /// Of a connection's end: who connected, and which end closed first.
    #[serde(default)]
    pub connector: Option<Actor>,
    #[serde(default)]
    pub local_closed_first: bool,
    #[serde(default)]
    pub remote_closed_first: bool,
    /// The TLS handshake that the connection began with.
    #[serde(default)]
    pub tls: Option<Tls>,
}

impl Signal {
    /// How the TLS handshake failed that the connection began with.
    pub fn handshake_failure(&self) -> Option<Handshake> {
        let by_server = self.remote_closed_first || (self.reset_received && !self.local_closed_first);
        self.tls.and_then(|tls| tls.failure(by_server))
    }

    /// A connection's end that is a failure for certain: reset by the peer, or in the handshake.
    pub fn is_broken_end(&self) -> bool {
        // A server that has closed answers the client's goodbye with a reset: of what can't be read, the answer may have come.
        let goodbye = self.tls.is_some_and(|tls| tls.left || self.remote_closed_first);
        let reset = self.reset_received && !self.local_closed_first && !goodbye;
        self.signal == SignalKind::ConnectionEnd
            && (reset || self.handshake_failure().is_some_and(|how| how != Handshake::Unused))
    }
}

/// A dropped packet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Drop {
    pub source: SocketAddr,
    pub destination: SocketAddr,
    /// Before destination NAT.
    pub original_destination: Option<SocketAddr>,
    /// `IPPROTO_*`.
    pub protocol: u8,
    pub tcp_flags: u8,
    /// Name of the kernel's drop reason (`NETFILTER_DROP`), where it has one.
    pub reason: Option<String>,
    /// Symbol that freed it.
    pub location: Option<String>,
    /// Netfilter hook, where the stack names it (`PREROUTING` … `POSTROUTING`).
    pub hook: Option<String>,
    /// `netfilter`, `tc`, `xdp`, `cgroup`, `routing`, … as the place implies.
    pub mechanism: Option<String>,
    pub netns: u32,
    pub device: Option<String>,
    pub cgroup: u64,
    pub tgid: u32,
}

impl Drop {
    /// Connection tracking drops by a verdict of its own, after which only netfilter's core is left on the stack
    /// (`net/netfilter/core.c` `nf_hook_slow`), as after a rule of x_tables; a rule of nftables frees the packet itself.
    pub fn may_be_conntrack(&self) -> bool {
        let core = self.location.as_deref() == Some("nf_hook_slow");
        self.mechanism.as_deref() == Some("conntrack") || (core && self.reason.as_deref() == Some("NETFILTER_DROP"))
    }

    /// Netfilter did it: by its reason, or by its place where the kernel gives none.
    pub fn by_netfilter(&self) -> bool {
        match self.reason.as_deref() {
            Some("NETFILTER_DROP") => true,
            Some("NOT_SPECIFIED") | None => {
                matches!(self.mechanism.as_deref(), Some("netfilter" | "nftables" | "iptables" | "xtables"))
            }
            Some(_) => false,
        }
    }

    /// A SYN that no socket wanted, which the kernel answers with an RST: how kernels before 6.10 tell of a closed port.
    /// Before 5.17 by its place alone, where sockets' filters drop, too, without an RST (`net/ipv4/tcp_ipv4.c` `tcp_v4_rcv`).
    pub fn at_closed_port(&self) -> bool {
        let place = || matches!(self.location.as_deref(), Some("tcp_v4_rcv" | "tcp_v6_rcv"));
        // SYN without ACK, of IPPROTO_TCP.
        let syn = self.protocol == 6 && self.tcp_flags & 0x12 == 0x02;
        syn && self.reason.as_deref().map_or_else(place, |reason| reason == "NO_SOCKET")
    }
}

/// An ICMP or ICMPv6 destination-unreachable that this kernel sent, with the packet that caused it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Icmp {
    pub source: SocketAddr,
    pub destination: SocketAddr,
    pub protocol: u8,
    pub icmp_type: u8,
    pub icmp_code: u8,
    pub ipv6: bool,
    pub netns: u32,
}

/// One DNS transaction: answered, or given up on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Dns {
    /// The asking end, or the resolver's.
    pub role: Role,
    pub cgroup: u64,
    pub netns: u32,
    pub local: SocketAddr,
    pub remote: SocketAddr,
    pub actor: Actor,
    pub comm: String,
    pub start_ns: Ktime,
    pub end_ns: Ktime,
    pub transmissions: u32,
    pub tcp: bool,
    /// Lower case, without the final dot.
    pub name: String,
    /// `A`, `AAAA`, …
    pub query_type: String,
    /// RFC 1035 section 4.1.1; `None` without an answer.
    pub rcode: Option<u8>,
    pub addresses: Vec<IpAddr>,
}

/// A process that the OOM killer chose, or that ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Process {
    pub cgroup: u64,
    pub tgid: u32,
    pub comm: String,
    pub oom_victim: bool,
    pub signal: Option<u32>,
    pub exit_code: Option<u32>,
    /// It had read requests.
    pub served: bool,
}

/// How a watch fares.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum WatchState {
    Current,
    /// Of this node only; others are asked for as they are needed.
    OfNode,
    /// The API server doesn't answer, or not so.
    Stale {
        reason: String,
    },
    /// Our role doesn't allow it.
    Forbidden,
    /// The cluster doesn't have this kind.
    Absent,
    /// There are more than are kept.
    Partial {
        most: usize,
    },
}
