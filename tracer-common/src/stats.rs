//! Losses and skips, counted per CPU by place.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::limits::LATENCY_BUCKETS;

/// Index into the per-CPU `STATS` array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Stat {
    /// The failures ring was full.
    LostFailures = 0,
    /// The ring of everything else was full.
    LostEvents,
    /// A connection record could not be inserted.
    LostConn,
    /// A captured head could not be inserted.
    LostHead,
    /// A pending DNS query could not be inserted.
    LostDnsQuery,
    /// A pending SYN or connect could not be inserted.
    LostPending,
    /// A success counter could not be inserted.
    LostCounter,
    /// Requests outstanding beyond what is told apart on a connection.
    PipelineOverflow,
    /// Connections first seen in the middle of their life.
    Joined,
    /// Connections that begin with a TLS handshake.
    Tls,
    /// Flight records written (a count, not a loss: the recorder keeps the last `FLIGHT_RECORDS`).
    Flight,
    /// TCP segments with data sent again.
    Retransmits,
    /// Sockets older than the tracer that were given no record.
    LostExisting,
}

impl Stat {
    pub const COUNT: usize = 13;
    /// Every statistic with its stable name, in index order.
    pub const ALL: [(Stat, &'static str); Stat::COUNT] = [
        (Stat::LostFailures, "failures"),
        (Stat::LostEvents, "events"),
        (Stat::LostConn, "connections"),
        (Stat::LostHead, "heads"),
        (Stat::LostDnsQuery, "dns_queries"),
        (Stat::LostPending, "pending"),
        (Stat::LostCounter, "counters"),
        (Stat::PipelineOverflow, "pipelines"),
        (Stat::Joined, "joined"),
        (Stat::Tls, "tls"),
        (Stat::Flight, "flight"),
        (Stat::Retransmits, "retransmits"),
        (Stat::LostExisting, "existing"),
    ];
}

/// Kinds of events in the map of what each ring lost: [`crate::event::kind`] stays below.
pub const LOST_KINDS: u32 = 32;
/// Entries of that map: [`LOST_KINDS`] for each of the two rings, failures first.
pub const LOST: u32 = 2 * LOST_KINDS;

/// Key of the success counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CounterKey {
    pub cgroup_id: u64,
    /// Whom the client called; zero for servers, who may have any number of callers.
    pub peer: [u8; 16],
    /// Server port the requests go to.
    pub port: u16,
    pub status: u16,
    /// The method's first two letters: no two known methods share them.
    pub method: [u8; 2],
    pub role: u8,
    pub pad: u8,
}

/// Requests counted in the kernel, per CPU.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Counter {
    pub latency_sum_ns: u64,
    pub latency: [u64; LATENCY_BUCKETS],
}

/// A place in the direct-mapped array of counters, of which each CPU has a lane. A key that finds its place taken is counted in a hash.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DirectCounter {
    /// How many want it, as in [`DirectConn`](crate::conn::DirectConn).
    pub claims: u64,
    /// Its role is zero while it is free, or being made.
    pub key: CounterKey,
    pub counter: Counter,
}

const _: () = assert!(size_of::<CounterKey>() == 32 && size_of::<Counter>() == 168);
