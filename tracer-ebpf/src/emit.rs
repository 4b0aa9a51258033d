//! Output: reserve, fill, submit, and the count of what did not fit. The only place that touches the rings.

use core::mem::MaybeUninit;

use aya_ebpf::{helpers::generated::bpf_probe_read_kernel, maps::ring_buf::RingBufEntry};
use tracer_common::{
    conn::Conn,
    event::{Exchange, Header, Heads, kind},
    limits::PIPELINE,
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

/// Emits one exchange with its captured heads, if there are any. It is too large for the stack: everything is copied in place, by
/// a helper where the compiler would unroll it into thousands of instructions.
#[inline(always)]
pub(crate) fn exchange(ring: Ring, sock: u64, conn: *const Conn, slot: usize, heads: Option<*mut Heads>) {
    let Some(mut entry) = reserve::<Exchange>(ring, kind::EXCHANGE) else { return };
    let slot = slot & (PIPELINE - 1);
    let event: *mut Exchange = MaybeUninit::as_mut_ptr(&mut entry);
    // SAFETY: `event` is reserved ring memory of that size, `conn` and `heads` live map values.
    unsafe {
        (*event).header = header::<Exchange>(kind::EXCHANGE);
        (*event).sock = sock;
        let _ = bpf_probe_read_kernel((&raw mut (*event).conn).cast(), size_of::<Conn>() as u32, conn.cast());
        (*event).request = (*conn).requests[slot];
        match heads {
            Some(heads) => {
                let to = (&raw mut (*event).heads).cast();
                let _ = bpf_probe_read_kernel(to, size_of::<Heads>() as u32, heads.cast());
            }
            None => {
                (*event).request.head_len = 0;
                (*event).request.response_len = 0;
            }
        }
    }
    entry.submit(0);
}
