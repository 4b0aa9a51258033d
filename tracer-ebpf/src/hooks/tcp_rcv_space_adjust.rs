//! `raw_tp/tcp_rcv_space_adjust(sk)`, since 4.16: fires in the reader's context after it has copied data
//! (`net/ipv4/tcp_input.c`), io_uring and splice included. It says which thread read a request.

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};
use tracer_common::{
    conn::{protocol, role},
    limits::PIPELINE,
};

use crate::{conn, kernel, maps::SERVED};

#[raw_tracepoint(tracepoint = "tcp_rcv_space_adjust")]
pub fn tcp_rcv_space_adjust(ctx: RawTracePointContext) -> i32 {
    let sock: u64 = ctx.arg(0);
    let Some(record) = conn::find(sock) else { return 0 };
    // SAFETY: a live map value.
    let record = unsafe { &mut *record };
    if record.role != role::SERVER || record.protocol != protocol::HTTP1 || record.begun == record.answered {
        return 0;
    }
    let actor = kernel::current_actor();
    let now = kernel::now();
    for slot in 0..PIPELINE {
        let request = &mut record.requests[slot];
        if request.start_ns != 0 && request.read_ns == 0 {
            request.read_ns = now;
            request.actor = actor;
        }
    }
    // Not at each request: a connection's process seldom changes.
    if record.answered & 63 == 0 && SERVED.get_ptr(actor.tgid).is_none() {
        let _ = SERVED.insert(actor.tgid, 1, 0);
    }
    0
}
