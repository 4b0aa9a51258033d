//! Where a captured head ends and what body it announces (RFC 9112 section 6), read only where it matters.

use core::mem::offset_of;

use tracer_common::{
    conn::HeadKey,
    event::Heads,
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
    frame::<REQUEST_HEAD>(HeadKey { sock, slot }, offset_of!(Heads, request), len)
}

/// As [`frame_request`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn frame_response(sock: u64, slot: u64, len: u64) -> u64 {
    frame::<RESPONSE_HEAD>(HeadKey { sock, slot }, offset_of!(Heads, response), len)
}

/// Frames the head of `N` bytes at `begin` in the heads, of which `len` are there.
#[inline(always)]
fn frame<const N: usize>(key: HeadKey, begin: usize, len: u64) -> u64 {
    let (mut number_at, mut end) = (0u64, 0u64);
    let mut from = 0usize;
    while from < N {
        let found = scan(key.sock, key.slot, (begin + from) as u64);
        end = found & 0xffff;
        if found >> 16 != 0 {
            number_at = found >> 16;
        }
        if end != 0 || from as u64 + WINDOW >= len {
            break;
        }
        from += WINDOW as usize;
    }
    // The verifier would walk the rest once for every window: let it forget them.
    let (number_at, end) = (kernel::address(number_at) as usize, kernel::address(end).wrapping_sub(begin as u64));
    // Beyond `len` stand bytes of an earlier message.
    if end.wrapping_sub(1) >= len {
        return 0;
    }
    if number_at == 0 {
        return end;
    }
    let Some(heads) = HEADS.get_ptr(key) else { return 0 };
    let mut body = 0u64;
    let mut k = 0usize;
    while k < 16 {
        // Masked for the verifier; the head's length is a power of two, and its beginning a multiple of it.
        let at = (number_at + k) & (N - 1);
        // SAFETY: within the head.
        let byte = unsafe { *heads.cast::<u8>().add(begin + at) };
        if byte.wrapping_sub(b'0') <= 9 {
            body = body * 10 + u64::from(byte - b'0');
        } else if byte != b' ' && byte != b'\t' {
            break;
        }
        k += 1;
    }
    end | (body.min(MAX_BODY) << 12) | LENGTH_KNOWN
}

/// Bytes that one call of [`scan`] looks at: the verifier walks every one of them, so they are few.
const WINDOW: u64 = 128;
/// What is read ahead of the byte looked at.
const AHEAD: u64 = 24;
const CONTENT: u64 = u64::from_le_bytes(*b"content-");
const LENGTH: u64 = u64::from_le_bytes(*b"length: ");
/// `length:` without what follows. Lower-casing leaves the colon and the hyphen as they are: both have that bit.
const SEVEN: u64 = 0x00ff_ffff_ffff_ffff;

#[inline(always)]
fn lower(head: *const u8, at: usize) -> u64 {
    let mut value = 0u64;
    for i in 0..8 {
        // SAFETY: the caller leaves that much room.
        value |= u64::from(unsafe { *head.add(at + i) } | 0x20) << (8 * i);
    }
    value
}

/// Looks at the lines that end within one window of the heads: gives where a head ends that ends here, and above that where
/// the number of a `Content-Length` stands. A global function as [`frame_request`] is.
///
/// One branch per question: the verifier keeps at most 8192 branches in mind.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn scan(sock: u64, slot: u64, from: u64) -> u64 {
    const LAST: u64 = size_of::<Heads>() as u64 - WINDOW - AHEAD;
    let Some(heads) = HEADS.get_ptr(HeadKey { sock, slot }) else { return 0 };
    let mut from = opaque(from);
    if from > LAST {
        from = LAST;
    }
    // SAFETY: a live map value, and the window lies within it.
    let window = unsafe { heads.cast::<u8>().add(from as usize) };
    let mut number_at = 0u64;
    let mut i = 0usize;
    while i < WINDOW as usize {
        // SAFETY: within the window.
        if unsafe { *window.add(i) } == b'\n' {
            // SAFETY: `AHEAD` bytes of room.
            let next = u64::from(unsafe { *window.add(i + 1) });
            if opaque(next ^ u64::from(b'\r')) * opaque(next ^ u64::from(b'\n')) == 0 {
                return (from + i as u64 + 3 - opaque(next & 1 ^ 1)) | (number_at << 16);
            }
            if (lower(window, i + 1) ^ CONTENT) | ((lower(window, i + 9) ^ LENGTH) & SEVEN) == 0 {
                number_at = from + i as u64 + 16;
            }
        }
        i += 1;
    }
    number_at << 16
}
