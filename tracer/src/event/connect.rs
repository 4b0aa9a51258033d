//! Connections that failed to come about, or that can't be read.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::{Actor, ConnId, Ktime};

/// A connect that failed (SYN_SENT to CLOSE), or one that is still unanswered (`open`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Connect {
    pub conn: ConnId,
    pub cgroup: u64,
    pub netns: u32,
    pub local: SocketAddr,
    pub remote: SocketAddr,
    /// The address on the wire, where this namespace translates it.
    pub nat_remote: Option<SocketAddr>,
    pub actor: Actor,
    pub comm: String,
    pub start_ns: Ktime,
    pub end_ns: Ktime,
    /// `sk_err`: errno, 0 where the application gave up or the error came while it held the socket.
    pub error: u32,
    /// `sk_err_soft`: the last ICMP error's errno.
    pub error_soft: u32,
    /// An RST answered.
    pub reset: bool,
    pub syn_retransmits: u32,
    /// It is still in SYN_SENT.
    pub open: bool,
    /// It ended inside the call that began it.
    #[serde(default)]
    pub synchronous: bool,
}

impl Connect {
    /// It got no local port, so no packet was sent: `EADDRNOTAVAIL` (`net/ipv4/inet_hashtables.c` `inet_hash_connect`).
    pub fn got_no_port(&self) -> bool {
        let silent = self.error == 0 && self.error_soft == 0 && !self.reset && self.syn_retransmits == 0;
        self.synchronous && !self.open && self.local.port() == 0 && silent
    }
}

/// A connect that died before a SYN was sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConnectAttempt {
    pub cgroup: u64,
    pub netns: u32,
    pub remote: SocketAddr,
    pub actor: Actor,
    pub comm: String,
    pub start_ns: Ktime,
}

/// A client's connection that carries no HTTP which can be read: when it was used. Told at each look if it was used since
/// the one before, and when it has ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OpaqueConnection {
    pub conn: ConnId,
    pub cgroup: u64,
    pub netns: u32,
    pub local: SocketAddr,
    pub remote: SocketAddr,
    pub connector: Option<Actor>,
    /// Its first bytes were a TLS record.
    pub tls: bool,
    /// When it was established; for one that is older than the tracer, when that was noticed.
    pub start_ns: Ktime,
    /// When payload was last sent or received.
    pub last_ns: Ktime,
    /// The server has sent payload.
    #[serde(default)]
    pub answered: bool,
}

/// A SYN that reached a listener here and that no SYN-ACK followed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UnansweredSyn {
    /// Of the listener.
    pub cgroup: u64,
    pub netns: u32,
    pub local: SocketAddr,
    pub remote: SocketAddr,
    /// When it came first.
    pub start_ns: Ktime,
    pub syns: u32,
    /// Connections that waited to be accepted then; the kernel ignores SYNs while they are more than `accept_queue_max`.
    pub accept_queue: u32,
    pub accept_queue_max: u32,
    /// Handshakes under way then.
    pub syn_queue: u32,
}
