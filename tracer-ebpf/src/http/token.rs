//! What the first bytes of a message say: the cheapest test, so that bulk data leaves at once.

use aya_ebpf::bindings::__sk_buff;

use super::Segment;
use crate::packet::{load, load_up_to};

/// What a run of bytes begins with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Token {
    /// A known method and a space (RFC 9110 section 9; `PATCH` RFC 5789).
    Request,
    /// The beginning of one, cut by the segment's end.
    RequestPrefix,
    /// `HTTP/1.` with a status code.
    Response,
    /// The beginning of a status line, cut before its code ends.
    ResponsePrefix,
    Other,
}

/// Bytes that decide: `HTTP/1.1 200` is the longest need.
pub(crate) const STATUS_LINE: u32 = 12;

impl Token {
    /// Whether a request begins here.
    #[inline(always)]
    pub(crate) fn is_request(self) -> bool {
        matches!(self, Self::Request | Self::RequestPrefix)
    }

    /// Whether a response begins here.
    #[inline(always)]
    pub(crate) fn is_response(self) -> bool {
        matches!(self, Self::Response | Self::ResponsePrefix)
    }
}

/// The first eight bytes at `offset`, of which the first is the lowest; zero beyond `len`.
#[inline(always)]
pub(crate) fn first_bytes(skb: *mut __sk_buff, offset: u32, len: u32) -> Option<u64> {
    if len >= 8 {
        return load(skb, offset);
    }
    let mut bytes = 0u64;
    // SAFETY: eight bytes of room.
    unsafe { load_up_to::<7>(skb, offset, (&raw mut bytes).cast(), len) }?;
    Some(bytes)
}

/// What begins `at` bytes into a segment.
#[inline(always)]
pub(super) fn peek(segment: &Segment, at: u32) -> Option<Token> {
    let len = segment.len.wrapping_sub(at);
    Some(classify(first_bytes(segment.skb, segment.at.wrapping_add(at), len)?, len))
}

const fn word(text: &[u8]) -> (u64, u64) {
    let mut value = [0u8; 8];
    let mut mask = [0u8; 8];
    let mut i = 0;
    while i < text.len() {
        value[i] = text[i];
        mask[i] = 0xff;
        i += 1;
    }
    (u64::from_le_bytes(value), u64::from_le_bytes(mask))
}

const METHODS: [(u64, u64); 9] = [
    word(b"GET "),
    word(b"POST "),
    word(b"PUT "),
    word(b"HEAD "),
    word(b"DELETE "),
    word(b"PATCH "),
    word(b"OPTIONS "),
    word(b"CONNECT "),
    word(b"TRACE "),
];
const HTTP1: (u64, u64) = word(b"HTTP/1.");

/// The bits of eight bytes of which `len` are there.
#[inline(always)]
fn seen(len: u32) -> u64 {
    if len >= 8 { u64::MAX } else { (1u64 << ((len & 7) * 8)) - 1 }
}

/// Whether `len` bytes that begin with these are a status line or the beginning of one.
#[inline(always)]
pub(crate) fn is_status_line(first: u64, len: u32) -> bool {
    (first ^ HTTP1.0) & HTTP1.1 & seen(len) == 0
}

/// Classifies `len` bytes that begin with these.
#[inline(always)]
pub(crate) fn classify(first: u64, len: u32) -> Token {
    let seen = seen(len);
    let first = first & seen;
    if is_status_line(first, len) {
        return if len >= STATUS_LINE { Token::Response } else { Token::ResponsePrefix };
    }
    // Unrolled by hand: a loop over a constant table becomes a map of read-only data.
    let method = (METHODS[0].1 & first == METHODS[0].0)
        | (METHODS[1].1 & first == METHODS[1].0)
        | (METHODS[2].1 & first == METHODS[2].0)
        | (METHODS[3].1 & first == METHODS[3].0)
        | (METHODS[4].1 & first == METHODS[4].0)
        | (METHODS[5].1 & first == METHODS[5].0)
        | (METHODS[6].1 & first == METHODS[6].0)
        | (METHODS[7].1 & first == METHODS[7].0)
        | (METHODS[8].1 & first == METHODS[8].0);
    if method {
        return Token::Request;
    }
    if len < 8 {
        let prefix = ((first ^ METHODS[0].0) & METHODS[0].1 & seen == 0)
            | ((first ^ METHODS[1].0) & METHODS[1].1 & seen == 0)
            | ((first ^ METHODS[2].0) & METHODS[2].1 & seen == 0)
            | ((first ^ METHODS[3].0) & METHODS[3].1 & seen == 0)
            | ((first ^ METHODS[4].0) & METHODS[4].1 & seen == 0)
            | ((first ^ METHODS[5].0) & METHODS[5].1 & seen == 0)
            | ((first ^ METHODS[6].0) & METHODS[6].1 & seen == 0)
            | ((first ^ METHODS[7].0) & METHODS[7].1 & seen == 0)
            | ((first ^ METHODS[8].0) & METHODS[8].1 & seen == 0);
        if prefix {
            return Token::RequestPrefix;
        }
    }
    Token::Other
}

/// Flags of a request by its method.
#[inline(always)]
pub(crate) fn method_flags(first: u64) -> u8 {
    use tracer_common::conn::req_flag;
    match first as u8 {
        b'H' => req_flag::HEAD,
        b'C' => req_flag::CONNECT,
        b'P' | b'D' => req_flag::BODY,
        _ => 0,
    }
}

/// The status code of a status line (RFC 9112 section 4), 0 if these bytes hold none.
#[inline(always)]
pub(crate) fn status(line: &[u8]) -> u16 {
    let (a, b, c) = (line[9].wrapping_sub(b'0'), line[10].wrapping_sub(b'0'), line[11].wrapping_sub(b'0'));
    if line[8] != b' ' || a == 0 || a > 9 || b > 9 || c > 9 {
        return 0;
    }
    u16::from(a) * 100 + u16::from(b) * 10 + u16::from(c)
}
