//! SYNs that no SYN-ACK follows. A full accept or SYN queue makes the kernel ignore a SYN without any tracepoint
//! (`net/ipv4/tcp_input.c` `tcp_conn_request`), but the SYN passes `cgroup_skb` ingress first, with the listener as its
//! socket, and a SYN-ACK would pass egress with the same.

use tracer_common::{
    Tuple,
    event::{PendingSyn, SynKey},
    stats::Stat,
};

use crate::{
    globals::offset,
    kernel::{self, read_or_zero, state},
    maps::{PENDING_SYN, count},
    packet::Packet,
};

/// A SYN came; a TFO or handshake duplicate for anything but a listener is none of ours.
#[inline(always)]
pub(crate) fn received(sock: u64, packet: &Packet) {
    let listener = kernel::address(sock);
    if kernel::sock_state(listener) != state::LISTEN {
        return;
    }
    let key = SynKey { sock, seq: packet.seq, pad: 0 };
    if let Some(pending) = PENDING_SYN.get_ptr_mut(key) {
        // SAFETY: a live map value.
        unsafe { (*pending).syns += 1 };
        return;
    }
    let pending = PendingSyn {
        start_ns: kernel::now(),
        cgroup_id: kernel::sock_cgroup(listener),
        tuple: Tuple {
            local: packet.destination,
            remote: packet.source,
            local_port: packet.destination_port,
            remote_port: packet.source_port,
            netns: kernel::sock_netns(listener),
        },
        syns: 1,
        accept_queue: read_or_zero(listener, offset!(sk_ack_backlog)),
        accept_queue_max: read_or_zero(listener, offset!(sk_max_ack_backlog)),
        syn_queue: read_or_zero(listener, offset!(icsk_syn_queue)),
    };
    if PENDING_SYN.insert(key, pending, 0).is_err() {
        count(Stat::LostPending);
    }
}

/// A SYN-ACK leaves.
#[inline(always)]
pub(crate) fn answered(sock: u64, packet: &Packet) {
    let _ = PENDING_SYN.remove(SynKey { sock, seq: packet.ack.wrapping_sub(1), pad: 0 });
}
