//! Things that befall a socket: `raw_tp/tcp_receive_reset(sk)` and `tcp_send_reset(sk, skb[, reason])` (since 4.16),
//! `tcp_retransmit_skb(sk, skb)`, `tcp_retransmit_synack(sk, req)` (4.16), `inet_sk_error_report(sk)` (5.14),
//! `icmp_send(skb, type, code)` (6.1 and 6.8).

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};
use tracer_common::{
    Actor,
    conn::{Tls, conn_flag},
    event::{IcmpError, PacketTuple, Signal, kind, reset_direction},
    stats::Stat,
};

use crate::{
    conn,
    emit::{self, Ring},
    globals::{config, offset},
    hooks::{dns::DNS_PORT, kfree_skb},
    kernel::{self, IPPROTO_TCP, IPPROTO_UDP, read_or_zero},
    maps::count,
};

const SYN_SENT: u8 = 2;
const CLOSE: u8 = 7;
/// No reason given by this kernel.
const NO_REASON: u32 = u32::MAX;
/// SYN retransmits reported of one connect.
const REPORTED_SYNS: u32 = 3;

/// Fills a signal about a socket (0 for none), with what its connection record knows.
///
/// # Safety
/// `event` must be valid for writes.
#[inline(always)]
pub(crate) unsafe fn fill(event: *mut Signal, event_kind: u16, sock: u64) {
    let task = kernel::current();
    // SAFETY: the caller's promise; map values are live for the program.
    unsafe {
        let event = &mut *event;
        event.header = emit::header::<Signal>(event_kind);
        event.sock = sock;
        event.cgroup_id = kernel::sock_cgroup(sock);
        event.tuple = tracer_common::Tuple::default();
        kernel::sock_tuple(sock, &mut event.tuple);
        event.actor = kernel::task_actor(task);
        event.comm = kernel::task_comm(task);
        event.state = u32::from(read_or_zero::<u8>(sock, offset!(skc_state)));
        event.error = read_or_zero(sock, offset!(sk_err));
        event.error_soft = read_or_zero(sock, offset!(sk_err_soft));
        event.reason = NO_REASON;
        event.direction = reset_direction::SOCKET;
        event.protocol = u32::from(kernel::sock_protocol(sock));
        event.bytes_acked = 0;
        event.bytes_received = 0;
        if event.protocol == u32::from(IPPROTO_TCP) {
            event.bytes_acked = read_or_zero(sock, offset!(tcp_bytes_acked));
            event.bytes_received = read_or_zero(sock, offset!(tcp_bytes_received));
        }
        event.born_ns = 0;
        event.established_ns = 0;
        event.flags = 0;
        event.role = 0;
        event.connector = Actor::default();
        event.tls = Tls::default();
        event.carries = 0;
        if let Some(record) = conn::find(sock) {
            event.born_ns = (*record).born_ns;
            event.established_ns = (*record).established_ns;
            event.flags = (*record).flags;
            event.role = u32::from((*record).role);
            event.connector = (*record).connector;
            event.tls = (*record).tls;
            event.carries = u32::from((*record).protocol);
            // CLOSE has cleared what the socket knew of its end.
            event.tuple = (*record).tuple;
        }
    }
}

#[inline(always)]
fn signal(ring: Ring, event_kind: u16, sock: u64) {
    if let Some(mut entry) = emit::reserve::<Signal>(ring, event_kind) {
        // SAFETY: reserved ring memory of that size.
        unsafe { fill(core::mem::MaybeUninit::as_mut_ptr(&mut entry), event_kind, sock) };
        entry.submit(0);
    }
}

#[raw_tracepoint(tracepoint = "tcp_receive_reset")]
pub fn tcp_receive_reset(ctx: RawTracePointContext) -> i32 {
    let sock: u64 = ctx.arg(0);
    if let Some(record) = conn::find(sock) {
        // SAFETY: a live map value.
        unsafe { (*record).flags |= conn_flag::RST_RECEIVED };
    }
    signal(Ring::Events, kind::TCP_RECEIVE_RESET, sock);
    0
}

#[raw_tracepoint(tracepoint = "tcp_send_reset")]
pub fn tcp_send_reset(ctx: RawTracePointContext) -> i32 {
    let sock: u64 = ctx.arg(0);
    let skb: u64 = ctx.arg(1);
    let reason = if config!(send_reset_args) >= 3 { ctx.arg::<u32>(2) } else { NO_REASON };
    if let Some(record) = conn::find(sock) {
        // SAFETY: a live map value.
        unsafe { (*record).flags |= conn_flag::RST_SENT };
    }
    let Some(mut entry) = emit::reserve::<Signal>(Ring::Failures, kind::TCP_SEND_RESET) else { return 0 };
    // SAFETY: reserved ring memory of that size.
    unsafe {
        let event: *mut Signal = core::mem::MaybeUninit::as_mut_ptr(&mut entry);
        fill(event, kind::TCP_SEND_RESET, sock);
        (*event).reason = reason;
        if sock == 0 {
            // The offending segment's headers: its destination is the end that nobody listens at.
            let packet = kfree_skb::packet(skb);
            (*event).direction = reset_direction::NO_SOCKET;
            (*event).tuple.local = packet.destination;
            (*event).tuple.remote = packet.source;
            (*event).tuple.local_port = packet.destination_port;
            (*event).tuple.remote_port = packet.source_port;
            (*event).tuple.netns = kfree_skb::dev_netns(skb);
            (*event).protocol = u32::from(IPPROTO_TCP);
        }
    }
    entry.submit(0);
    0
}

