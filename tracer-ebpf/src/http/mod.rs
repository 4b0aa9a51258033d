//! HTTP/1 on one connection: which bytes begin a message, which request a status line answers.
//!
//! 1. A connection's first payload decides what it carries; what isn't HTTP is dismissed for good.
//! 2. Segments count once, in sequence order; one missing range per direction is remembered, so that a reordered segment
//!    is new and a retransmitted one is not.
//! 3. A request head begins only when no request is outstanding, or exactly where the previous request's framing says
//!    that it ends (pipelining). Its first 2 KiB are kept until the answer.
//! 4. A status line counts only with a request outstanding, and not inside the body of the response before. 1xx is
//!    skipped; `101` and a successful `CONNECT` end HTTP.
//! 5. Framing is only read where it matters: for a candidate that comes while a request is outstanding, for bytes after an
//!    early answer, and for a status line that isn't where the requester waited for one. The last finds requests that
//!    stood behind another in one segment, too.

mod framing;
mod request;
mod response;
mod tally;
mod token;

use aya_ebpf::bindings::__sk_buff;
use tracer_common::{
    conn::{Conn, conn_flag, protocol, role},
    stats::Stat,
};

use crate::{
    conn, kernel,
    maps::count,
    packet::{self, Packet},
    tls,
};
use token::Token;

pub(crate) use response::{finish_cut, finish_unanswered};

/// Directions, as indexes of [`Conn`]'s arrays.
pub(crate) const SENT: usize = 0;
pub(crate) const RECEIVED: usize = 1;

/// One TCP segment with payload, and where in it the parsing stands.
pub(crate) struct Segment {
    pub skb: *mut __sk_buff,
    pub sock: u64,
    /// Offset of the bytes looked at, from the IP header.
    pub at: u32,
    /// Bytes from there to the segment's end.
    pub len: u32,
    /// Sequence number of the first of them.
    pub seq: u32,
    pub ack: u32,
    pub direction: usize,
    pub now: u64,
}

/// Looks at a segment with payload.
#[inline(always)]
pub(crate) fn segment(skb: *mut __sk_buff, sock: u64, packet: &Packet, direction: usize) {
    let Some(record) = conn::find(sock).or_else(|| joined(skb, sock)) else {
        return;
    };
    // SAFETY: a live map value for the rest of the program.
    let record = unsafe { &mut *record };
    if is_dismissed(record) {
        // When a server was last used matters after an hour, when a client was to the requests at that time.
        let now = if conn::is_server(record) { kernel::coarse_now() } else { kernel::now() };
        record.last_ns[direction & 1] = now;
        return;
    }
    let segment = Segment {
        skb,
        sock,
        at: packet.payload,
        len: packet.payload_len,
        seq: packet.seq,
        ack: packet.ack,
        direction,
        now: kernel::now(),
    };
    if record.protocol == protocol::UNKNOWN {
        decide(record, &segment);
    }
    if record.protocol == protocol::TLS && tls::follows(record) && is_new(record, &segment) {
        tls::records(record, &segment);
    }
    if record.protocol != protocol::HTTP1 {
        record.last_ns[direction & 1] = segment.now;
        return;
    }
    note_nat(record, packet, direction);
    if !is_new(record, &segment) {
        return;
    }
    record.last_ns[direction & 1] = segment.now;
    if (direction == RECEIVED) == conn::is_server(record) {
        request::bytes(record, &segment);
    } else {
        response::bytes(record, &segment);
    }
}

/// Whether nothing that the connection carries from now on matters: bulk data leaves here.
#[inline(always)]
fn is_dismissed(record: &Conn) -> bool {
    match record.protocol {
        protocol::UNKNOWN | protocol::HTTP1 => false,
        protocol::TLS => !tls::follows(record),
        _ => true,
    }
}

/// The record of a connection whose beginning wasn't seen.
#[inline(always)]
fn joined(skb: *mut __sk_buff, sock: u64) -> Option<*mut Conn> {
    if join(skb) == 0 {
        return None;
    }
    conn::find(sock)
}

