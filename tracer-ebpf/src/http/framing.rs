//! Where a captured head ends and what body it announces (RFC 9112 section 6), read only where it matters.

use tracer_common::{
    conn::HeadKey,
    limits::{REQUEST_HEAD, RESPONSE_HEAD},
};

use crate::{kernel, maps::HEADS, packet::opaque};

/// What a scan found, packed into one register: a subprogram can't return a struct.
#[derive(Clone, Copy)]
pub(crate) struct Framing(u64);

/// Set when a `Content-Length` was found.
const LENGTH_KNOWN: u64 = 1 << 63;
/// Bodies beyond this are as good as endless.
const MAX_BODY: u64 = 1 << 40;

impl Framing {
    /// Length of the head with its empty line, 0 while incomplete.
    #[inline(always)]
    pub(crate) fn head(self) -> u32 {
        (self.0 & 0xfff) as u32
    }
    /// Whether the head announced its body's length. Without, the body is empty, chunked or ends with the connection.
    #[inline(always)]
    pub(crate) fn length_known(self) -> bool {
        self.0 & LENGTH_KNOWN != 0
    }
    /// `Content-Length`, 0 without one.
    #[inline(always)]
    pub(crate) fn body(self) -> u64 {
        (self.0 & !LENGTH_KNOWN) >> 12
    }
}

/// Framing of the captured request head in `slot` of a connection.
#[inline(always)]
pub(crate) fn request(sock: u64, slot: usize, len: u16) -> Framing {
    Framing(frame_request(kernel::address(sock), slot as u64, u64::from(len)))
}

/// Framing of the captured response head in `slot` of a connection.
#[inline(always)]
pub(crate) fn response(sock: u64, slot: usize, len: u32) -> Framing {
    Framing(frame_response(kernel::address(sock), slot as u64, u64::from(len)))
}

/// A global function with scalar arguments: the verifier walks it once, not at every call (since 5.6).
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn frame_request(sock: u64, slot: u64, len: u64) -> u64 {
    match HEADS.get_ptr(HeadKey { sock, slot }) {
        // SAFETY: a live map value.
        Some(heads) => scan::<REQUEST_HEAD>(unsafe { (&raw const (*heads).request).cast() }, len),
        None => 0,
    }
}

/// As [`frame_request`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn frame_response(sock: u64, slot: u64, len: u64) -> u64 {
    match HEADS.get_ptr(HeadKey { sock, slot }) {
        // SAFETY: a live map value.
        Some(heads) => scan::<RESPONSE_HEAD>(unsafe { (&raw const (*heads).response).cast() }, len),
        None => 0,
    }
}

#[inline(always)]
fn lower(head: *const u8, at: usize) -> u64 {
    let mut value = 0u64;
    for i in 0..8 {
        // SAFETY: the caller leaves 24 bytes of room.
        value |= u64::from(unsafe { *head.add(at + i) } | 0x20) << (8 * i);
    }
    value
}

const CONTENT: u64 = u64::from_le_bytes(*b"content-");
const LENGTH: u64 = u64::from_le_bytes(*b"length: ");
/// `length:` without what follows. Lower-casing leaves the colon and the hyphen as they are: both have that bit.
const SEVEN: u64 = 0x00ff_ffff_ffff_ffff;

/// One branch per question: the verifier keeps at most 8192 branches in mind, and walks every iteration.
#[inline(always)]
fn scan<const N: usize>(head: *const u8, len: u64) -> u64 {
    let mut number_at = 0usize;
    let mut end = 0u64;
    let mut i = 0usize;
    while i < N - 24 {
        // SAFETY: `i` is below the buffer's length.
        if unsafe { *head.add(i) } == b'\n' {
            // SAFETY: 24 bytes of room.
            let next = u64::from(unsafe { *head.add(i + 1) });
            if opaque(next ^ u64::from(b'\r')) * opaque(next ^ u64::from(b'\n')) == 0 {
                end = i as u64 + 3 - opaque(next & 1 ^ 1);
                break;
            }
            if (lower(head, i + 1) ^ CONTENT) | ((lower(head, i + 9) ^ LENGTH) & SEVEN) == 0 {
                number_at = i + 16;
            }
        }
        i += 1;
    }
    // The verifier would walk the rest once for every position: let it forget them.
    let (number_at, end) = (kernel::address(number_at as u64) as usize, kernel::address(end));
    // Beyond `len` stand bytes of an earlier message.
    if end == 0 || end > len {
        return 0;
    }
    if number_at == 0 {
        return end;
    }
    let mut body = 0u64;
    let mut k = 0usize;
    while k < 16 {
        // Masked for the verifier; the buffer's length is a power of two.
        let at = (number_at + k) & (N - 1);
        // SAFETY: below the buffer's length.
        let byte = unsafe { *head.add(at) };
        if byte.wrapping_sub(b'0') <= 9 {
            body = body * 10 + u64::from(byte - b'0');
        } else if byte != b' ' && byte != b'\t' {
            break;
        }
        k += 1;
    }
    end | (body.min(MAX_BODY) << 12) | LENGTH_KNOWN
}
