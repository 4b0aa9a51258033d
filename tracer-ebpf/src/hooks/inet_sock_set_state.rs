//! `raw_tp/inet_sock_set_state(sk, oldstate, newstate)`, since 4.16 (`net/ipv4/af_inet.c`). Runs in the application's
//! context for connect and close, in softirq otherwise.

use aya_ebpf::{EbpfContext, macros::raw_tracepoint, programs::RawTracePointContext};
use tracer_common::{
    conn::{Conn, conn_flag, protocol, role, tls_flag},
    event::{Connect, Signal, kind},
    limits::PIPELINE,
};

use crate::{
    conn,
    emit::{self, Ring},
    flight,
    globals::offset,
    hooks::tcp_signals,
    http::{self, RECEIVED, SENT},
    kernel::{self, IPPROTO_TCP, read, read_or_zero, state},
    maps::PENDING_CONNECT,
    tls,
};

#[raw_tracepoint(tracepoint = "inet_sock_set_state")]
pub fn inet_sock_set_state(ctx: RawTracePointContext) -> i32 {
    let sock: u64 = ctx.arg(0);
    let old: u32 = ctx.arg(1);
    let new: u32 = ctx.arg(2);
    if old == state::LISTEN || kernel::sock_protocol(sock) != IPPROTO_TCP {
        return 0;
    }
    match (old, new) {
        (state::CLOSE, state::SYN_SENT) => connecting(&ctx, sock),
        (state::SYN_RECV, state::ESTABLISHED) => {
            if let Some(record) = conn::create(sock, role::SERVER, conn_flag::ESTABLISHED) {
                // SAFETY: a live map value.
                unsafe {
                    (*record).established_ns = kernel::now();
                    (*record).state = new;
                    // The last acknowledgement of the handshake may be overtaken, so the first segment isn't known by coming
                    // first.
                    (*record).next_seq[RECEIVED] = read_or_zero(sock, offset!(tcp_rcv_nxt));
                }
            }
        }
        _ => {
            if let Some(record) = conn::find(sock) {
                // SAFETY: a live map value for the rest of the program.
                moved(sock, unsafe { &mut *record }, old, new);
            }
        }
    }
    0
}

/// A connect begins, in the caller's context. The source port isn't chosen yet.
#[inline(always)]
fn connecting(_ctx: &impl EbpfContext, sock: u64) {
    let task = kernel::current();
    let actor = kernel::task_actor(task);
    let _ = PENDING_CONNECT.remove(actor);
    let Some(record) = conn::create(sock, role::CLIENT, 0) else { return };
    // SAFETY: a live map value.
    let record = unsafe { &mut *record };
    record.connector = actor;
    record.comm = kernel::task_comm(task);
    record.state = state::SYN_SENT;
}

/// A known connection changes its state.
#[inline(always)]
fn moved(sock: u64, record: &mut Conn, old: u32, new: u32) {
    record.state = new;
    // The application gives up: what it does then comes before the connection's end. Closed with bytes unread, the
    // connection skips the FIN for a reset (RFC 2525 section 2.17; `net/ipv4/tcp.c` `__tcp_close`); a reset that came, or a
    // timeout, leaves an error first.
    let reset = new == state::CLOSE && read_or_zero::<u32>(sock, offset!(sk_err)) == 0;
    if old == state::ESTABLISHED && (new == state::FIN_WAIT1 || reset) {
        record.flags |= conn_flag::LOCAL_CLOSED_FIRST;
        if record.begun == record.answered {
            record.flags |= conn_flag::CLOSED_IDLE;
        }
    }
    if (new == state::FIN_WAIT1 || new == state::LAST_ACK) && tls::may_have_failed(record) {
        report_end(sock);
        record.tls.flags |= tls_flag::TOLD;
    }
    match new {
        state::ESTABLISHED => {
            record.established_ns = kernel::now();
            record.flags |= conn_flag::ESTABLISHED;
            kernel::sock_tuple(sock, &mut record.tuple);
        }
        state::FIN_WAIT1 if old == state::ESTABLISHED => record.closing_ns = kernel::now(),
        state::CLOSE_WAIT => {
            record.flags |= conn_flag::REMOTE_CLOSED_FIRST;
            if peer_was_idle(sock, record) {
                record.flags |= conn_flag::CLOSED_IDLE;
            }
            record.closing_ns = kernel::now();
        }
        state::CLOSE => {
            if record.closing_ns == 0 {
                record.closing_ns = kernel::now();
            }
            if old == state::SYN_SENT {
                failed(sock, record)
            } else {
                ended(sock, record, old == state::ESTABLISHED)
            }
            conn::remove(record, sock);
        }
        _ => {}
    }
}

