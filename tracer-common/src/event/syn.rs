//! SYNs that reached a listener (`cgroup_skb` ingress) and wait for their SYN-ACK (egress).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::Tuple;

/// A SYN is told apart by its listener and its sequence number, which its SYN-ACK acknowledges: translation of addresses
/// in the listener's own namespace changes neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SynKey {
    /// Address of the listener's `struct sock`.
    pub sock: u64,
    pub seq: u32,
    pub pad: u32,
}

/// A SYN without a SYN-ACK yet, with the listener's queues as they were when it came.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct PendingSyn {
    pub start_ns: u64,
    /// Of the listener.
    pub cgroup_id: u64,
    /// `local` is the listener's end, with the address that the SYN was sent to.
    pub tuple: Tuple,
    /// How often it came.
    pub syns: u32,
    /// Connections that wait to be accepted (`sk_ack_backlog`), and how many may (`sk_max_ack_backlog`).
    pub accept_queue: u32,
    pub accept_queue_max: u32,
    /// Handshakes under way (`icsk_accept_queue.qlen`).
    pub syn_queue: u32,
}

const _: () = assert!(size_of::<SynKey>() == 16 && size_of::<PendingSyn>() == 72);
