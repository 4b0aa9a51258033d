//! DNS messages (`cgroup_skb`), over UDP and TCP.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::Header;
use crate::{Actor, Tuple, limits::DNS_MESSAGE};

/// A query is told apart by its socket, its peer and its transaction id.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DnsKey {
    pub sock: u64,
    pub peer: [u8; 16],
    pub peer_port: u16,
    /// RFC 1035 section 4.1.1.
    pub id: u16,
    /// `conn::role` of this end.
    pub role: u32,
}

/// A query that waits for its answer.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DnsPending {
    pub start_ns: u64,
    pub cgroup_id: u64,
    pub tuple: Tuple,
    pub actor: Actor,
    pub comm: [u8; 16],
    /// Transmissions of the same query seen (a retry of the same id counts here).
    pub transmissions: u32,
    /// `IPPROTO_*`.
    pub protocol: u16,
    pub len: u16,
    pub message: [u8; DNS_MESSAGE],
}

/// A response with the query's facts.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Dns {
    pub header: Header,
    pub key: DnsKey,
    pub start_ns: u64,
    pub cgroup_id: u64,
    pub tuple: Tuple,
    pub actor: Actor,
    pub comm: [u8; 16],
    pub transmissions: u32,
    pub protocol: u16,
    pub len: u16,
    pub message: [u8; DNS_MESSAGE],
}

const _: () = assert!(size_of::<DnsKey>() == 32 && size_of::<DnsPending>() == 88 + DNS_MESSAGE);
