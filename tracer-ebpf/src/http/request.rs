//! The requesting direction.

use aya_ebpf::helpers::generated;
use tracer_common::{
    Actor,
    conn::{Conn, conn_flag, protocol, req_flag, role},
    limits::{PIPELINE, REQUEST_HEAD},
    stats::Stat,
};

use super::{
    SENT, Segment, framing,
    token::{self, Token},
};
use crate::{
    heads, kernel,
    maps::count,
    packet::{load_up_to, opaque},
};

/// How many requests are looked for in one segment.
const GLUED: usize = 4;
/// The first requests of a connection are scanned for a second one behind them; a connection on which one was found is
/// scanned for ever.
const SCANNED: u32 = 2;

/// Bytes of the requesting direction.
#[inline(always)]
pub(crate) fn bytes(conn: &mut Conn, segment: &Segment) {
    if conn.begun != 0 {
        let slot = (conn.begun.wrapping_sub(1) as usize) & (PIPELINE - 1);
        let answered = conn.begun == conn.answered;
        let bodied = conn.requests[slot].flags & req_flag::BODY != 0;
        // An answered request without a body leaves nothing to come; anything else may continue here.
        if !answered || bodied {
            let Some(token) = token::peek(segment, 0) else { return };
            if continues(conn, segment, slot, token.is_request()) || !token.is_request() {
                return;
            }
        }
    }
    begin_all(conn, segment);
}

/// Whether the segment belongs to the request in `slot`; then it is added to it.
#[inline(always)]
fn continues(conn: &mut Conn, segment: &Segment, slot: usize, starts: bool) -> bool {
    let request = &mut conn.requests[slot & (PIPELINE - 1)];
    let offset = segment.seq.wrapping_sub(request.seq);
    let Some(heads) = heads::find(segment.sock, request.slot) else { return !starts };
    if starts {
        let framing = framing::request(segment.sock, request.slot, request.head_len);
        if framing.head() != 0 {
            let length_known = framing.length_known() || request.flags & req_flag::BODY == 0;
            if length_known && u64::from(offset) >= u64::from(framing.head()) + framing.body() {
                return false;
            }
            // A chunked body can't be skipped; once it is answered, the next head is believed.
            if !length_known && request.flags & req_flag::ANSWERED != 0 {
                return false;
            }
        }
    }
    request.seen = request.seen.wrapping_add(segment.len);
    let have = u32::from(request.head_len);
    if have < REQUEST_HEAD as u32 && offset == have {
        // The append may run into the response's room, which is empty until the request is answered.
        // SAFETY: `have` + 512 is less than the size of `Heads`.
        let added = unsafe {
            // Masked where it is used: older verifiers forget what a copy on the stack was compared with.
            let at = opaque(u64::from(have)) & (REQUEST_HEAD as u64 - 1);
            let room = heads.cast::<u8>().add(at as usize);
            load_up_to::<512>(segment.skb, segment.at, room, segment.len)
        };
        let total = have + added.unwrap_or(0);
        request.head_len = total.min(REQUEST_HEAD as u32) as u16;
        if total >= REQUEST_HEAD as u32 {
            request.flags |= req_flag::TRUNCATED;
        }
    }
    true
}

/// Begins the request at the segment's start, and those glued behind it.
#[inline(always)]
fn begin_all(conn: &mut Conn, segment: &Segment) {
    let mut at = 0u32;
    for _ in 0..GLUED {
        if begin(conn, segment, at).is_none() {
            return;
        }
        if conn.begun > SCANNED && conn.flags & conn_flag::PIPELINED == 0 {
            return;
        }
        let slot = (conn.begun.wrapping_sub(1) as usize) & (PIPELINE - 1);
        let framing = framing::request(segment.sock, conn.requests[slot].slot, conn.requests[slot].head_len);
        let length_known = framing.length_known() || conn.requests[slot].flags & req_flag::BODY == 0;
        if framing.head() == 0 || !length_known {
            return;
        }
        let next = u64::from(at) + u64::from(framing.head()) + framing.body();
        if next >= u64::from(segment.len) {
            return;
        }
        conn.flags |= conn_flag::PIPELINED;
        at = next as u32;
        if !token::peek(segment, at).is_some_and(Token::is_request) {
            return;
        }
    }
}

