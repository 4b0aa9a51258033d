//! The answering direction, and the end of an exchange.

use aya_ebpf::bindings::__sk_buff;
use tracer_common::{
    conn::{Conn, Request, conn_flag, protocol, req_flag, role},
    event::Heads,
    limits::{PIPELINE, RESPONSE_HEAD},
};

use super::{
    RECEIVED, SENT, Segment, framing, request, tally,
    token::{self, STATUS_LINE, Token, status},
};
use crate::{
    conn,
    emit::{self, Ring},
    flight,
    globals::config,
    heads, kernel,
    packet::{self, load_up_to},
};

/// Messages looked for in one segment: interim responses before the final one, or pipelined ones.
const GLUED: usize = 4;
/// Who leaves in the middle of an answer has lost interest, unless nothing more had come for so long.
const STALLED_NS: u64 = 900_000_000;

/// Bytes of the answering direction.
#[inline(always)]
pub(crate) fn bytes(conn: &mut Conn, segment: &Segment) {
    let waiting = conn.begun != conn.answered;
    let slot = (conn.answered as usize) & (PIPELINE - 1);
    let partial = waiting && conn.requests[slot].response_len > 0;
    // Where a request waited for its answer when it was sent, an answer begins. Anywhere else it may be a body.
    let expected = waiting && conn.requests[slot].ack == segment.seq;
    if !partial && !expected && (!token::peek(segment, 0).is_some_and(Token::is_response) || is_body(conn, segment)) {
        return;
    }
    if !waiting && !request::unearth(conn, segment) {
        return;
    }
    // In two registers: offset and length; direction and sequence number.
    let part = (u64::from(segment.at) << 32) | u64::from(segment.len);
    let seq = ((segment.direction as u64 & 1) << 32) | u64::from(segment.seq);
    let done = message(conn, segment.skb, part, seq, segment.now);
    if done.0 & Done::FOLLOWED != 0 {
        glued(segment.skb, part, seq, segment.now, done.0);
    }
}

/// The responses behind one in its segment, `done`. A global function, which the verifier walks once, whatever led to it: with
/// all that follows a response it is the largest part of the program.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn glued(skb: *mut __sk_buff, part: u64, seq: u64, now: u64, done: u64) -> u64 {
    let sock = packet::sock(skb);
    let (mut part, mut seq, mut done) = (part, seq, Done(done));
    for _ in 1..GLUED {
        let Some(length) = done.length(sock) else { return 0 };
        let Some(record) = conn::find(sock) else { return 0 };
        // SAFETY: a live map value.
        let waiting = unsafe { (*record).begun != (*record).answered };
        if !waiting || length >= part as u32 {
            return 0;
        }
        part = part.wrapping_add((u64::from(length) << 32).wrapping_sub(u64::from(length)));
        seq = (seq & !u64::from(u32::MAX)) | u64::from((seq as u32).wrapping_add(length));
        done = Done(response(skb, part, seq, now));
    }
    0
}

/// One of them.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn response(skb: *mut __sk_buff, part: u64, seq: u64, now: u64) -> u64 {
    let Some(record) = conn::find(packet::sock(skb)) else { return 0 };
    // SAFETY: a live map value.
    message(unsafe { &mut *record }, skb, part, seq, now).0
}

/// What is to be known of a response to find the next one behind it; zero if none may follow. In one register.
struct Done(u64);

impl Done {
    const NOTHING: Self = Self(0);
    const FOLLOWED: u64 = 1;
    const INTERIM: u64 = 2;
    const BODILESS: u64 = 4;

    #[inline(always)]
    fn new(slot: u8, have: u32, flags: u64) -> Self {
        Self(Self::FOLLOWED | flags | u64::from(slot) << 8 | u64::from(have) << 16)
    }

