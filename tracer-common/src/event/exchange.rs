//! HTTP/1 exchanges (`cgroup_skb` ingress and egress).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::Header;
use crate::{
    Actor, Tuple,
    conn::{Conn, Request},
    limits::{FLIGHT_LINE, REQUEST_HEAD, RESPONSE_HEAD},
};

/// The captured heads of one request, value of the heads map.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Heads {
    pub request: [u8; REQUEST_HEAD],
    pub response: [u8; RESPONSE_HEAD],
}

/// A failed exchange (or any, with `all_requests`): answered with a failing status, or never answered.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Exchange {
    pub header: Header,
    pub sock: u64,
    /// The connection as it was; `requests` hold what else was outstanding on it.
    pub conn: Conn,
    /// The exchange itself.
    pub request: Request,
    /// Valid up to `request.head_len` and `request.response_len`.
    pub heads: Heads,
}

/// A compact record of an exchange that went well, in the flight recorder; or, with status 0, of an opaque connection that
/// ended: `start_ns` is then its establishment, `read_ns` and `response_ns` are when payload was last sent and received,
/// and `flags` is its [`protocol`](crate::conn::protocol).
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FlightRecord {
    /// Number of the record, from 1; 0 while it is being written.
    pub sequence: u64,
    pub sock: u64,
    pub born_ns: u64,
    pub cgroup_id: u64,
    pub start_ns: u64,
    pub read_ns: u64,
    pub response_ns: u64,
    pub tuple: Tuple,
    pub actor: Actor,
    pub responder: Actor,
    pub connector: Actor,
    pub seq: u32,
    pub ack: u32,
    pub status: u16,
    pub role: u8,
    pub flags: u8,
    /// Captured bytes of the request line.
    pub line_len: u32,
    pub line: [u8; FLIGHT_LINE],
    pub pad: [u8; 16],
}

const _: () = assert!(size_of::<FlightRecord>() == 248);
