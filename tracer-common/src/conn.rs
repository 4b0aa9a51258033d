//! The connection record: the one place where the hooks' views of a socket meet.
//!
//! Key: address of the `struct sock`, which `cgroup_skb` and raw tracepoints see alike. Addresses are reused, so a record
//! carries its birth time as generation and dies at the socket's `CLOSE`.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{
    Actor, Tuple,
    limits::{DIRECT_BITS, PIPELINE},
};

/// Which end of the connection the socket is.
pub mod role {
    pub const UNKNOWN: u8 = 0;
    /// It connected.
    pub const CLIENT: u8 = 1;
    /// It was accepted.
    pub const SERVER: u8 = 2;
}

/// What the connection carries.
pub mod protocol {
    pub const UNKNOWN: u8 = 0;
    pub const HTTP1: u8 = 1;
    /// Its first bytes were no HTTP: dismissed for good.
    pub const OTHER: u8 = 2;
    /// Was HTTP until `101 Switching Protocols` or a successful `CONNECT`.
    pub const TUNNEL: u8 = 3;
    /// A TLS handshake record came first: opaque.
    pub const TLS: u8 = 4;
}

/// Facts about a connection, or'ed into [`Conn::flags`].
pub mod conn_flag {
    /// First seen in the middle of its life.
    pub const JOINED: u32 = 1;
    pub const ESTABLISHED: u32 = 1 << 1;
    pub const RST_RECEIVED: u32 = 1 << 2;
    pub const RST_SENT: u32 = 1 << 3;
    /// This end closed first (FIN sent before one was received).
    pub const LOCAL_CLOSED_FIRST: u32 = 1 << 4;
    /// The peer closed first.
    pub const REMOTE_CLOSED_FIRST: u32 = 1 << 5;
    /// Several messages stood in one segment: every segment is scanned whole from then on.
    pub const PIPELINED: u32 = 1 << 6;
    /// The failed connect ended inside the `connect` call that began it.
    pub const SYNCHRONOUS: u32 = 1 << 8;
    /// No request was outstanding when the first end closed; one that crossed the peer's FIN doesn't count.
    pub const CLOSED_IDLE: u32 = 1 << 9;
    /// The iterator found it, or a segment: it is older than the tracer, or was forgotten.
    pub const EXISTING: u32 = 1 << 10;
    /// Its record is at its socket's [`direct_place`](super::direct_place), and so are the heads of a single request.
    pub const DIRECT: u32 = 1 << 11;
    /// Heads of it are, or were, in the hash of heads.
    pub const HEADS: u32 = 1 << 12;
}

/// Facts about a request, or'ed into [`Request::flags`].
pub mod req_flag {
    /// The head is longer than what was captured.
    pub const TRUNCATED: u8 = 1;
    /// First exchange of its connection: the connecting thread's request owns it.
    pub const FIRST: u8 = 2;
    /// Its status line has been seen (the body may follow).
    pub const ANSWERED: u8 = 4;
    pub const HEAD: u8 = 8;
    pub const CONNECT: u8 = 16;
    /// The connection ended before the answer's announced length had passed.
    pub const CUT: u8 = 32;
    /// A method that may carry a body.
    pub const BODY: u8 = 64;
}

/// Facts about a TLS handshake, or'ed into [`Tls::flags`].
pub mod tls_flag {
    /// The server's first bytes are no TLS record.
    pub const NOT_TLS: u8 = 1;
    /// They are an HTTP status line.
    pub const HTTP: u8 = 2;
    /// A record's header couldn't be followed: nothing more is said of this connection.
    pub const LOST: u8 = 4;
    /// Past the handshake: no longer followed.
    pub const DONE: u8 = 8;
    /// Its end was reported when this end closed.
    pub const TOLD: u8 = 16;
    /// The client sent an encrypted alert, known by its type (TLS 1.2) or length (1.3), before the server closed.
    pub const ALERT_SENT: u8 = 32;
}

/// The records of a TLS handshake, as far as they can be read (RFC 8446 section 5.1). Arrays: sent, received.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Tls {
    /// Sequence number at which the next record begins.
    pub next: [u32; 2],
    /// A plaintext alert: level in the upper byte, description in the lower; 0 none.
    pub alert: [u16; 2],
    /// Length of the first and of the last record that looks like application data, as all encrypted ones do in TLS 1.3.
    pub first: [u16; 2],
    pub last: [u16; 2],
    /// Handshake records in the clear or, in TLS 1.2, encrypted.
    pub handshakes: [u8; 2],
    pub cipher_changes: [u8; 2],
    /// Records that look like application data.
    pub data: [u8; 2],
    /// Those that the peer sent after this end's first.
    pub answers: u8,
    /// [`tls_flag`]s.
    pub flags: u8,
}