    /// How long it is, if that can be told.
    #[inline(always)]
    fn length(&self, sock: u64) -> Option<u32> {
        if self.0 & Self::FOLLOWED == 0 {
            return None;
        }
        let slot = (self.0 >> 8) as u8;
        let framing = framing::response(sock, slot, (self.0 >> 16) as u32);
        if framing.head() == 0 {
            return None;
        }
        if self.0 & Self::INTERIM != 0 {
            return Some(framing.head());
        }
        let bodiless = self.0 & Self::BODILESS != 0;
        if !framing.length_known() && !bodiless {
            return None;
        }
        let body = if bodiless { 0 } else { framing.body() };
        u32::try_from(u64::from(framing.head()) + body).ok()
    }
}

/// Whether the segment begins inside the response before, as far as its framing tells. (A chunked body can't be skipped.)
#[inline(always)]
fn is_body(conn: &Conn, segment: &Segment) -> bool {
    if conn.answered == 0 {
        return false;
    }
    let slot = (conn.answered.wrapping_sub(1) as usize) & (PIPELINE - 1);
    let before = &conn.requests[slot];
    let framing = framing::response(segment.sock, before.slot, u32::from(before.response_len));
    let body = if is_bodiless(before) { 0 } else { framing.body() };
    let offset = segment.seq.wrapping_sub(conn.response_seq);
    framing.length_known() && u64::from(offset) < u64::from(framing.head()) + body
}

/// Whether the answered request's response has no body whatever its head says (RFC 9112 section 6.3).
#[inline(always)]
fn is_bodiless(request: &Request) -> bool {
    request.flags & req_flag::HEAD != 0 || request.status == 204 || request.status == 304
}

/// Looks at the response at a place of its segment, [`packed`]. With a stack of its own: inlined into its callers they would need more
/// than the 512 bytes of a chain of calls, of which kernels before 6.8 count 32 at least for each
/// (`kernel/bpf/verifier.c` `check_max_stack_depth`).
#[inline(never)]
fn message(conn: &mut Conn, skb: *mut __sk_buff, part: u64, seq: u64, now: u64) -> Done {
    let segment = &Segment {
        skb,
        sock: packet::sock(skb),
        at: (part >> 32) as u32,
        len: part as u32,
        seq: seq as u32,
        ack: 0,
        direction: (seq >> 32) as usize & 1,
        now,
    };
    let slot = (conn.answered as usize) & (PIPELINE - 1);
    let request = &mut conn.requests[slot];
    let place = request.slot;
    let Some(heads) = heads::find(segment.sock, place) else { return Done::NOTHING };
    let before = u32::from(request.response_len);
    let Some(have) = append(heads, request.response_len, segment) else { return Done::NOTHING };
    // SAFETY: a live map value, in which the response's head is aligned.
    let (line, first) = unsafe { (&(*heads).response, (&raw const (*heads).response).cast::<u64>().read()) };
    let code = if have < STATUS_LINE { 0 } else { status(line) };
    if !token::is_status_line(first, have) || (code == 0 && have >= STATUS_LINE) {
        request.response_len = 0;
        return Done::NOTHING;
    }
    request.response_len = have as u16;
    if code == 0 {
        return Done::NOTHING;
    }
    if code < 200 && code != 101 {
        // Interim (RFC 9110 section 15.2): the final response follows, perhaps in this segment.
        request.response_len = 0;
        return Done::new(place, have, Done::INTERIM);
    }
    if code == 101 || (code < 300 && request.flags & req_flag::CONNECT != 0) {
        conn.protocol = protocol::TUNNEL;
    }
    request.status = code;
    request.flags |= req_flag::ANSWERED;
    request.response_ns = segment.now;
    let bodiless = is_bodiless(request);
    // A status line in pieces began before this segment.
    conn.response_seq = segment.seq.wrapping_sub(before);
    if segment.direction == SENT {
        request.responder = kernel::packet_actor();
    }
    let more = conn.begun.wrapping_sub(conn.answered) > 1;
    finish(conn, segment.sock, slot, heads);
    conn.answered = conn.answered.wrapping_add(1);
    if more { Done::new(place, have, if bodiless { Done::BODILESS } else { 0 }) } else { Done::NOTHING }
}