/// Makes that record; 0 if there can't be one. A segment that ends the handshake, too, because the last acknowledgement was
/// lost, comes with the listener as its socket. A global function, away from the stack of every packet.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn join(skb: *mut __sk_buff) -> u64 {
    (!conn::is_full() && conn::take_over(packet::sock(skb)).is_some()).into()
}

/// Decides what the connection carries by its first payload.
#[inline(always)]
fn decide(record: &mut Conn, segment: &Segment) {
    let Some(first) = token::first_bytes(segment.skb, segment.at, segment.len) else { return };
    let token = token::classify(first, segment.len);
    let d = segment.direction & 1;
    let from_client = (d == RECEIVED) == conn::is_server(record);
    if record.flags & conn_flag::JOINED != 0 {
        // The middle of something that began before the record: wait for a request. Whoever sends it is the client.
        if token == Token::Request {
            record.role = if d == SENT { role::CLIENT } else { role::SERVER };
            record.protocol = protocol::HTTP1;
            if record.flags & conn_flag::EXISTING != 0 {
                count(Stat::Joined);
            }
        } else if is_tls_record(first.to_le_bytes(), segment.len) {
            count(Stat::Tls);
            record.protocol = protocol::TLS;
        }
        return;
    }
    // Overtaken by a later segment: the first one decides.
    if record.next_seq[d] != 0 && record.next_seq[d] != segment.seq {
        return;
    }
    record.protocol = match token {
        Token::Request | Token::RequestPrefix if from_client => protocol::HTTP1,
        // The answer to a request that came with the end of the handshake, and so wasn't seen with this socket.
        Token::Response if !from_client => {
            record.flags |= conn_flag::JOINED;
            count(Stat::Joined);
            return;
        }
        // A TLS handshake record, of any version.
        _ if first as u16 == u16::from_le_bytes([0x16, 3]) => {
            count(Stat::Tls);
            protocol::TLS
        }
        _ => protocol::OTHER,
    };
}

/// Whether the segment is exactly one TLS record (RFC 8446 section 5.1): types 20 to 23, versions 3.1 to 3.3.
#[inline(always)]
fn is_tls_record(first: [u8; 8], len: u32) -> bool {
    let length = u32::from(u16::from_be_bytes([first[3], first[4]]));
    first[0] & 0xfc == 0x14 && first[1] == 3 && first[2].wrapping_sub(1) < 3 && length + 5 == len
}

/// Remembers the peer's address on the wire where the socket knows another: that difference is the NAT.
#[inline(always)]
fn note_nat(record: &mut Conn, packet: &Packet, direction: usize) {
    // Once: with the first payload that leaves.
    if direction != SENT || record.bytes[SENT] != 0 || record.nat_remote_port != 0 {
        return;
    }
    if packet.destination != record.tuple.remote || packet.destination_port != record.tuple.remote_port {
        record.nat_remote = packet.destination;
        record.nat_remote_port = packet.destination_port;
    }
}

/// Whether the segment's first byte hasn't been seen before.
#[inline(always)]
fn is_new(record: &mut Conn, segment: &Segment) -> bool {
    let d = segment.direction & 1;
    let end = segment.seq.wrapping_add(segment.len);
    if record.bytes[d] == 0 && record.next_seq[d] == 0 {
        record.next_seq[d] = segment.seq;
    }
    // What the sender acknowledges is where the other direction begins: so its first segment isn't taken for an old one
    // when a later one overtakes it.
    if record.bytes[d ^ 1] == 0 {
        record.next_seq[d ^ 1] = segment.ack;
    }
    let ahead = segment.seq.wrapping_sub(record.next_seq[d]) as i32;
    if ahead >= 0 {
        if ahead > 0 {
            record.hole[d] = record.next_seq[d];
            record.hole_end[d] = segment.seq;
        }
        record.next_seq[d] = end;
    } else if record.hole_end[d] != record.hole[d]
        && segment.seq.wrapping_sub(record.hole[d]) < record.hole_end[d].wrapping_sub(record.hole[d])
    {
        record.hole[d] = end;
        if (record.hole_end[d].wrapping_sub(end) as i32) <= 0 {
            record.hole[d] = record.hole_end[d];
        }
    } else {
        return false;
    }
    record.bytes[d] += u64::from(segment.len);
    true
}
