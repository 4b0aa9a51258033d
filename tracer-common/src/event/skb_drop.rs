//! Dropped packets (`kfree_skb`) and ICMP errors (`icmp_send`; ICMPv6 by root `cgroup_skb` egress).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::Header;
use crate::limits::STACK_DEPTH;

/// Addresses and ports read from a packet's headers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct PacketTuple {
    pub source: [u8; 16],
    pub destination: [u8; 16],
    pub source_port: u16,
    pub destination_port: u16,
    /// `IPPROTO_*`.
    pub protocol: u8,
    /// TCP flags byte.
    pub tcp_flags: u8,
    pub pad: u16,
}

/// A packet freed as a drop.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SkbDrop {
    pub header: Header,
    pub packet: PacketTuple,
    /// `skb->sk`, or the receiving socket; 0 where there is none.
    pub sock: u64,
    pub cgroup_id: u64,
    /// Address that freed it.
    pub location: u64,
    /// `enum skb_drop_reason`, `u32::MAX` where the kernel gives none.
    pub reason: u32,
    pub ifindex: u32,
    pub netns: u32,
    pub tgid: u32,
    pub dev: [u8; 16],
    /// What the packet was sent to before destination NAT, from its conntrack entry; zero where there is none.
    pub original_destination: [u8; 16],
    pub original_port: u16,
    pub pad: [u8; 6],
    /// Cilium's own words in `skb->cb`: source identity, destination identity, reason, endpoint, file and line.
    pub cb: [u32; 5],
    pub pad2: u32,
    /// Return addresses, innermost first; zero ends them.
    pub stack: [u64; STACK_DEPTH],
}

/// An ICMP destination-unreachable (and the like) that this kernel sent.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct IcmpError {
    pub header: Header,
    /// The offending packet.
    pub packet: PacketTuple,
    pub netns: u32,
    pub ifindex: u32,
    pub icmp_type: u8,
    pub icmp_code: u8,
    /// 4 or 6.
    pub family: u8,
    pub pad: [u8; 5],
}

const _: () = assert!(size_of::<PacketTuple>() == 40);
const _: () = assert!(size_of::<SkbDrop>() == 16 + 40 + 24 + 16 + 16 + 24 + 24 + 96);
