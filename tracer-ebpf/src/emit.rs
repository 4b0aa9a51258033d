//! Output: reserve, fill, submit, and the count of what did not fit. The only place that touches the rings.

use core::mem::MaybeUninit;

use aya_ebpf::maps::ring_buf::RingBufEntry;
use tracer_common::{
    event::{Exchange, Header, kind},
    stats::{LOST_KINDS, Stat},
};

use crate::{
    kernel,
    maps::{EVENTS, FAILURES, count, count_lost},
};

/// Which ring an event goes to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ring {
    Failures = 0,
    Events = 1,
}

/// Reserves an event, or counts its loss. The kernel zeroes nothing, so callers fill every field.
#[inline(always)]
pub(crate) fn reserve<T: 'static>(ring: Ring, kind: u16) -> Option<RingBufEntry<T>> {
    let (entry, lost) = match ring {
        Ring::Failures => (FAILURES.reserve::<T>(0), Stat::LostFailures),
        Ring::Events => (EVENTS.reserve::<T>(0), Stat::LostEvents),
    };
    if entry.is_none() {
        count(lost);
        count_lost(ring as u32 * LOST_KINDS + (u32::from(kind) & (LOST_KINDS - 1)));
    }
    entry
}

/// Header of an event that begins now.
#[inline(always)]
pub(crate) fn header<T>(event: u16) -> Header {
    // SAFETY: no arguments.
    let cpu = unsafe { aya_ebpf::helpers::generated::bpf_get_smp_processor_id() };
    Header { at_ns: kernel::now(), kind: event, cpu: cpu as u16, len: size_of::<T>() as u32 }
}

/// Emits one value.
#[inline(always)]
pub(crate) fn emit<T: 'static>(ring: Ring, value: T) {
    // SAFETY: every event begins with its header.
    let kind = unsafe { (*(&raw const value).cast::<Header>()).kind };
    if let Some(mut entry) = reserve::<T>(ring, kind) {
        entry.write(value);
        entry.submit(0);
    }
}

/// Emits one exchange with its captured heads. It is too large for the stack: everything is copied in place.
#[inline(always)]
pub(crate) fn exchange(ring: Ring, sock: u64, conn: *const tracer_common::conn::Conn, slot: usize) {
    let Some(mut entry) = reserve::<Exchange>(ring, kind::EXCHANGE) else { return };
    let slot = slot & (tracer_common::limits::PIPELINE - 1);
    let event: *mut Exchange = MaybeUninit::as_mut_ptr(&mut entry);
    let key = tracer_common::conn::HeadKey { sock, slot: slot as u64 };
    // SAFETY: `event` is reserved ring memory of that size, `conn` a live map value.
    unsafe {
        (*event).header = header::<Exchange>(kind::EXCHANGE);
        (*event).sock = sock;
        core::ptr::copy_nonoverlapping(conn, &raw mut (*event).conn, 1);
        (*event).request = (*conn).requests[slot];
        match crate::maps::HEADS.get_ptr(key) {
            Some(heads) => {
                // The helper copies what the compiler would otherwise unroll into thousands of instructions.
                let _ = aya_ebpf::helpers::generated::bpf_probe_read_kernel(
                    (&raw mut (*event).heads).cast(),
                    size_of::<tracer_common::event::Heads>() as u32,
                    heads.cast(),
                );
            }
            None => {
                (*event).request.head_len = 0;
                (*event).request.response_len = 0;
            }
        }
    }
    entry.submit(0);
}