/// One request of a connection, from its first byte on.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Request {
    /// When its first byte passed the hook.
    pub start_ns: u64,
    /// When a thread read it (server side), 0 if no read was seen.
    pub read_ns: u64,
    /// When its status line passed, 0 if none did.
    pub response_ns: u64,
    /// Who sent it (client side) or read it (server side).
    pub actor: Actor,
    /// Who sent the response (server side) or read it (client side).
    pub responder: Actor,
    /// TCP sequence and acknowledgement number of the packet with its first byte: equal at both ends.
    pub seq: u32,
    pub ack: u32,
    /// Bytes of it seen so far.
    pub seen: u32,
    /// Its number on the connection, from 0.
    pub number: u32,
    /// Final status, 0 while unanswered.
    pub status: u16,
    /// Captured bytes of the head.
    pub head_len: u16,
    /// Captured bytes of the response head.
    pub response_len: u16,
    pub flags: u8,
    /// Its heads' slot in the hash of heads, or [`DIRECT_HEAD`] or one more.
    pub slot: u8,
}

/// One TCP connection's end.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Conn {
    /// Generation: `bpf_ktime_get_ns` when the record was made.
    pub born_ns: u64,
    pub cgroup_id: u64,
    pub tuple: Tuple,
    /// The peer's address on the wire where it differs from the socket's view (destination NAT in this namespace).
    pub nat_remote: [u8; 16],
    pub nat_remote_port: u16,
    pub role: u8,
    pub protocol: u8,
    pub flags: u32,
    /// When the three-way handshake ended, 0 if it never did.
    pub established_ns: u64,
    /// When the connection left ESTABLISHED.
    pub closing_ns: u64,
    /// Who connected.
    pub connector: Actor,
    pub comm: [u8; 16],
    /// Next expected sequence number of each direction: sent, received.
    pub next_seq: [u32; 2],
    /// One missing range of each direction, when segments came out of order.
    pub hole: [u32; 2],
    pub hole_end: [u32; 2],
    /// Requests begun so far, and finally answered so far.
    pub begun: u32,
    pub answered: u32,
    pub syn_retransmits: u32,
    pub retransmits: u32,
    /// `TCP_*` state last seen.
    pub state: u32,
    /// `sk_err` reported for it, 0 if none.
    pub error: u32,
    /// Payload bytes sent and received (of connections that aren't dismissed).
    pub bytes: [u64; 2],
    /// When payload was last sent and received.
    pub last_ns: [u64; 2],
    pub tls: Tls,
    /// Sequence number of the first byte of the last final response.
    pub response_seq: u32,
    pub requests: [Request; PIPELINE],
}

/// A place in the direct-mapped array of connections. Its place is given by the address of its socket; a connection that finds
/// its place taken is kept in a hash instead.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DirectConn {
    /// How many want it: who added one and finds one has it. (An exchange of values needs 5.12.)
    pub claims: u64,
    /// Address of the `struct sock`; 0 while it is free, or being made.
    pub sock: u64,
    /// How many are in the hash that have this place: as long as there are none, a socket that isn't here isn't there.
    pub displaced: u64,
    pub conn: Conn,
}

/// The place of a socket in the direct-mapped arrays, by Fibonacci hashing: the upper bits of the product depend on all bits. Of
/// the address only the lower half is used: the verifier allows that of a pointer, too.
#[inline(always)]
pub fn direct_place(sock: u64) -> u32 {
    (sock as u32).wrapping_mul(0x9e37_79b1) >> (32 - DIRECT_BITS)
}

/// [`Request::slot`] of a request whose heads are at the connection's [`direct_place`], or one more: requests take turns, so that the
/// head of the response before is there while it is asked what a segment belongs to.
pub const DIRECT_HEAD: u8 = PIPELINE as u8;

/// Where in the direct-mapped array the heads of a socket's request are, for a slot from [`DIRECT_HEAD`] on.
#[inline(always)]
pub fn direct_head(sock: u64, slot: u8) -> u32 {
    direct_place(sock) << 1 | u32::from(slot) & 1
}

/// Key of a captured head.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct HeadKey {
    pub sock: u64,
    pub slot: u64,
}

const _: () = assert!(size_of::<Request>() == 64 && size_of::<Tls>() == 28 && size_of::<Conn>() == 488);
const _: () = assert!(size_of::<DirectConn>() == 512);
