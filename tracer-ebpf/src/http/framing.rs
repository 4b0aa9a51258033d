//! Where a captured head ends and what body it announces (RFC 9112 section 6), read only where it matters.

use core::mem::offset_of;

use tracer_common::{
    event::Heads,
    limits::{REQUEST_HEAD, RESPONSE_HEAD},
};

use crate::{heads, kernel, packet::opaque};

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

/// Framing of the captured request head in a [slot](tracer_common::conn::Request::slot) of a connection.
#[inline(always)]
pub(crate) fn request(sock: u64, slot: u8, len: u16) -> Framing {
    Framing(frame_request(kernel::address(sock), u64::from(slot), u64::from(len)))
}

/// Framing of the captured response head in a [slot](tracer_common::conn::Request::slot) of a connection.
#[inline(always)]
pub(crate) fn response(sock: u64, slot: u8, len: u32) -> Framing {
    Framing(frame_response(kernel::address(sock), u64::from(slot), u64::from(len)))
}

/// A global function with scalar arguments: the verifier walks it once, not at every call (since 5.6).
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn frame_request(sock: u64, slot: u64, len: u64) -> u64 {
    frame::<REQUEST_HEAD>(sock, slot, offset_of!(Heads, request), len)
}

/// As [`frame_request`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn frame_response(sock: u64, slot: u64, len: u64) -> u64 {
    frame::<RESPONSE_HEAD>(sock, slot, offset_of!(Heads, response), len)
}

/// Frames the head of `N` bytes at `begin` in the heads, of which `len` are there.
#[inline(always)]
fn frame<const N: usize>(sock: u64, slot: u64, begin: usize, len: u64) -> u64 {
    let (mut number_at, mut end) = (0u64, 0u64);
    let mut from = 0usize;
    while from < N {
        let found = scan(sock, slot, (begin + from) as u64);
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
    let Some(heads) = heads::find(sock, slot as u8) else { return 0 };
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

/// Eight bytes, with letters in lower case. In one load, which maps allow at any address: the compiler would make it eight of a byte each,
/// and the verifier walks them for every byte of the window.
#[inline(always)]
fn lower(head: *const u8) -> u64 {
    let value: u64;
    // SAFETY: the caller leaves that much room.
    unsafe { core::arch::asm!("{0} = *(u64 *)({1} + 0)", out(reg) value, in(reg) head, options(readonly, nostack)) };
    value | u64::from_ne_bytes([0x20; 8])
}

/// Looks at the lines that end within one window of the heads: gives where a head ends that ends here, and above that where
/// the number of a `Content-Length` stands. A global function as [`frame_request`] is.
///
/// One branch per question: the verifier keeps at most 8192 branches in mind.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn scan(sock: u64, slot: u64, from: u64) -> u64 {
    const LAST: u64 = size_of::<Heads>() as u64 - WINDOW - AHEAD;
    let Some(heads) = heads::find(sock, slot as u8) else { return 0 };
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
            // SAFETY: as before.
            let (first, second) = unsafe { (lower(window.add(i + 1)), lower(window.add(i + 9))) };
            if (first ^ CONTENT) | ((second ^ LENGTH) & SEVEN) == 0 {
                number_at = from + i as u64 + 16;
            }
        }
        i += 1;
    }
    number_at << 16
}