/// Adds the segment's bytes to the captured response head; gives how many are there now.
#[inline(always)]
fn append(heads: *mut Heads, have: u16, segment: &Segment) -> Option<u32> {
    // Only an incomplete status line is continued, so at most 15 bytes are there.
    let have = u32::from(have) & 15;
    // SAFETY: `have` and the bytes added stay within the response's room.
    let added = unsafe {
        let room = (&raw mut (*heads).response).cast::<u8>().add(have as usize);
        load_up_to::<{ RESPONSE_HEAD as u64 - 16 }>(segment.skb, segment.at, room, segment.len)
    }?;
    Some(have + added)
}

/// The exchange in `slot` has its status: a failure is an event, a success a count and a flight record.
#[inline(always)]
fn finish(conn: &mut Conn, sock: u64, slot: usize, heads: *mut Heads) {
    let slot = slot & (PIPELINE - 1);
    tally::exchange(conn, slot, heads);
    let code = u32::from(conn.requests[slot].status);
    // The kubelet takes 400 and above for a failed probe (pkg/probe/http/http.go of Kubernetes).
    let probe = code >= 400 && conn.role == role::CLIENT && conn.comm[..8] == *b"kubelet\0";
    if code >= config!(min_status) || probe {
        emit::exchange(Ring::Failures, sock, conn, slot, Some(heads));
    } else if config!(all_requests) != 0 {
        emit::exchange(Ring::Events, sock, conn, slot, Some(heads));
    } else {
        flight::exchange(conn, sock, slot, heads);
    }
}

/// The connection ends with requests outstanding: each of them is a failure.
#[inline(always)]
pub(crate) fn finish_unanswered(conn: &mut Conn, sock: u64) {
    if conn.protocol != protocol::HTTP1 {
        return;
    }
    for _ in 0..PIPELINE {
        if conn.answered == conn.begun {
            return;
        }
        let slot = (conn.answered as usize) & (PIPELINE - 1);
        let heads = heads::find(sock, conn.requests[slot].slot);
        emit::exchange(Ring::Failures, sock, conn, slot, heads);
        conn.answered = conn.answered.wrapping_add(1);
    }
}

/// The connection ends with every request answered: the last answer is a failure if it isn't whole. `at_once`: without a FIN of either
/// end. Only an announced length tells; and of a requester that leaves, that it had read what there was and waited for more.
#[inline(always)]
pub(crate) fn finish_cut(conn: &mut Conn, sock: u64, at_once: bool) {
    if conn.answered == 0 || conn.protocol != protocol::HTTP1 {
        return;
    }
    let slot = (conn.answered.wrapping_sub(1) as usize) & (PIPELINE - 1);
    let request = &conn.requests[slot];
    if is_bodiless(request) || u32::from(request.status) >= config!(min_status) {
        return;
    }
    let server = conn::is_server(conn);
    let left =
        if server { conn_flag::REMOTE_CLOSED_FIRST | conn_flag::RST_RECEIVED } else { conn_flag::LOCAL_CLOSED_FIRST };
    let direction = if server { SENT } else { RECEIVED };
    let idle = conn.closing_ns.saturating_sub(conn.last_ns[direction]);
    if conn.flags & left != 0 && (at_once || idle < STALLED_NS) {
        return;
    }
    let framing = framing::response(sock, request.slot, u32::from(request.response_len));
    let length = u64::from(framing.head()) + framing.body();
    let passed = u64::from(conn.next_seq[direction].wrapping_sub(conn.response_seq));
    // Of what is longer the sequence numbers don't tell how much has passed.
    if framing.head() == 0 || !framing.length_known() || length > u64::from(u32::MAX) || passed >= length {
        return;
    }
    let heads = heads::find(sock, request.slot);
    conn.requests[slot].flags |= req_flag::CUT;
    emit::exchange(Ring::Failures, sock, conn, slot, heads);
}