#[raw_tracepoint(tracepoint = "tcp_retransmit_skb")]
pub fn tcp_retransmit_skb(ctx: RawTracePointContext) -> i32 {
    let sock: u64 = ctx.arg(0);
    let Some(record) = conn::find(sock) else { return 0 };
    // SAFETY: a live map value.
    let record = unsafe { &mut *record };
    if read_or_zero::<u8>(sock, offset!(skc_state)) != SYN_SENT {
        record.retransmits += 1;
        count(Stat::Retransmits);
        return 0;
    }
    record.syn_retransmits += 1;
    kernel::sock_tuple_ports(sock, &mut record.tuple);
    if record.syn_retransmits <= REPORTED_SYNS {
        signal(Ring::Failures, kind::TCP_RETRANSMIT_SKB, sock);
    }
    0
}

#[raw_tracepoint(tracepoint = "tcp_retransmit_synack")]
pub fn tcp_retransmit_synack(ctx: RawTracePointContext) -> i32 {
    let sock: u64 = ctx.arg(0);
    let request: u64 = ctx.arg(1);
    let Some(mut entry) = emit::reserve::<Signal>(Ring::Failures, kind::TCP_RETRANSMIT_SYNACK) else { return 0 };
    // SAFETY: reserved ring memory of that size.
    unsafe {
        let event: *mut Signal = core::mem::MaybeUninit::as_mut_ptr(&mut entry);
        fill(event, kind::TCP_RETRANSMIT_SYNACK, sock);
        // A `request_sock` begins with a `sock_common`: the peer stands there, the listener has none.
        kernel::sock_tuple_remote(request, &mut (*event).tuple);
    }
    entry.submit(0);
    0
}

#[raw_tracepoint(tracepoint = "inet_sk_error_report")]
pub fn inet_sk_error_report(ctx: RawTracePointContext) -> i32 {
    let sock: u64 = ctx.arg(0);
    let state: u8 = read_or_zero(sock, offset!(skc_state));
    // Only the connecting: what ends an established connection is told by its end. Of UDP, a DNS lookup's end is told by
    // the ICMP error, and anything else could fill the ring as fast as a datagram is sent to a closed port.
    if kernel::sock_protocol(sock) != IPPROTO_TCP || state != SYN_SENT && state != CLOSE {
        return 0;
    }
    if let Some(record) = conn::find(sock) {
        let mut error: u32 = read_or_zero(sock, offset!(sk_err));
        if error == 0 {
            // An ICMP error that came while the application held the socket; asking for SO_ERROR clears it.
            error = read_or_zero(sock, offset!(sk_err_soft));
        }
        // SAFETY: a live map value.
        unsafe { (*record).error = error };
    }
    0
}

/// Whether an ICMP error about this packet can explain a failure: of connects and DNS lookups. Any other datagram to a
/// closed port would take a connect's evidence out of the ring.
#[inline(always)]
pub(crate) fn may_be_waited_for(packet: &PacketTuple) -> bool {
    packet.protocol == IPPROTO_TCP || packet.protocol == IPPROTO_UDP && packet.destination_port == DNS_PORT
}

#[raw_tracepoint(tracepoint = "icmp_send")]
pub fn icmp_send(ctx: RawTracePointContext) -> i32 {
    const DESTINATION_UNREACHABLE: u8 = 3;
    const TIME_EXCEEDED: u8 = 11;
    let skb: u64 = ctx.arg(0);
    let icmp_type: u8 = ctx.arg(1);
    let icmp_code: u8 = ctx.arg(2);
    if icmp_type != DESTINATION_UNREACHABLE && icmp_type != TIME_EXCEEDED {
        return 0;
    }
    let packet = kfree_skb::packet(skb);
    if !may_be_waited_for(&packet) {
        return 0;
    }
    let dev: u64 = read_or_zero(skb, offset!(skb_dev));
    emit::emit(
        Ring::Failures,
        IcmpError {
            header: emit::header::<IcmpError>(kind::ICMP_SEND),
            packet,
            netns: kfree_skb::dev_netns(skb),
            ifindex: read_or_zero(dev, offset!(dev_ifindex)),
            icmp_type,
            icmp_code,
            family: 4,
            pad: [0; 5],
        },
    );
    0
}
