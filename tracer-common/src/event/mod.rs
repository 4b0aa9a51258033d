//! One wire struct per hook family; each begins with a [`Header`].

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

mod cgroup;
mod connect;
mod dns;
mod exchange;
mod process;
mod skb_drop;
mod syn;
mod tcp_reset;

pub use cgroup::Cgroup;
pub use connect::{Connect, ConnectAttempt, PendingConnect};
pub use dns::{Dns, DnsKey, DnsPending};
pub use exchange::{Exchange, FlightRecord, Heads};
pub use process::{Process, process_kind};
pub use skb_drop::{IcmpError, PacketTuple, SkbDrop};
pub use syn::{PendingSyn, SynKey};
pub use tcp_reset::{Signal, reset_direction};

/// Event kinds. The numbers are the ABI; gaps are free.
pub mod kind {
    /// [`super::Exchange`]: an HTTP exchange ended (failures, or all with `all_requests`).
    pub const EXCHANGE: u16 = 1;
    /// [`super::Connect`]: a connect that failed.
    pub const CONNECT: u16 = 2;
    /// [`super::Signal`]: a reset received.
    pub const TCP_RECEIVE_RESET: u16 = 3;
    /// [`super::Signal`]: a reset sent.
    pub const TCP_SEND_RESET: u16 = 4;
    /// [`super::Signal`]: a SYN retransmitted.
    pub const TCP_RETRANSMIT_SKB: u16 = 5;
    /// [`super::Signal`]: a SYN-ACK retransmitted.
    pub const TCP_RETRANSMIT_SYNACK: u16 = 6;
    /// [`super::IcmpError`]: this kernel sent an ICMP or ICMPv6 error about a TCP packet or a DNS query.
    pub const ICMP_SEND: u16 = 8;
    /// [`super::SkbDrop`]
    pub const KFREE_SKB: u16 = 9;
    /// [`super::Dns`]: a DNS response.
    pub const DNS: u16 = 10;
    /// [`super::Process`]: the kernel chose a process to kill for memory.
    pub const MARK_VICTIM: u16 = 11;
    /// [`super::Process`]: a process ended.
    pub const SCHED_PROCESS_EXIT: u16 = 12;
    /// [`super::Cgroup`]: made.
    pub const CGROUP_MKDIR: u16 = 13;
    /// [`super::Cgroup`]: removed.
    pub const CGROUP_RMDIR: u16 = 14;
    /// [`super::Signal`]: a connection without HTTP ended after its peer reset it, or without an answer.
    pub const CONNECTION_END: u16 = 15;

    /// As its hook is called.
    pub const fn name(kind: u16) -> &'static str {
        match kind {
            EXCHANGE => "exchange",
            CONNECT => "connect",
            TCP_RECEIVE_RESET => "tcp_receive_reset",
            TCP_SEND_RESET => "tcp_send_reset",
            TCP_RETRANSMIT_SKB => "tcp_retransmit_skb",
            TCP_RETRANSMIT_SYNACK => "tcp_retransmit_synack",
            ICMP_SEND => "icmp_send",
            KFREE_SKB => "kfree_skb",
            DNS => "dns",
            MARK_VICTIM => "mark_victim",
            SCHED_PROCESS_EXIT => "sched_process_exit",
            CGROUP_MKDIR => "cgroup_mkdir",
            CGROUP_RMDIR => "cgroup_rmdir",
            CONNECTION_END => "connection_end",
            _ => "other",
        }
    }
}

/// Begins every event.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Header {
    /// `bpf_ktime_get_ns`.
    pub at_ns: u64,
    /// One of [`kind`].
    pub kind: u16,
    pub cpu: u16,
    /// Bytes of the event that are filled, header included.
    pub len: u32,
}

const _: () = assert!(size_of::<Header>() == 16);
