//! Where a captured head ends and what body it announces (RFC 9112 section 6), read only where it matters.

use tracer_common::limits::{REQUEST_HEAD, RESPONSE_HEAD};

/// What a scan found, packed into one register: a subprogram can't return a struct.
#[derive(Clone, Copy)]
pub(crate) struct Framing(u64);

const CHUNKED: u64 = 1 << 63;
/// Bodies beyond this are as good as endless.
const MAX_BODY: u64 = 1 << 40;

impl Framing {
    /// Length of the head with its empty line, 0 while incomplete.
    #[inline(always)]
    pub(crate) fn head(self) -> u32 {
        (self.0 & 0xfff) as u32
    }
    #[inline(always)]
    pub(crate) fn chunked(self) -> bool {
        self.0 & CHUNKED != 0
    }
    /// `Content-Length`, 0 without one.
    #[inline(always)]
    pub(crate) fn body(self) -> u64 {
        (self.0 & !CHUNKED) >> 12
    }
}

/// Scans a captured request head.
#[inline(never)]
pub(crate) fn request(head: *const u8, len: u32) -> Framing {
    scan::<REQUEST_HEAD>(head, len)
}

/// Scans a captured response head.
#[inline(never)]
pub(crate) fn response(head: *const u8, len: u32) -> Framing {
    scan::<RESPONSE_HEAD>(head, len)
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
const TRANSFER: u64 = u64::from_le_bytes(*b"transfer");
/// `length:` without what follows. Lower-casing leaves the colon and the hyphen as they are: both have that bit.
const SEVEN: u64 = 0x00ff_ffff_ffff_ffff;

#[inline(always)]
fn scan<const N: usize>(head: *const u8, len: u32) -> Framing {
    let mut number_at = 0usize;
    let mut chunked = 0u64;
    let mut end = 0u64;
    let mut i = 0usize;
    while i < N - 24 {
        if i as u32 + 1 >= len {
            break;
        }
        // SAFETY: `i` is below the buffer's length.
        if unsafe { *head.add(i) } == b'\n' {
            // SAFETY: 24 bytes of room.
            let next = unsafe { *head.add(i + 1) };
            if next == b'\r' {
                end = i as u64 + 3;
                break;
            }
            if next == b'\n' {
                end = i as u64 + 2;
                break;
            }
            let name = lower(head, i + 1);
            if name == CONTENT && lower(head, i + 9) & SEVEN == LENGTH & SEVEN {
                number_at = i + 16;
            } else if name == TRANSFER {
                chunked = CHUNKED;
            }
        }
        i += 1;
    }
    if end == 0 || end > u64::from(len) {
        return Framing(0);
    }
    let mut body = 0u64;
    if number_at != 0 {
        let mut k = 0usize;
        while k < 16 {
            // Masked for the verifier; the buffer is a power of two.
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
        if body > MAX_BODY {
            body = MAX_BODY;
        }
    }
    Framing(end | (body << 12) | chunked)
}
