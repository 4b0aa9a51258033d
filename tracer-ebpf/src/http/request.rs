//! The requesting direction.

use aya_ebpf::helpers::generated::bpf_skb_load_bytes;
use tracer_common::{
    Actor,
    conn::{Conn, HeadKey, conn_flag, protocol, req_flag, role},
    event::Heads,
    limits::{PIPELINE, REQUEST_HEAD},
    stats::Stat,
};

use super::{
    SENT, Segment, framing,
    token::{self, Token},
};
use crate::{
    kernel,
    maps::{HEADS, ZERO_HEADS, count},
};

/// How many requests are looked for in one segment.
const GLUED: usize = 4;
/// The first requests of a connection are scanned for a second one behind them; a connection on which one was found is
/// scanned for ever.
const SCANNED: u32 = 2;

/// Bytes of the requesting direction.
#[inline(always)]
pub(crate) fn bytes(conn: &mut Conn, segment: &Segment, token: Token) {
    let starts = matches!(token, Token::Request | Token::RequestPrefix);
    if conn.begun != 0 {
        let slot = (conn.begun.wrapping_sub(1) as usize) & (PIPELINE - 1);
        let answered = conn.begun == conn.answered;
        let bodied = conn.requests[slot].flags & req_flag::BODY != 0;
        // An answered request without a body leaves nothing to come; anything else may continue here.
        if (!answered || bodied) && continues(conn, segment, slot, starts) {
            return;
        }
        if !starts {
            return;
        }
    } else if !starts {
        return;
    }
    begin_all(conn, segment);
}

/// Whether the segment belongs to the request in `slot`; then it is added to it.
#[inline(always)]
fn continues(conn: &mut Conn, segment: &Segment, slot: usize, starts: bool) -> bool {
    let request = &mut conn.requests[slot & (PIPELINE - 1)];
    let key = HeadKey { sock: segment.sock, slot: slot as u64 };
    let offset = segment.seq.wrapping_sub(request.seq);
    let Some(heads) = HEADS.get_ptr_mut(key) else { return !starts };
    if starts {
        // SAFETY: a live map value.
        let framing = framing::request(unsafe { (*heads).request.as_ptr() }, u32::from(request.head_len));
        if framing.head() != 0 && !framing.chunked() && u64::from(offset) >= u64::from(framing.head()) + framing.body()
        {
            return false;
        }
        // A chunked body can't be skipped; once it is answered, the next head is believed.
        if framing.chunked() && request.flags & req_flag::ANSWERED != 0 {
            return false;
        }
    }
    request.seen = request.seen.wrapping_add(segment.len);
    let have = u32::from(request.head_len);
    if have < REQUEST_HEAD as u32 && offset == have {
        let mut n = segment.len;
        // The append may run into the response's room, which is empty until the request is answered.
        if n > 512 {
            n = 512;
        }
        if n > 0 && have < 2048 {
            // SAFETY: `have` + `n` is less than the size of `Heads`.
            let result = unsafe {
                bpf_skb_load_bytes(segment.skb.cast(), segment.at, heads.cast::<u8>().add(have as usize).cast(), n)
            };
            if result == 0 {
                let total = have + n;
                request.head_len = if total > REQUEST_HEAD as u32 { REQUEST_HEAD as u16 } else { total as u16 };
                if total >= REQUEST_HEAD as u32 {
                    request.flags |= req_flag::TRUNCATED;
                }
            }
        }
    }
    true
}

/// Begins the request at the segment's start, and those glued behind it.
#[inline(always)]
fn begin_all(conn: &mut Conn, segment: &Segment) {
    let mut at = 0u32;
    for _ in 0..GLUED {
        let Some(heads) = begin(conn, segment, at) else { return };
        if conn.begun > SCANNED && conn.flags & conn_flag::PIPELINED == 0 {
            return;
        }
        let slot = (conn.begun.wrapping_sub(1) as usize) & (PIPELINE - 1);
        // SAFETY: a live map value.
        let framing = framing::request(unsafe { (*heads).request.as_ptr() }, u32::from(conn.requests[slot].head_len));
        if framing.head() == 0 || framing.chunked() {
            return;
        }
        let next = u64::from(at) + u64::from(framing.head()) + framing.body();
        if next >= u64::from(segment.len) {
            return;
        }
        conn.flags |= conn_flag::PIPELINED;
        at = next as u32;
    }
}

/// Begins one request `at` bytes into the segment.
#[inline(always)]
fn begin(conn: &mut Conn, segment: &Segment, at: u32) -> Option<*mut Heads> {
    let len = segment.len.wrapping_sub(at);
    let first = token::first_bytes(segment.skb, segment.at + at, len)?;
    if !matches!(token::classify(&first, len), Token::Request | Token::RequestPrefix) {
        return None;
    }
    if conn.begun.wrapping_sub(conn.answered) >= PIPELINE as u32 {
        count(Stat::PipelineOverflow);
        conn.flags |= conn_flag::PIPELINE_OVERFLOW;
        conn.protocol = protocol::TUNNEL;
        return None;
    }
    let slot = (conn.begun as usize) & (PIPELINE - 1);
    let key = HeadKey { sock: segment.sock, slot: slot as u64 };
    let heads = match HEADS.get_ptr_mut(key) {
        Some(heads) => heads,
        None => {
            if HEADS.insert(key, &ZERO_HEADS, 0).is_err() {
                count(Stat::LostHead);
            }
            HEADS.get_ptr_mut(key)?
        }
    };
    let mut n = len;
    if n > REQUEST_HEAD as u32 {
        n = REQUEST_HEAD as u32;
    }
    if n == 0 {
        return None;
    }
    // SAFETY: at most the size of the request head.
    let result = unsafe { bpf_skb_load_bytes(segment.skb.cast(), segment.at + at, heads.cast(), n) };
    if result != 0 {
        return None;
    }
    let request = &mut conn.requests[slot];
    request.start_ns = segment.now;
    request.read_ns = 0;
    request.response_ns = 0;
    request.actor = Actor::default();
    if segment.direction == SENT {
        request.actor = kernel::task_actor(kernel::current());
    }
    request.responder = Actor::default();
    request.seq = segment.seq.wrapping_add(at);
    request.ack = segment.ack;
    request.seen = len;
    request.number = conn.begun;
    request.status = 0;
    request.head_len = n as u16;
    request.response_len = 0;
    request.flags = token::method_flags(&first);
    if n < len {
        request.flags |= req_flag::TRUNCATED;
    }
    if conn.begun == 0 && conn.flags & conn_flag::JOINED == 0 && conn.role == role::CLIENT {
        request.flags |= req_flag::FIRST;
    }
    request.slot = slot as u8;
    conn.begun = conn.begun.wrapping_add(1);
    Some(heads)
}