/// Whether the peer had received no request that it hadn't answered when it sent its FIN. A kernel that has received data
/// acknowledges it with the FIN (`net/ipv4/tcp_output.c` `__tcp_transmit_skb`), and acknowledgements are taken before the
/// FIN is (`net/ipv4/tcp_input.c` `tcp_rcv_established`).
#[inline(always)]
fn peer_was_idle(sock: u64, record: &Conn) -> bool {
    let outstanding = record.begun.wrapping_sub(record.answered);
    if outstanding != 1 {
        return outstanding == 0;
    }
    let request = &record.requests[record.answered as usize & (PIPELINE - 1)];
    read::<u32>(sock, offset!(tcp_snd_una)).is_some_and(|acked| (acked.wrapping_sub(request.seq) as i32) <= 0)
}

/// SYN_SENT to CLOSE: the connect failed, or the application gave it up.
#[inline(always)]
fn failed(sock: u64, record: &mut Conn) {
    kernel::sock_tuple_ports(sock, &mut record.tuple);
    if kernel::current_actor() == record.connector {
        record.flags |= conn_flag::SYNCHRONOUS;
    }
    let Some(mut entry) = emit::reserve::<Connect>(Ring::Failures, kind::CONNECT) else { return };
    // SAFETY: reserved ring memory of that size.
    unsafe {
        let event: *mut Connect = core::mem::MaybeUninit::as_mut_ptr(&mut entry);
        (*event).header = emit::header::<Connect>(kind::CONNECT);
        (*event).sock = sock;
        core::ptr::copy_nonoverlapping(core::ptr::from_ref(record), &raw mut (*event).conn, 1);
        (*event).error = read_or_zero(sock, offset!(sk_err));
        (*event).error_soft = read_or_zero(sock, offset!(sk_err_soft));
    }
    entry.submit(0);
}

/// An established connection is gone: requests without an answer are failures, or with a part of it; so is one without HTTP that was reset or
/// never answered.
#[inline(always)]
fn ended(sock: u64, record: &mut Conn, at_once: bool) {
    if record.begun != record.answered {
        http::finish_unanswered(record, sock);
        return;
    }
    if record.protocol == protocol::HTTP1 {
        http::finish_cut(record, sock, at_once);
        return;
    }
    if record.role != role::CLIENT {
        return;
    }
    if record.last_ns[SENT] | record.last_ns[RECEIVED] != 0 {
        flight::opaque_connection(record, sock);
    }
    if record.flags & conn_flag::JOINED != 0 {
        // Nobody saw what it carried before. It waited for something if the last to send was this end.
        let closed = record.flags & conn_flag::LOCAL_CLOSED_FIRST != 0;
        let sent: u32 = read_or_zero(sock, offset!(tcp_lsndtime));
        let got: u32 = read_or_zero(sock, offset!(icsk_lrcvtime));
        if record.flags & conn_flag::RST_RECEIVED == 0 || closed || sent.wrapping_sub(got) as i32 <= 0 {
            return;
        }
    }
    let received: u64 = read_or_zero(sock, offset!(tcp_bytes_received));
    let acked: u64 = read_or_zero(sock, offset!(tcp_bytes_acked));
    // The SYN consumes one acknowledged byte, and so does the FIN: who connects and closes has asked nothing.
    let closed = u64::from(record.flags & conn_flag::LOCAL_CLOSED_FIRST != 0);
    // The peer's FIN counts as a received byte: `tcp_rcv_nxt_update` goes by sequence numbers (`net/ipv4/tcp_input.c`).
    let unanswered = received <= 1 && record.last_ns[RECEIVED] == 0 && acked > 1 + closed;
    if record.flags & conn_flag::RST_RECEIVED == 0 && !unanswered && !tls::may_have_failed(record) {
        return;
    }
    if record.tls.flags & tls_flag::TOLD == 0 {
        report_end(sock);
    }
}

#[inline(always)]
fn report_end(sock: u64) {
    if let Some(mut entry) = emit::reserve::<Signal>(Ring::Failures, kind::CONNECTION_END) {
        // SAFETY: reserved ring memory of that size.
        unsafe {
            let event: *mut Signal = core::mem::MaybeUninit::as_mut_ptr(&mut entry);
            tcp_signals::fill(event, kind::CONNECTION_END, sock);
        }
        entry.submit(0);
    }
}