/// Begins one request `at` bytes into the segment, if one begins there: seen in the captured head, which spares a load of its
/// first bytes.
#[inline(always)]
fn begin(conn: &mut Conn, segment: &Segment, at: u32) -> Option<()> {
    let len = segment.len.wrapping_sub(at);
    if conn.begun.wrapping_sub(conn.answered) >= PIPELINE as u32 {
        count(Stat::PipelineOverflow);
        conn.protocol = protocol::TUNNEL;
        return None;
    }
    let slot = (conn.begun as usize) & (PIPELINE - 1);
    let place = heads::slot(conn);
    let heads = heads::room(conn, segment.sock, place)?;
    // SAFETY: the request head's room.
    let n =
        unsafe { load_up_to::<{ REQUEST_HEAD as u64 }>(segment.skb, segment.at.wrapping_add(at), heads.cast(), len) }?;
    // SAFETY: a live map value.
    let first = unsafe { heads.cast::<u64>().read() };
    if !token::classify(first, n).is_request() {
        return None;
    }
    let request = &mut conn.requests[slot];
    request.start_ns = segment.now;
    request.read_ns = 0;
    request.response_ns = 0;
    request.actor = Actor::default();
    if segment.direction == SENT {
        request.actor = kernel::packet_actor();
    }
    request.responder = Actor::default();
    request.seq = segment.seq.wrapping_add(at);
    request.ack = segment.ack;
    request.seen = len;
    request.number = conn.begun;
    request.status = 0;
    request.head_len = n as u16;
    request.response_len = 0;
    request.flags = token::method_flags(first);
    if n < len {
        request.flags |= req_flag::TRUNCATED;
    }
    if conn.begun == 0 && conn.flags & conn_flag::JOINED == 0 && conn.role == role::CLIENT {
        request.flags |= req_flag::FIRST;
    }
    request.slot = place;
    conn.begun = conn.begun.wrapping_add(1);
    Some(())
}

/// An answer has come and nobody is known to wait for it: its request may stand behind the last one in the segment that
/// was taken for that one alone. Then it is begun now, as of then.
#[inline(always)]
pub(super) fn unearth(conn: &mut Conn, segment: &Segment) -> bool {
    if conn.begun == 0 {
        return false;
    }
    let last = (conn.begun.wrapping_sub(1) as usize) & (PIPELINE - 1);
    let captured = u64::from(conn.requests[last].head_len);
    let framing = framing::request(segment.sock, conn.requests[last].slot, captured as u16);
    let length_known = framing.length_known() || conn.requests[last].flags & req_flag::BODY == 0;
    let next = u64::from(framing.head()) + framing.body();
    if framing.head() == 0 || !length_known || next >= captured {
        return false;
    }
    let Some(from) = heads::find(segment.sock, conn.requests[last].slot) else { return false };
    let slot = (conn.begun as usize) & (PIPELINE - 1);
    let Some(heads) = heads::room(conn, segment.sock, slot as u8) else { return false };
    let len = opaque(captured - next) & (REQUEST_HEAD as u64 - 1);
    // SAFETY: `len` bytes from `next` on lie within what was captured, and there is room for them.
    let first = unsafe {
        let source = (kernel::address(from as u64) + next) as *const core::ffi::c_void;
        if generated::bpf_probe_read_kernel(heads.cast(), len as u32, source) != 0 {
            return false;
        }
        heads.cast::<u64>().read()
    };
    if token::classify(first, len as u32) != Token::Request {
        return false;
    }
    conn.requests[slot] = conn.requests[last];
    let request = &mut conn.requests[slot];
    request.response_ns = 0;
    request.responder = Actor::default();
    request.seq = request.seq.wrapping_add(next as u32);
    request.seen = request.seen.wrapping_sub(next as u32);
    request.number = conn.begun;
    request.status = 0;
    request.head_len = len as u16;
    request.response_len = 0;
    request.flags = token::method_flags(first);
    request.slot = slot as u8;
    conn.flags |= conn_flag::PIPELINED;
    conn.begun = conn.begun.wrapping_add(1);
    true
}
